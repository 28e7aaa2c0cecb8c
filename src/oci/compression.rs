//! How a layer's blob is made.

use std::fmt;

use super::LayerCompression;

/// How layers are compressed, with the level, which decides their bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Compression {
    /// gzip at this level, 0 to 12.
    Gzip(i32),
    /// Zstandard at this level, 1 to 22.
    Zstd(i32),
    /// The tar archive as it is.
    Uncompressed,
}

impl Compression {
    /// libdeflate's 4 makes smaller layers than zlib's 6, which the peers use, in half the time.
    pub const GZIP: Compression = Compression::Gzip(4);
    /// The level that the format's own program has where nothing is said.
    pub const ZSTD: Compression = Compression::Zstd(3);

    /// Returns what a reader has to know of it.
    pub fn of_layer(self) -> LayerCompression {
        match self {
            Compression::Gzip(_) => LayerCompression::Gzip,
            Compression::Zstd(_) => LayerCompression::Zstd,
            Compression::Uncompressed => LayerCompression::None,
        }
    }
}

impl Default for Compression {
    fn default() -> Compression {
        Compression::GZIP
    }
}

/// `gzip 4`: what the store's files call it.
impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Compression::Gzip(level) => write!(f, "gzip {level}"),
            Compression::Zstd(level) => write!(f, "zstd {level}"),
            Compression::Uncompressed => f.write_str("uncompressed"),
        }
    }
}

/// Whose media types an image's documents name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MediaTypes {
    /// `application/vnd.oci.image.…`
    #[default]
    Oci,
    /// `application/vnd.docker.…`, image manifest version 2, schema 2: for registries and tools that know no others.
    Docker,
}
