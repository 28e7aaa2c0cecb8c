//! Compressed layers: gzip in members of one MiB each, made in parallel.
//!
//! The members' borders depend on the bytes alone, so the blob is the same for any number of threads. A gzip file of
//! several members is one stream to every reader (RFC 1952, section 2.2).

use std::io::{self, Write};

use rayon::prelude::*;

use super::{LayerRecord, Store, StoreError, diff};
use crate::digest::{DiffId, Hashing};
use crate::oci::{Descriptor, LayerCompression, MediaType, descriptor, digest_of};

/// How layers are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// gzip at this level, 1 to 12.
    Gzip(i32),
}

impl Default for Compression {
    fn default() -> Compression {
        // libdeflate's 4 makes smaller layers than zlib's 6, which the peers use, in half the time.
        Compression::Gzip(4)
    }
}

/// Bytes in a member.
const BLOCK: usize = 1 << 20;

/// Members that are compressed at once; bounds the memory.
const N_BLOCKS: usize = 16;

impl Store {
    /// Makes the compressed blob of the top layer of `stack` from its snapshot and returns its descriptor; where the layer
    /// has a blob here already, returns that one's.
    ///
    /// # Errors
    /// The snapshot is not there or is not what its diff id says; or the store cannot be written.
    pub fn layer_blob(&self, stack: &[DiffId], compression: Compression) -> Result<Descriptor, StoreError> {
        let (diff_id, below) = stack.split_last().expect("a layer is on top");
        if let Some(known) = self.layer(diff_id).and_then(|layer| self.blob_here(&layer)) {
            return Ok(known);
        }
        let Compression::Gzip(level) = compression;
        let changes = self.changes(stack)?;
        let lowers = self.lowers(below)?;
        let failed = |error| StoreError::io("compress", &changes.path, error);
        let blob = self.blob_writer()?;
        let mut tar = Hashing::new(GzipBlocks { out: blob, level, pending: Vec::new() });
        diff::write_layer(&changes.path, &lowers, i64::MAX, &mut tar).map_err(failed)?;
        let (mut gzip, actual, _) = tar.finish();
        if actual != diff_id.0 {
            return Err(StoreError::DigestMismatch { expected: diff_id.0, actual });
        }
        gzip.compress(true).map_err(failed)?;
        let (digest, size) = gzip.out.commit(None)?;
        let media_type = MediaType::from(LayerCompression::Gzip.media_type());
        let descriptor = descriptor(media_type, size, digest);
        self.put_layer_blob(diff_id, &descriptor, None)?;
        Ok(descriptor)
    }
}

impl Store {
    /// Returns the first of a layer's blobs that is here whole. One that a power loss cut short is not.
    fn blob_here(&self, layer: &LayerRecord) -> Option<Descriptor> {
        let is_here = |descriptor: &Descriptor| {
            let size = digest_of(descriptor).ok().and_then(|digest| self.open_blob(&digest).ok()?.metadata().ok());
            size.is_some_and(|metadata| metadata.len() == descriptor.size())
        };
        layer.blobs.iter().map(|blob| &blob.descriptor).find(|descriptor| is_here(descriptor)).cloned()
    }
}

/// Collects blocks and writes them as gzip members.
struct GzipBlocks<W> {
    out: W,
    level: i32,
    pending: Vec<u8>,
}

impl<W: Write> GzipBlocks<W> {
    /// Compresses what is pending; whole blocks alone unless it is the `last` of it. No archive is empty.
    fn compress(&mut self, last: bool) -> io::Result<()> {
        let n = if last { self.pending.len() } else { self.pending.len() / BLOCK * BLOCK };
        let level = libdeflater::CompressionLvl::new(self.level).map_err(|_| io::Error::other("no such gzip level"))?;
        let members: Vec<io::Result<Vec<u8>>> = self.pending[..n]
            .par_chunks(BLOCK)
            .map(|block| {
                let mut compressor = libdeflater::Compressor::new(level);
                let mut member = vec![0; compressor.gzip_compress_bound(block.len())];
                let size = compressor.gzip_compress(block, &mut member).map_err(io::Error::other)?;
                member.truncate(size);
                Ok(member)
            })
            .collect();
        for member in members {
            self.out.write_all(&member?)?;
        }
        self.pending.drain(..n);
        Ok(())
    }
}

impl<W: Write> Write for GzipBlocks<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.pending.extend_from_slice(buffer);
        if self.pending.len() >= N_BLOCKS * BLOCK {
            self.compress(false)?;
        }
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
