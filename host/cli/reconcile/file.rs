//! A bill's file as lines: plain, gzipped, or in a zip. However large it says it is, one line of
//! bounded length is in memory at a time.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read, Seek};
use std::path::Path;

use anyhow::Context;
use callgate_core::bill::{LINE_BYTES_MAX, Reader, Row, Total};
use flate2::read::MultiGzDecoder;

use super::archive;

/// The rows of a bill.
pub(super) struct Lines {
    bytes: Box<dyn BufRead>,
    reader: Reader,
    line: Vec<u8>,
    lines: u64,
}

impl Lines {
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let mut file = File::open(path).context("cannot be opened")?;
        let mut magic = [0; 4];
        let count = read_some(&mut file, &mut magic)?;
        file.rewind()?;
        let bytes: Box<dyn BufRead> = match magic.get(..count) {
            Some([0x1f, 0x8b, ..]) => Box::new(BufReader::new(MultiGzDecoder::new(file))),
            Some(b"PK\x03\x04") => details(file)?,
            _ => Box::new(BufReader::new(file)),
        };
        Self::of(bytes)
    }

    fn of(mut bytes: Box<dyn BufRead>) -> anyhow::Result<Self> {
        let mut line = Vec::new();
        // The first line says whose bill it is, and is read again by its reader.
        take_line(bytes.as_mut(), &mut line)?;
        let reader = Reader::of(&line).context(
            "begins as no bill: expected WeChat Pay's trade bill (交易时间,…) or Alipay's list of \
             details (#支付宝业务明细查询)",
        )?;
        line.push(b'\n');
        let bytes: Box<dyn BufRead> = Box::new(Cursor::new(line).chain(bytes));
        Ok(Self { bytes, reader, line: Vec::new(), lines: 0 })
    }

    /// The next row; `None` at the end of the file.
    pub(super) fn next_row(&mut self) -> anyhow::Result<Option<Row>> {
        while take_line(self.bytes.as_mut(), &mut self.line)? {
            self.lines = self.lines.saturating_add(1);
            anyhow::ensure!(self.lines <= LINES_MAX, "has more than {LINES_MAX} lines");
            if let Some(row) = self.reader.line(&self.line)? {
                return Ok(Some(row));
            }
        }
        Ok(None)
    }

    /// Ends the bill.
    pub(super) fn end(self) -> anyhow::Result<Total> {
        Ok(self.reader.end()?)
    }
}

/// Reads a line without its end; tells whether there was one. One that is too long comes cut off,
/// longer than any reader takes.
fn take_line(bytes: &mut dyn BufRead, line: &mut Vec<u8>) -> anyhow::Result<bool> {
    line.clear();
    let most = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(2);
    let count = bytes.take(most).read_until(b'\n', line).context("cannot be read")?;
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    Ok(count > 0)
}

/// The list of details in a zip: Alipay puts the sums beside it, under names of any encoding.
fn details(mut file: File) -> anyhow::Result<Box<dyn BufRead>> {
    let mut found = None;
    for entry in archive::entries(&mut file)? {
        let mut bytes = BufReader::new(archive::unpack(file.try_clone()?, entry)?);
        let mut line = Vec::new();
        take_line(&mut bytes, &mut line)?;
        let mut reader = Reader::of(&line);
        // What is no list of details says so in its first line.
        if reader.as_mut().is_some_and(|reader| reader.line(&line).is_ok()) {
            anyhow::ensure!(found.is_none(), "has two bills, expected one: unpack it and choose");
            found = Some(entry);
        }
    }
    let entry = found.context("has no list of details (业务明细)")?;
    Ok(Box::new(BufReader::new(archive::unpack(file, entry)?)))
}

fn read_some(file: &mut File, to: &mut [u8; 4]) -> anyhow::Result<usize> {
    let mut count = 0;
    while let Some(rest) = to.get_mut(count..).filter(|rest| !rest.is_empty()) {
        match file.read(rest).context("cannot be read")? {
            0 => break,
            more => count = count.saturating_add(more),
        }
    }
    Ok(count)
}

/// More than a month of the largest merchants.
const LINES_MAX: u64 = 100_000_000;

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::Lines;

    const HEAD: &str = "交易时间,微信订单号,商户订单号,交易状态,货币种类,订单金额\n";
    const ROW: &str = "`2026-11-21 10:00:05,`42,`CG1,`SUCCESS,`CNY,`19.99\n";
    const END: &str = "总交易单数,订单总金额\n`2,`39.98\n";

    fn read(bytes: &[u8]) -> Result<usize, String> {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(bytes).expect("it is written");
        let mut rows = 0_usize;
        let read = || -> anyhow::Result<()> {
            let mut lines = Lines::open(file.path())?;
            while lines.next_row()?.is_some() {
                rows = rows.saturating_add(1);
            }
            lines.end().map(drop)
        };
        let mut read = read;
        read().map(|()| rows).map_err(|error| format!("{error:#}"))
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let level = flate2::Compression::fast();
        let mut to = flate2::write::GzEncoder::new(Vec::new(), level);
        to.write_all(bytes).expect("memory");
        to.finish().expect("memory")
    }

    /// A zip as programs write it, with every file deflated.
    fn zipped(files: &[(&str, &[u8])]) -> Vec<u8> {
        let (mut to, mut directory) = (Vec::new(), Vec::new());
        for (name, bytes) in files {
            let level = flate2::Compression::fast();
            let mut packed = flate2::write::DeflateEncoder::new(Vec::new(), level);
            packed.write_all(bytes).expect("memory");
            let packed = packed.finish().expect("memory");
            let mut crc = flate2::Crc::new();
            crc.update(bytes);
            let size = |length: usize| u32::try_from(length).expect("small").to_le_bytes();
            let mut head = vec![20, 0, 0, 0, 8, 0, 0, 0, 0, 0];
            head.extend(crc.sum().to_le_bytes());
            head.extend([size(packed.len()), size(bytes.len()), size(name.len())].concat());
            directory.extend([b"PK\x01\x02\x14\x00", head.as_slice(), &[0; 10]].concat());
            directory.extend([&size(to.len())[..], name.as_bytes()].concat());
            to.extend([b"PK\x03\x04", head.as_slice(), name.as_bytes(), &packed].concat());
        }
        let count = u16::try_from(files.len()).expect("few").to_le_bytes();
        let (at, size) = (to.len(), directory.len());
        let long = |length: usize| u32::try_from(length).expect("small").to_le_bytes();
        to.extend(directory);
        to.extend([b"PK\x05\x06\0\0\0\0", &count[..], &count, &long(size), &long(at)].concat());
        to.extend([0, 0]);
        to
    }

    #[test]
    fn plain_gzipped_and_zipped_bills_are_the_same() {
        let bill = format!("{HEAD}{ROW}{ROW}{END}");
        for bytes in [
            bill.clone().into_bytes(),
            bill.trim_end().as_bytes().to_vec(),
            gzip(bill.as_bytes()),
            zipped(&[("sums.csv", b"#\xd6\xa7\xb8\xb6\xb1\xa6"), ("x.csv", bill.as_bytes())]),
        ] {
            assert_eq!(read(&bytes), Ok(2));
        }
    }

    #[test]
    fn files_that_are_none_or_not_whole_are_refused() {
        let bill = format!("{HEAD}{ROW}{ROW}{END}");
        let zip = zipped(&[("x.csv", bill.as_bytes())]);
        let two = zipped(&[("x.csv", bill.as_bytes()), ("y.csv", bill.as_bytes())]);
        let (short, cut) = (gzip(bill.as_bytes()), bill.len() / 2);
        for (bytes, words) in [
            (b"".to_vec(), "begins as no bill"),
            (b"PK\x03\x04nonsense".to_vec(), "no zip"),
            (zip.get(..zip.len() / 2).unwrap_or_default().to_vec(), "no zip"),
            (two, "two bills"),
            (zipped(&[("x.csv", b"nothing")]), "no list of details"),
            (short.get(..short.len() / 2).unwrap_or_default().to_vec(), "cannot be read"),
            (bill.as_bytes().get(..cut).unwrap_or_default().to_vec(), "line "),
            (format!("{HEAD}{}", "x".repeat(1 << 20)).into_bytes(), "line 2: longer than"),
        ] {
            let error = read(&bytes).expect_err(words);
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_bomb_is_one_long_line() {
        let bomb = gzip(&vec![b'x'; 64 << 20]);
        let error = read(&bomb).expect_err("no bill");
        assert!(error.contains("begins as no bill"), "{error}");
    }
}
