//! How a layer's tar is packed, told by its media type.

/// How a layer's tar is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerCompression {
    /// The tar itself.
    None,
    /// gzip, possibly of several members.
    Gzip,
    /// Zstandard, possibly of several frames.
    Zstd,
}

impl LayerCompression {
    /// Returns the compression that a layer of `media_type` has, in OCI's and Docker's names, non-distributable ones
    /// included; `None` if it is no layer's media type.
    pub fn of_media_type(media_type: &str) -> Option<LayerCompression> {
        const TAR: [&str; 4] = [
            "application/vnd.oci.image.layer.v1.tar",
            "application/vnd.oci.image.layer.nondistributable.v1.tar",
            "application/vnd.docker.image.rootfs.diff.tar",
            "application/vnd.docker.image.rootfs.foreign.diff.tar",
        ];
        let suffix = TAR.iter().find_map(|tar| media_type.strip_prefix(tar))?;
        match suffix {
            "" => Some(LayerCompression::None),
            "+gzip" | ".gzip" => Some(LayerCompression::Gzip),
            "+zstd" | ".zstd" => Some(LayerCompression::Zstd),
            _ => None,
        }
    }

    /// Returns OCI's media type of a layer with this compression.
    pub fn media_type(self) -> &'static str {
        match self {
            LayerCompression::None => "application/vnd.oci.image.layer.v1.tar",
            LayerCompression::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            LayerCompression::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_tell_the_compression() {
        for compression in [LayerCompression::None, LayerCompression::Gzip, LayerCompression::Zstd] {
            assert_eq!(LayerCompression::of_media_type(compression.media_type()), Some(compression));
        }
        let cases = [
            ("application/vnd.docker.image.rootfs.diff.tar.gzip", Some(LayerCompression::Gzip)),
            ("application/vnd.docker.image.rootfs.diff.tar", Some(LayerCompression::None)),
            ("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", Some(LayerCompression::Zstd)),
            ("application/vnd.oci.image.layer.v1.tar+bzip2", None),
            ("application/vnd.in-toto+json", None),
        ];
        for (media_type, expected) in cases {
            assert_eq!(LayerCompression::of_media_type(media_type), expected, "{media_type}");
        }
    }
}
