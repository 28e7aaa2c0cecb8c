//! Which image of an index runs on a platform.

use oci_spec::image::{Descriptor, ImageIndex};

use super::document::DocumentKind;
use super::os_version::{build_of, runs_on};
use crate::platform::Platform;

/// The annotation by which BuildKit marks the attestation manifests of an index.
pub(super) const REFERENCE_TYPE: &str = "vnd.docker.reference.type";

/// The annotation that names the manifest that an attestation manifest is about.
pub(super) const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";

/// Returns the image of `index` that suits `platform` best, as containerd's `platforms.Only` orders them: the platform
/// itself, then what the processor runs as well, newest first (arm/v7 takes v6 and v5; arm64 takes 32-bit arm; amd64
/// takes its lower variants and 386). The first of equals wins; an entry without a platform comes last. `None` where
/// nothing suits. Attestations and nested indexes are never returned.
pub fn select(index: &ImageIndex, platform: &Platform) -> Option<Descriptor> {
    let images: Vec<&Descriptor> = index.manifests().iter().filter(|d| is_image(d)).collect();
    let with_platform = accepted(platform).into_iter().find_map(|accepted| best(&images, &accepted));
    with_platform.or_else(|| images.iter().find(|d| d.platform().is_none())).map(|d| (*d).clone())
}

/// Returns the first entry for `wanted`. Of those for a build of Windows, one for that very build comes first, else the
/// newest that it runs; elsewhere builds mean nothing.
fn best<'a, 'd>(images: &'a [&'d Descriptor], wanted: &Platform) -> Option<&'a &'d Descriptor> {
    let version = wanted.os_version.as_deref().filter(|_| wanted.os == "windows");
    let of_wanted =
        |platform: &Platform| Platform { os_version: wanted.os_version.clone(), ..platform.clone() } == *wanted;
    let matching = images.iter().filter_map(|image| Some((image, platform_of(image)?)));
    let mut matching = matching.filter(|(_, platform)| of_wanted(platform));
    let Some(version) = version else { return matching.next().map(|(image, _)| image) };
    let running = matching.filter(|(_, platform)| runs_on(version, platform.os_version.as_deref()));
    // Of equals, `max_by_key` takes the last.
    let of_build = |platform: &Platform| platform.os_version.as_deref().and_then(build_of);
    let running: Vec<_> = running.collect();
    running
        .into_iter()
        .rev()
        .max_by_key(|(_, platform)| (platform.os_version.as_deref() == Some(version), of_build(platform)))
        .map(|(image, _)| image)
}

/// Returns the normalised platform of an index's entry.
pub fn platform_of(descriptor: &Descriptor) -> Option<Platform> {
    let platform = descriptor.platform().as_ref()?;
    let variant = platform.variant().as_deref();
    let normal = Platform::new(&platform.os().to_string(), &platform.architecture().to_string(), variant);
    Some(Platform { os_version: platform.os_version().clone(), ..normal })
}

/// Says whether an index's entry is an attestation (provenance, SBOM): its platform is `unknown/unknown`.
pub fn is_attestation(descriptor: &Descriptor) -> bool {
    let is_unknown = platform_of(descriptor).is_some_and(|p| p.os == "unknown" && p.architecture == "unknown");
    let annotations = descriptor.annotations().as_ref();
    is_unknown || annotations.is_some_and(|a| a.get(REFERENCE_TYPE).is_some_and(|t| t == "attestation-manifest"))
}

/// Says whether an index's entry is an image, and no attestation or nested index.
pub fn is_image(descriptor: &Descriptor) -> bool {
    let kind = DocumentKind::of_media_type(descriptor.media_type().as_ref());
    kind == Some(DocumentKind::Manifest) && !is_attestation(descriptor)
}

/// Returns what runs on `platform`, best first.
fn accepted(platform: &Platform) -> Vec<Platform> {
    let wanted = platform.clone();
    let other = |architecture: &str, variant: Option<String>| Platform {
        architecture: architecture.to_owned(),
        variant,
        ..wanted.clone()
    };
    let version: Option<u32> = wanted.variant.as_deref().and_then(|v| v.strip_prefix('v')?.parse().ok());
    let lower = |architecture: &str, below: u32, least: u32| -> Vec<Platform> {
        (least..below)
            .rev()
            .map(|n| other(architecture, Some(format!("v{n}")).filter(|_| (architecture, n) != ("amd64", 1))))
            .collect()
    };
    let mut accepted = vec![wanted.clone()];
    match wanted.architecture.as_str() {
        "amd64" => {
            // No such processor exists beyond v4; the cap keeps a hostile variant from making a long list.
            accepted.extend(lower("amd64", version.unwrap_or(1).min(9), 1));
            accepted.push(other("386", None));
        }
        "arm" => accepted.extend(lower("arm", version.unwrap_or(7).min(9), 5)),
        "arm64" => {
            accepted.extend(wanted.variant.is_some().then(|| other("arm64", None)));
            accepted.extend(lower("arm", 9, 5));
        }
        _ => {}
    }
    accepted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::oci::parse_index;

    fn index(platforms: &[&str]) -> ImageIndex {
        let entries: Vec<String> = platforms.iter().map(|text| entry(text)).collect();
        let text = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entries.join(","));
        parse_index(text.as_bytes()).expect("valid")
    }

    fn entry(text: &str) -> String {
        let words: Vec<&str> = text.split('/').collect();
        let platform = match words[..] {
            [""] => String::new(),
            [os, architecture] if os.contains('@') => {
                let (os, version) = os.split_once('@').expect("it has one");
                format!(r#","platform":{{"os":"{os}","os.version":"{version}","architecture":"{architecture}"}}"#)
            }
            [os, architecture] => format!(r#","platform":{{"os":"{os}","architecture":"{architecture}"}}"#),
            [os, architecture, variant] => {
                format!(r#","platform":{{"os":"{os}","architecture":"{architecture}","variant":"{variant}"}}"#)
            }
            _ => panic!("{text}"),
        };
        let digest = Digest::of(text.as_bytes());
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":1{platform}}}"#)
    }

    #[test]
    fn the_best_platform_is_selected() {
        let cases: &[(&[&str], &str, Option<&str>)] = &[
            (&["linux/arm64", "linux/amd64"], "linux/amd64", Some("linux/amd64")),
            (&["linux/arm64/v8"], "linux/arm64", Some("linux/arm64/v8")),
            (&["linux/arm/v5", "linux/arm/v6"], "linux/arm/v7", Some("linux/arm/v6")),
            (&["linux/arm/v7"], "linux/arm/v6", None),
            (&["linux/arm"], "linux/arm/v7", Some("linux/arm")),
            (&["linux/arm/v7", "linux/arm64"], "linux/arm64", Some("linux/arm64")),
            (&["linux/amd64/v3", "linux/amd64"], "linux/amd64/v2", Some("linux/amd64")),
            (&["linux/386"], "linux/amd64", Some("linux/386")),
            (&["windows/amd64"], "linux/amd64", None),
            (&["unknown/unknown", ""], "linux/amd64", Some("")),
            (&["unknown/unknown"], "linux/amd64", None),
            (&["windows@1.2.3/amd64", "windows@1.1.0/amd64"], "windows(1.1.0)/amd64", Some("windows@1.1.0/amd64")),
            (&["windows@1.2.3/amd64", "windows@1.1.0/amd64"], "windows/amd64", Some("windows@1.2.3/amd64")),
            (&["windows@1.2.3/amd64"], "windows(1.1.0)/amd64", None),
            (&["linux@5/amd64"], "linux(6)/amd64", Some("linux@5/amd64")),
        ];
        for (platforms, wanted, expected) in cases {
            let wanted: Platform = wanted.parse().expect("valid");
            let selected = select(&index(platforms), &wanted).map(|d| d.digest().to_string());
            assert_eq!(selected, expected.map(|e| Digest::of(e.as_bytes()).to_string()), "{platforms:?} {wanted}");
        }
    }
}
