//! HCL bodies and expressions with spans.
