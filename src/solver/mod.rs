//! What runs next, what is a hit.
