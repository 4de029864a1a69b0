//! The parts of a multipart body, as the adapters read them (rule F6).

use std::io;

use bytes::{Bytes, BytesMut};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tempfile::{NamedTempFile, TempPath};
use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;

use crate::canonical::EncodeError;
use crate::digest::hex;
use crate::fingerprint::Content;

/// What a client says of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartHead {
    /// The name of the form's field.
    pub name: Option<String>,
    /// The name of the file, as the client says it: not a path to write to.
    pub file_name: Option<String>,
    /// The content type.
    pub content_type: Option<String>,
}

/// A part of a multipart body, whose content is where its sink has put it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Part<C> {
    /// What the client says of it.
    pub head: PartHead,
    /// The number of bytes.
    pub size: u64,
    /// The SHA-256 of the bytes.
    pub sha256: [u8; 32],
    /// Where the sink has put the bytes.
    pub content: C,
}

/// The limits of a multipart body. The framework's own limit for bodies, if it has one, is in force as
/// well.
#[derive(Debug, Clone, Copy)]
pub struct MultipartLimits {
    pub(crate) total: u64,
    pub(crate) part: u64,
    pub(crate) parts: usize,
    pub(crate) memory: usize,
}

impl Default for MultipartLimits {
    fn default() -> Self {
        Self::new()
    }
}

impl MultipartLimits {
    /// 100 parts of 50 MiB in all, of which 256 KiB are kept in memory.
    pub const fn new() -> Self {
        Self {
            total: 50 * 1024 * 1024,
            part: u64::MAX,
            parts: 100,
            memory: 256 * 1024,
        }
    }

    /// The most bytes that all parts may have.
    #[must_use]
    pub const fn with_total(self, total: u64) -> Self {
        Self { total, ..self }
    }

    /// The most bytes that a part may have.
    #[must_use]
    pub const fn with_part(self, part: u64) -> Self {
        Self { part, ..self }
    }

    /// The most parts.
    #[must_use]
    pub const fn with_parts(self, parts: usize) -> Self {
        Self { parts, ..self }
    }

    /// The most bytes of a request that are kept in memory. A part for which less is left goes to a
    /// temporary file.
    #[must_use]
    pub const fn with_memory(self, memory: usize) -> Self {
        Self { memory, ..self }
    }
}

/// The content of a part in memory, or in a temporary file.
#[derive(Debug)]
pub enum Spooled {
    /// The bytes.
    Memory(Bytes),
    /// The path of a file that is deleted when this is dropped.
    File(TempPath),
}

impl Spooled {
    /// All bytes, in memory.
    ///
    /// # Errors
    ///
    /// If the file can't be read.
    pub async fn bytes(&self) -> io::Result<Bytes> {
        match self {
            Self::Memory(bytes) => Ok(bytes.clone()),
            Self::File(path) => Ok(tokio::fs::read(path).await?.into()),
        }
    }
}

/// Counts and hashes parts while they are read.
#[derive(Debug)]
pub struct Meter {
    limits: MultipartLimits,
    total: u64,
    size: u64,
    hasher: Sha256,
}

impl Meter {
    /// A meter for a body.
    pub fn new(limits: MultipartLimits) -> Self {
        Self {
            limits,
            total: 0,
            size: 0,
            hasher: Sha256::new(),
        }
    }

    /// Whether there may be one more part after `count`.
    pub fn allows_after(&self, count: usize) -> bool {
        count < self.limits.parts
    }

    /// Counts a chunk. False if it is beyond a limit.
    pub fn count(&mut self, chunk: &[u8]) -> bool {
        let length = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        self.total = self.total.saturating_add(length);
        self.size = self.size.saturating_add(length);
        self.hasher.update(chunk);
        self.total <= self.limits.total && self.size <= self.limits.part
    }

    /// Ends the part.
    pub fn end<C>(&mut self, head: PartHead, content: C) -> Part<C> {
        Part {
            head,
            size: std::mem::take(&mut self.size),
            sha256: self.hasher.finalize_reset().into(),
            content,
        }
    }
}

/// The content of parts that are bound to the key, in their order.
///
/// # Errors
///
/// None.
pub fn content_of_parts<C>(parts: &[Part<C>]) -> Result<Content, EncodeError> {
    #[derive(Serialize)]
    struct Bound<'a> {
        name: Option<&'a str>,
        file_name: Option<&'a str>,
        content_type: Option<&'a str>,
        sha256: String,
    }
    let bound = parts.iter().map(|Part { head, sha256, .. }| Bound {
        name: head.name.as_deref(),
        file_name: head.file_name.as_deref(),
        content_type: head.content_type.as_deref(),
        sha256: hex(sha256),
    });
    Content::of(&bound.collect::<Vec<_>>())
}

/// Puts parts into memory, as long as there is room, and into temporary files.
#[derive(Debug, Clone, Copy)]
pub struct Spooling {
    memory: usize,
}

impl Spooling {
    /// Room for the parts of a body.
    pub fn new(limits: MultipartLimits) -> Self {
        let MultipartLimits { memory, .. } = limits;
        Self { memory }
    }

    /// Begins a part.
    pub fn begin(&mut self) -> SpooledPart<'_> {
        SpooledPart {
            memory: &mut self.memory,
            buffer: BytesMut::new(),
            file: None,
        }
    }
}

/// A part while it is written.
#[derive(Debug)]
pub struct SpooledPart<'a> {
    memory: &'a mut usize,
    buffer: BytesMut,
    file: Option<(File, TempPath)>,
}

impl SpooledPart<'_> {
    /// Writes a chunk.
    ///
    /// # Errors
    ///
    /// If the temporary file can't be written.
    pub async fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        if let Some((file, _)) = &mut self.file {
            return file.write_all(chunk).await;
        }
        if self.buffer.len() + chunk.len() <= *self.memory {
            self.buffer.extend_from_slice(chunk);
            return Ok(());
        }
        let created = tokio::task::spawn_blocking(NamedTempFile::new).await;
        let (file, path) = created.map_err(io::Error::other)??.into_parts();
        let mut file = File::from_std(file);
        file.write_all(&std::mem::take(&mut self.buffer)).await?;
        file.write_all(chunk).await?;
        self.file = Some((file, path));
        Ok(())
    }

    /// Ends the part.
    ///
    /// # Errors
    ///
    /// If the temporary file can't be written.
    pub async fn end(self) -> io::Result<Spooled> {
        if let Some((mut file, path)) = self.file {
            file.flush().await?;
            return Ok(Spooled::File(path));
        }
        *self.memory -= self.buffer.len();
        Ok(Spooled::Memory(self.buffer.freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(
        name: &str,
        file_name: Option<&str>,
        content_type: Option<&str>,
        body: &str,
    ) -> Part<()> {
        let mut meter = Meter::new(MultipartLimits::new());
        assert!(meter.count(body.as_bytes()));
        let head = PartHead {
            name: Some(name.to_owned()),
            file_name: file_name.map(str::to_owned),
            content_type: content_type.map(str::to_owned),
        };
        meter.end(head, ())
    }

    #[test]
    fn f6_each_part_is_bound_by_name_file_name_type_and_content_in_order() {
        let of = |parts: &[Part<()>]| content_of_parts(parts).unwrap();
        let text = || part("a", None, None, "1");
        let file = |body| part("b", Some("b.txt"), Some("text/plain"), body);
        let first = of(&[text(), file("2")]);
        assert_eq!(of(&[text(), file("2")]), first);
        for others in [
            vec![file("2"), text()],
            vec![text()],
            vec![text(), file("3")],
            vec![text(), file("2"), file("2")],
            vec![text(), part("c", Some("b.txt"), Some("text/plain"), "2")],
            vec![text(), part("b", Some("c.txt"), Some("text/plain"), "2")],
            vec![text(), part("b", Some("b.txt"), None, "2")],
            vec![part("a", None, None, "12"), file("")],
        ] {
            assert_ne!(of(&others), first);
        }
    }

    /// `docs/fingerprint.md` says so.
    #[test]
    fn f6_parts_are_a_sequence_of_structs() {
        #[derive(Serialize)]
        struct Documented {
            sha256: &'static str,
            name: Option<&'static str>,
        }
        let sha256 = "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b";
        let documented = Content::of(&[Documented {
            sha256,
            name: Some("a"),
        }]);
        let parts = [part("a", None, None, "1")];
        assert_eq!(content_of_parts(&parts).unwrap(), documented.unwrap());
    }

    #[test]
    fn l2_a_part_and_all_parts_have_limits() {
        let limits = MultipartLimits::new()
            .with_part(2)
            .with_total(3)
            .with_parts(2);
        let mut meter = Meter::new(limits);
        let head = part("a", None, None, "").head;
        assert!(meter.count(b"12"));
        meter.end(head, ());
        assert!(meter.allows_after(1));
        assert!(!meter.allows_after(2));
        assert!(meter.count(b"3"));
        assert!(!meter.count(b"4"));
        assert!(!Meter::new(limits).count(b"123"));
    }

    #[tokio::test]
    async fn l2_parts_beyond_the_memory_are_in_files() {
        let mut spooling = Spooling::new(MultipartLimits::new().with_memory(4));
        let mut spooled = Vec::new();
        for chunks in [["1", "23"], ["4", "5"], ["6", ""], ["7", ""]] {
            let mut part = spooling.begin();
            for chunk in chunks {
                part.write(chunk.as_bytes()).await.unwrap();
            }
            spooled.push(part.end().await.unwrap());
        }
        let is_file = |spooled: &Spooled| matches!(spooled, Spooled::File(_));
        let files: Vec<_> = spooled.iter().map(is_file).collect();
        assert_eq!(files, [false, true, false, true]);
        let mut bytes = Vec::new();
        for spooled in &spooled {
            bytes.extend(spooled.bytes().await.unwrap());
        }
        assert_eq!(bytes, b"1234567");
        let Spooled::File(path) = spooled.swap_remove(1) else {
            unreachable!()
        };
        let kept = path.to_path_buf();
        assert!(kept.exists());
        drop(path);
        assert!(!kept.exists());
    }
}
