//! Compressed layers: members of about one MiB each, made in parallel, and taken over from earlier layers.
//!
//! The members' borders depend on the bytes alone ([`members`]), so the blob is the same for any number of threads. A
//! gzip file of several members is one stream to every reader (RFC 1952, section 2.2), as several Zstandard frames are
//! (RFC 8878, section 3.1); here both are called members. What looks like noise gzip stores as it is ([`runs`]). Where some
//! member's bytes are in a layer that was compressed before, they are copied from there ([`index`]): what did not change is
//! not compressed again.

mod index;
mod members;
mod runs;

use std::io::{self, Write};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::ScopedJoinHandle;

use self::index::{Member, MemberIndex};
use self::members::Splitter;
use super::unpack::decompress;
use super::{BlobWriter, Store, StoreError, diff};
use crate::digest::{DiffId, Hashing};
use crate::oci::{Compression, Descriptor, LayerCompression, MediaType, descriptor, digest_of};

/// Bytes that are compressed at once; of these, four batches are in memory, and as many of what became of them.
const BATCH: usize = 8 << 20;

impl Store {
    /// Makes the compressed blob of the top layer of `stack` from its snapshot and returns its descriptor; where the layer
    /// has such a blob here already, returns that one's.
    ///
    /// # Errors
    /// The snapshot is not there, or is damaged and taken away; or the store cannot be written.
    pub fn layer_blob(&self, stack: &[DiffId], compression: Compression) -> Result<Descriptor, StoreError> {
        let diff_id = stack.last().expect("a layer is on top");
        if let Some(known) = self.made_blob(diff_id, compression) {
            return Ok(known);
        }
        let stack = self.origin(stack);
        let below = &stack[..stack.len() - 1];
        self.lay_missing(below)?;
        let changes = self.changes(stack)?;
        let lowers = self.lowers(below)?;
        let write = |tar: &mut dyn Write| diff::write_layer(&changes.path, &lowers, i64::MAX, tar);
        let layer = self.compress(compression, &write)?;
        if layer.diff_id != *diff_id {
            drop(layer);
            return Err(self.take_away_snapshot(stack));
        }
        layer.keep()
    }

    /// Writes the archive of the top layer of `stack` from its snapshot.
    ///
    /// # Errors
    /// The snapshot is not there, or `out` fails.
    pub fn write_layer(&self, stack: &[DiffId], out: &mut dyn Write) -> Result<(), StoreError> {
        let stack = self.origin(stack);
        let below = &stack[..stack.len().saturating_sub(1)];
        self.lay_missing(below)?;
        let (changes, lowers) = (self.changes(stack)?, self.lowers(below)?);
        diff::write_layer(&changes.path, &lowers, i64::MAX, out)
            .map_err(|error| StoreError::io("read", &changes.path, error))
    }

    /// Compresses the tar archive that `write` writes, with all processors.
    pub(super) fn compress(
        &self,
        compression: Compression,
        write: &(dyn Fn(&mut dyn Write) -> io::Result<()> + Sync),
    ) -> Result<CompressedLayer<'_>, StoreError> {
        let mut blob = self.blob_writer()?;
        let mut members = MemberIndex::new(self, compression);
        // Three threads hand batches on: one makes the archive and hashes it, one compresses with all processors, one
        // hashes the blob and writes it.
        let digest = std::thread::scope(|scope| {
            let (sender, batches) = sync_channel(1);
            let tar = scope.spawn(|| {
                let mut tar = Hashing::new(Batches::new(sender));
                write(&mut tar)?;
                let (batches, digest, _) = tar.finish();
                batches.finish().map(|()| digest)
            });
            let (sender, compressed) = sync_channel::<Vec<Member>>(1);
            let blob = &mut blob;
            let writer = scope
                .spawn(move || compressed.into_iter().flatten().try_for_each(|member| blob.write_all(&member.bytes)));
            for batch in batches {
                let batch = members.compress(&batch)?;
                batch.iter().for_each(|member| members.add(member));
                if sender.send(batch).is_err() {
                    break;
                }
            }
            drop(sender);
            joined(writer)?;
            joined(tar)
        });
        let digest = digest.map_err(|error: io::Error| StoreError::io("compress a layer in", self.path(), error))?;
        Ok(CompressedLayer { store: self, diff_id: DiffId(digest), compression, blob, members })
    }

    /// Makes a blob of a layer from another one of its blobs, `from`, which is here, and returns its descriptor; where the
    /// layer has such a blob here already, returns that one's.
    ///
    /// # Errors
    /// `from` is not here, is damaged and taken away, or is no layer; or the store cannot be written.
    pub fn compress_anew(
        &self,
        diff_id: &DiffId,
        from: &Descriptor,
        compression: Compression,
    ) -> Result<Descriptor, StoreError> {
        if let Some(known) = self.made_blob(diff_id, compression) {
            return Ok(known);
        }
        let failed = |source| StoreError::io("compress a layer in", self.path(), source);
        let media_type = from.media_type().as_ref();
        let packed = LayerCompression::of_media_type(media_type)
            .ok_or_else(|| failed(io::Error::other(format!("no layer has the media type {media_type}"))))?;
        let digest = digest_of(from).map_err(|error| failed(io::Error::other(error)))?;
        let write = |tar: &mut dyn Write| {
            let mut blob = self.open_blob(&digest)?;
            io::copy(&mut decompress(packed, &mut blob)?, tar).map(drop)
        };
        let made = self.compress(compression, &write);
        if made.as_ref().is_ok_and(|layer| layer.diff_id == *diff_id) {
            return made?.keep();
        }
        self.check_blob(&digest)?;
        Err(StoreError::DigestMismatch { expected: diff_id.0, actual: made?.diff_id.0 })
    }

    /// Returns the blob that a compression made of a layer, if it is here whole; a power loss may have cut it short.
    fn made_blob(&self, diff_id: &DiffId, compression: Compression) -> Option<Descriptor> {
        let layer = self.layer(diff_id)?;
        let is_here = |descriptor: &&Descriptor| self.has_blob_of(descriptor);
        match compression == Compression::default() {
            true => layer.plain().map(|blob| &blob.descriptor).find(is_here).cloned(),
            false => layer.asked_for.get(&compression.to_string()).filter(is_here).cloned(),
        }
    }
}

/// A layer's blob under way; dropped without [`CompressedLayer::keep`] it leaves nothing.
pub(super) struct CompressedLayer<'a> {
    store: &'a Store,
    /// Of the archive that was compressed.
    pub(super) diff_id: DiffId,
    compression: Compression,
    blob: BlobWriter<'a>,
    members: MemberIndex<'a>,
}

impl CompressedLayer<'_> {
    /// Puts the blob under its digest, notes what layer it is, and returns its descriptor.
    pub(super) fn keep(self) -> Result<Descriptor, StoreError> {
        let (digest, size) = self.blob.commit(None)?;
        self.members.save(&digest)?;
        let media_type = MediaType::from(self.compression.of_layer().media_type());
        let descriptor = descriptor(media_type, size, digest);
        self.store.put_made_blob(&self.diff_id, self.compression, &descriptor)?;
        Ok(descriptor)
    }
}

/// Returns `raw` as one Zstandard frame, as it is, or as gzip, in one member for each [run](runs).
fn member(compression: Compression, raw: &[u8]) -> io::Result<Vec<u8>> {
    let level = match compression {
        Compression::Gzip(level) => level,
        Compression::Zstd(level) => return zstd::bulk::compress(raw, level),
        Compression::Uncompressed => return Ok(raw.to_vec()),
    };
    let level = libdeflater::CompressionLvl::new(level).map_err(|_| io::Error::other("no such gzip level"))?;
    let as_it_is = libdeflater::CompressionLvl::new(0).map_err(|_| io::Error::other("no such gzip level"))?;
    let mut compressor = libdeflater::Compressor::new(level);
    let mut storer = libdeflater::Compressor::new(as_it_is);
    let mut member = Vec::with_capacity(compressor.gzip_compress_bound(raw.len()));
    for run in runs::of(raw) {
        let compressor = if run.is_noise { &mut storer } else { &mut compressor };
        let begin = member.len();
        member.resize(begin + compressor.gzip_compress_bound(run.bytes.len()), 0);
        let size = compressor.gzip_compress(run.bytes, &mut member[begin..]).map_err(io::Error::other)?;
        member.truncate(begin + size);
    }
    Ok(member)
}

/// Returns what a thread returned, or panics as it did.
fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
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
