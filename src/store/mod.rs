//! Content-addressed store on disk.
