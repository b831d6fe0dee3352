//! The little of zip that a bill needs: the files of an archive, stored or deflated, one of them
//! unpacked as it is read. No encryption, no volumes, nothing past four gigabytes: such a file is
//! refused by name. Source: APPNOTE 6.3.10 of the format, read 2026-11-22.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Take};

use anyhow::{Context, bail, ensure};
use flate2::Crc;
use flate2::read::DeflateDecoder;

/// One file of an archive.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    deflated: bool,
    crc: u32,
    packed: u64,
    whole: u64,
    at: u64,
}

/// The files of an archive, from its directory.
pub(super) fn entries(file: &mut File) -> anyhow::Result<Vec<Entry>> {
    let length = file.seek(SeekFrom::End(0))?;
    let tail = length.min(TAIL_MAX);
    file.seek(SeekFrom::Start(length.saturating_sub(tail)))?;
    let mut bytes = Vec::new();
    file.take(tail).read_to_end(&mut bytes)?;
    let end = bytes.windows(4).rposition(|four| four == b"PK\x05\x06");
    let end = end.and_then(|at| bytes.get(at..)).context("is no zip that is whole")?;
    let (count, at) = (short(end, 10)?, long(end, 16)?);
    ensure!(usize::from(count) <= ENTRIES_MAX, "has more than {ENTRIES_MAX} files");
    file.seek(SeekFrom::Start(u64::from(at)))?;
    let mut entries = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        entries.push(entry(file)?);
    }
    Ok(entries)
}

fn entry(file: &mut File) -> anyhow::Result<Entry> {
    let mut head = [0; 46];
    file.read_exact(&mut head).context("has a directory that is not whole")?;
    ensure!(head.starts_with(b"PK\x01\x02"), "has a directory that cannot be read");
    let (flags, method) = (short(&head, 8)?, short(&head, 10)?);
    ensure!(flags & 1 == 0, "is encrypted: unpack it and give the file of details");
    let deflated = match method {
        0 => false,
        8 => true,
        other => bail!("is packed by method {other}, expected 0 or 8"),
    };
    let (packed, whole, at) = (long(&head, 20)?, long(&head, 24)?, long(&head, 42)?);
    ensure!([packed, whole, at].iter().all(|size| *size != u32::MAX), "is larger than 4 GiB");
    let rest = [short(&head, 28)?, short(&head, 30)?, short(&head, 32)?];
    let rest = rest.iter().map(|length| i64::from(*length)).fold(0, i64::saturating_add);
    file.seek(SeekFrom::Current(rest))?;
    let crc = long(&head, 16)?;
    let (packed, whole, at) = (u64::from(packed), u64::from(whole), u64::from(at));
    Ok(Entry { deflated, crc, packed, whole, at })
}

/// One file as it is unpacked; its end is none where its sum is wrong.
pub(super) fn unpack(mut file: File, entry: Entry) -> anyhow::Result<impl Read> {
    file.seek(SeekFrom::Start(entry.at))?;
    let mut head = [0; 30];
    file.read_exact(&mut head).context("has a file that is not whole")?;
    ensure!(head.starts_with(b"PK\x03\x04"), "has a file that cannot be read");
    let rest = i64::from(short(&head, 26)?).saturating_add(i64::from(short(&head, 28)?));
    file.seek(SeekFrom::Current(rest))?;
    let packed = file.take(entry.packed);
    let bytes = match entry.deflated {
        true => Bytes::Deflated(DeflateDecoder::new(packed)),
        false => Bytes::Stored(packed),
    };
    Ok(Checked { bytes, crc: Crc::new(), entry, read: 0 })
}

enum Bytes {
    Stored(Take<File>),
    Deflated(DeflateDecoder<Take<File>>),
}

/// Counts and sums up what is read.
struct Checked {
    bytes: Bytes,
    crc: Crc,
    entry: Entry,
    read: u64,
}

impl Read for Checked {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        let count = match &mut self.bytes {
            Bytes::Stored(bytes) => bytes.read(to)?,
            Bytes::Deflated(bytes) => bytes.read(to)?,
        };
        self.read = self.read.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        self.crc.update(to.get(..count).unwrap_or_default());
        let ended = count == 0 && !to.is_empty();
        if self.read > self.entry.whole || (ended && self.crc.sum() != self.entry.crc) {
            let words = "the file in the zip is not what its directory says";
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, words));
        }
        Ok(count)
    }
}

fn short(bytes: &[u8], at: usize) -> anyhow::Result<u16> {
    let two = bytes.get(at..).and_then(|rest| rest.first_chunk::<2>());
    Ok(u16::from_le_bytes(*two.context("is no zip that is whole")?))
}

fn long(bytes: &[u8], at: usize) -> anyhow::Result<u32> {
    let four = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>());
    Ok(u32::from_le_bytes(*four.context("is no zip that is whole")?))
}

/// The directory's end, and the longest comment behind it.
const TAIL_MAX: u64 = 66_000;

/// A bill's zip has two files.
const ENTRIES_MAX: usize = 100;
