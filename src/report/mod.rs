//! Events to progress.
