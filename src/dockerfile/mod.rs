//! Dockerfile text to typed instructions with spans.

pub mod ignore;
