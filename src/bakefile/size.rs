//! How much memory targets take: what is inherited is copied, so a small file can ask for much.

use std::collections::BTreeMap;

use super::model::{Spanned, Target};

/// The most that all targets of a run may take from their parents and their own blocks together, in bytes. Twenty thousand
/// targets that each inherit a hundred arguments fit.
pub(super) const MAX_TARGETS: usize = 512 << 20;

/// Bytes of an element or entry beside its texts: its struct, the headers of its texts, its place in the collection.
const ELEMENT: usize = 96;

trait Size {
    /// Bytes of text, in this and everything in it, and [`ELEMENT`] for each element.
    fn size(&self) -> usize;
}

impl Size for String {
    fn size(&self) -> usize {
        self.len()
    }
}

impl<T: Size> Size for Option<T> {
    fn size(&self) -> usize {
        self.as_ref().map_or(0, Size::size)
    }
}

impl<T: Size> Size for Spanned<T> {
    fn size(&self) -> usize {
        self.value.size()
    }
}

impl<T: Size> Size for Vec<T> {
    fn size(&self) -> usize {
        self.iter().map(|item| ELEMENT + item.size()).sum()
    }
}

impl<T: Size> Size for BTreeMap<String, T> {
    fn size(&self) -> usize {
        self.iter().map(|(key, value)| ELEMENT + key.len() + value.size()).sum()
    }
}

macro_rules! size_of_fields {
    ($($name:ident { $($field:ident),* })*) => {$(
        impl Size for super::spec::$name {
            fn size(&self) -> usize {
                0 $(+ self.$field.size())*
            }
        }
    )*};
}

size_of_fields! {
    OutputSpec { kind, fields }
    CacheSpec { kind, fields }
    AttestSpec { kind, fields }
    SecretSpec { id, src, env }
    SshSpec { id, paths }
    PolicySpec { filename, log_level }
}

impl Target {
    /// Returns about how many bytes it takes.
    pub(super) fn size(&self) -> usize {
        let texts = [&self.context, &self.dockerfile, &self.dockerfile_inline, &self.target, &self.network];
        let more = [&self.shm_size, &self.call];
        let lists = [&self.annotations, &self.tags, &self.platforms, &self.no_cache_filter, &self.ulimits];
        let maps = [&self.args, &self.labels, &self.extra_hosts];
        let sizes = [
            size_of::<Target>() + self.name.len() + self.description.size(),
            texts.into_iter().chain(more).map(Size::size).sum(),
            lists.into_iter().chain([&self.entitlements, &self.inherits]).map(Size::size).sum(),
            maps.into_iter().map(Size::size).sum(),
            self.contexts.size() + self.resources.size() + self.platform_args.size(),
            self.attest.size() + self.cache_from.size() + self.cache_to.size() + self.output.size(),
            self.secret.size() + self.ssh.size() + self.policy.size(),
        ];
        sizes.into_iter().sum()
    }
}
