//! Archive files: one JSON object a line, compressed with zstd, named by table, day, host and
//! process.
//!
//! A file is written beside its place, forced to disk, read back and only then renamed: what
//! stands under its name is whole.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::Table;
use crate::error::StoreError;
use crate::plain::PlainRow;

/// The files of one day, of whatever host, in the order of their names.
pub(crate) fn of_day(folder: &Path, table: Table, day: &str) -> Result<Vec<PathBuf>, StoreError> {
    let start = format!("{}-{day}-", table.as_str());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| fault(folder, &error))? {
        let path = entry.map_err(|error| fault(folder, &error))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with(&start) && name.ends_with(SUFFIX) {
            found.push(path);
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Removes what crashes left of files that were not ended. Whoever does retention now is alone, so
/// that no other process may end one; one that tries nevertheless finds that it is gone.
pub(crate) fn sweep(folder: &Path) -> Result<(), StoreError> {
    for entry in std::fs::read_dir(folder).map_err(|error| fault(folder, &error))? {
        let path = entry.map_err(|error| fault(folder, &error))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let ours = Table::ALL.iter().any(|table| name.starts_with(table.as_str()));
        if ours && name.ends_with(UNFINISHED) {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(fault(&path, &error));
                }
                Ok(()) | Err(_) => {}
            }
        }
    }
    Ok(())
}

/// Where a file belongs.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) folder: PathBuf,
    pub(crate) table: Table,
    /// `2026-11-21`.
    pub(crate) day: String,
    /// Host and process: no two write under one name, even where hosts are called alike.
    pub(crate) writer: String,
}

/// A file that is being written.
#[derive(Debug)]
pub(crate) struct Draft {
    place: PathBuf,
    part: PathBuf,
    encoder: Encoder,
    rows: u64,
}

struct Encoder(zstd::Encoder<'static, File>);

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Encoder")
    }
}

impl Draft {
    /// Begins the next file of this day and process; what it left of one itself is overwritten.
    pub(crate) fn create(place: &Place) -> Result<Self, StoreError> {
        let Place { folder, table, day, writer } = place;
        let table = table.as_str();
        let name = |number: u32| format!("{table}-{day}-{writer}-{number:04}{SUFFIX}");
        let place = (1..=FILES_MAX)
            .map(|number| folder.join(name(number)))
            .find(|place| !place.exists())
            .ok_or_else(|| {
                let what = format!("{} has {FILES_MAX} files of {day}", folder.display());
                StoreError::Archive { what }
            })?;
        let mut part = place.clone().into_os_string();
        part.push(PART);
        let part = PathBuf::from(part);
        // Callbacks name people: nobody but the server's user may read them.
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&part)
            .map_err(|error| fault(&part, &error))?;
        let encoder = zstd::Encoder::new(file, LEVEL)
            .and_then(|mut encoder| encoder.include_checksum(true).map(|()| encoder))
            .map_err(|error| fault(&part, &error))?;
        Ok(Self { place, part, encoder: Encoder(encoder), rows: 0 })
    }

    /// Adds rows.
    pub(crate) fn add(&mut self, rows: &[PlainRow]) -> Result<(), StoreError> {
        for row in rows {
            let mut line = serde_json::to_vec(row)
                .map_err(|error| StoreError::corrupt(format!("row is no JSON: {error}")))?;
            line.push(b'\n');
            self.encoder.0.write_all(&line).map_err(|error| fault(&self.part, &error))?;
            self.rows = self.rows.saturating_add(1);
        }
        Ok(())
    }

    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Forces the file to disk, reads it back and gives it its name.
    pub(crate) fn finish(self) -> Result<PathBuf, StoreError> {
        let Self { place, part, encoder, rows } = self;
        let written = encoder.0.finish().and_then(|file| file.sync_all());
        written.map_err(|error| fault(&part, &error))?;
        let mut found = 0_u64;
        for row in ArchiveReader::open(&part)? {
            row?;
            found = found.saturating_add(1);
        }
        if found != rows {
            let what = format!("{} reads back {found} rows of {rows}", part.display());
            return Err(StoreError::Archive { what });
        }
        rename(&part, &place)?;
        Ok(place)
    }

    /// Gives the file up.
    pub(crate) fn discard(self) {
        // What is left is overwritten by the next one.
        drop(std::fs::remove_file(&self.part));
    }
}

/// Renames a file inside its folder, so that the new name survives a power cut.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    std::fs::rename(from, to).map_err(|error| fault(to, &error))?;
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or_else(|| Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| fault(folder, &error))
}

/// Reads an archive file row by row.
pub struct ArchiveReader {
    path: PathBuf,
    lines: Lines<BufReader<zstd::Decoder<'static, BufReader<File>>>>,
}

impl std::fmt::Debug for ArchiveReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ArchiveReader").field("path", &self.path).finish_non_exhaustive()
    }
}

impl ArchiveReader {
    /// Opens an archive file.
    ///
    /// # Errors
    /// [`StoreError::Archive`] where it cannot be read.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let opened = File::open(path).and_then(zstd::Decoder::new);
        let decoder = opened.map_err(|error| fault(path, &error))?;
        Ok(Self { path: path.to_owned(), lines: BufReader::new(decoder).lines() })
    }
}

impl Iterator for ArchiveReader {
    type Item = Result<PlainRow, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let line = self.lines.next()?;
        let read = line.map_err(|error| fault(&self.path, &error)).and_then(|line| {
            serde_json::from_str(&line).map_err(|error| {
                let what = format!("{}: line is no JSON object: {error}", self.path.display());
                StoreError::Archive { what }
            })
        });
        Some(read)
    }
}

pub(crate) fn fault(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Archive { what: format!("{}: {error}", path.display()) }
}

const SUFFIX: &str = ".jsonl.zst";

/// What the name of a file that is being written ends with.
const PART: &str = ".part";
const UNFINISHED: &str = ".jsonl.zst.part";

/// The library's own default: a tenth of the size of callbacks, at disk speed.
const LEVEL: i32 = 3;

/// Files of one day and process.
const FILES_MAX: u32 = 9_999;
