//! Compressed layers: gzip in members of about one MiB each, made in parallel, and taken over from earlier layers.
//!
//! The members' borders depend on the bytes alone ([`members`]), so the blob is the same for any number of threads. A
//! gzip file of several members is one stream to every reader (RFC 1952, section 2.2). Where some member's bytes are in a
//! layer that was compressed before, they are copied from there ([`index`]): what did not change is not compressed again.

mod index;
mod members;

use std::io::{self, Write};
use std::sync::mpsc::{SyncSender, sync_channel};

use self::index::MemberIndex;
use self::members::Splitter;
use super::{LayerRecord, Store, StoreError, diff};
use crate::digest::{DiffId, Hashing};
use crate::oci::{Descriptor, LayerCompression, MediaType, descriptor};

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

/// Bytes that are compressed at once; three times as many are in memory.
const BATCH: usize = 8 << 20;

impl Store {
    /// Makes the compressed blob of the top layer of `stack` from its snapshot and returns its descriptor; where the layer
    /// has a blob here already, returns that one's.
    ///
    /// # Errors
    /// The snapshot is not there, or is damaged and taken away; or the store cannot be written.
    pub fn layer_blob(&self, stack: &[DiffId], compression: Compression) -> Result<Descriptor, StoreError> {
        let diff_id = stack.last().expect("a layer is on top");
        if let Some(known) = self.layer(diff_id).and_then(|layer| self.blob_here(&layer)) {
            return Ok(known);
        }
        let stack = self.origin(stack);
        let below = &stack[..stack.len() - 1];
        let changes = self.changes(stack)?;
        let lowers = self.lowers(below)?;
        let failed = |error| StoreError::io("compress", &changes.path, error);
        let mut blob = self.blob_writer()?;
        let mut members = MemberIndex::new(self, compression);
        let actual = std::thread::scope(|scope| {
            let (sender, batches) = sync_channel(1);
            let tar = scope.spawn(|| {
                let mut tar = Hashing::new(Batches::new(sender));
                diff::write_layer(&changes.path, &lowers, i64::MAX, &mut tar)?;
                let (batches, digest, _) = tar.finish();
                batches.finish().map(|()| digest)
            });
            for batch in batches {
                for member in members.compress(&batch)? {
                    members.add(&member);
                    blob.write_all(&member.bytes)?;
                }
            }
            tar.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        let actual = actual.map_err(failed)?;
        if actual != diff_id.0 {
            drop(blob);
            return Err(self.take_away_snapshot(stack));
        }
        let (digest, size) = blob.commit(None)?;
        members.save(&digest)?;
        let media_type = MediaType::from(LayerCompression::Gzip.media_type());
        let descriptor = descriptor(media_type, size, digest);
        self.put_layer_blob(diff_id, &descriptor, None)?;
        Ok(descriptor)
    }

    /// Returns the first of a layer's blobs that is here whole. One that a power loss cut short is not.
    fn blob_here(&self, layer: &LayerRecord) -> Option<Descriptor> {
        layer.blobs.iter().map(|blob| &blob.descriptor).find(|descriptor| self.has_blob_of(descriptor)).cloned()
    }
}

impl Compression {
    /// Returns `raw` as one gzip member.
    fn member(self, raw: &[u8]) -> io::Result<Vec<u8>> {
        let Compression::Gzip(level) = self;
        let level = libdeflater::CompressionLvl::new(level).map_err(|_| io::Error::other("no such gzip level"))?;
        let mut compressor = libdeflater::Compressor::new(level);
        let mut member = vec![0; compressor.gzip_compress_bound(raw.len())];
        let size = compressor.gzip_compress(raw, &mut member).map_err(io::Error::other)?;
        member.truncate(size);
        Ok(member)
    }
}

/// Collects members and sends them on, many at a time.
struct Batches {
    splitter: Splitter,
    batch: Vec<Vec<u8>>,
    n_bytes: usize,
    sender: SyncSender<Vec<Vec<u8>>>,
}

impl Batches {
    fn new(sender: SyncSender<Vec<Vec<u8>>>) -> Batches {
        Batches { splitter: Splitter::default(), batch: Vec::new(), n_bytes: 0, sender }
    }

    fn send(&mut self) -> io::Result<()> {
        self.n_bytes = 0;
        // Nobody receives any more where compressing failed, which is the error that is told.
        self.sender.send(std::mem::take(&mut self.batch)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    /// Sends what is left. An archive is never empty.
    fn finish(mut self) -> io::Result<()> {
        let last = std::mem::take(&mut self.splitter).finish();
        if !last.is_empty() {
            self.batch.push(last);
        }
        self.send()
    }
}

impl Write for Batches {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let Batches { splitter, batch, n_bytes, .. } = self;
        splitter.push(buffer, |member| {
            *n_bytes += member.len();
            batch.push(member);
        });
        if self.n_bytes >= BATCH {
            self.send()?;
        }
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
