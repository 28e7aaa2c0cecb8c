//! Flags, terminal and exit codes.
