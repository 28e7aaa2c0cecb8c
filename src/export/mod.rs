//! Results to images, layouts and files.
