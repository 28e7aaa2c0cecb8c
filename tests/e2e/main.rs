//! The real binary against a real registry with real emulators.
