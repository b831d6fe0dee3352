//! The files that a configuration was read from, and how to see that one of them has changed.
//!
//! A file is known by what the file system says of it, links followed: where a secret of Kubernetes
//! changes, a link leads to another file of the same name. Nothing of the content is kept.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Files by their paths, each as it was at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files(BTreeMap<PathBuf, Seen>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    /// The key that names it; empty for the configuration file itself.
    key: String,
    stamp: Option<Stamp>,
}

/// What the file system says of a file. Times are seconds and nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Files {
    /// The same files as they are now.
    #[must_use]
    pub fn again(&self) -> Self {
        let again = |(path, seen): (&PathBuf, &Seen)| {
            (path.clone(), Seen { key: seen.key.clone(), stamp: stamp(path) })
        };
        Self(self.0.iter().map(again).collect())
    }

    /// The keys of those that are not as they are in `other`, or not there.
    #[must_use]
    pub fn differing(&self, other: &Self) -> Vec<&str> {
        let differs = |(path, seen): &(&PathBuf, &Seen)| other.0.get(*path) != Some(seen);
        self.0.iter().filter(differs).map(|(_, seen)| seen.key.as_str()).collect()
    }

    /// These files, and of `newer` all of them.
    #[must_use]
    pub fn and(mut self, newer: Self) -> Self {
        self.0.extend(newer.0);
        self
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What lies at a path; `None` where nothing does, or nobody may know.
fn stamp(path: &Path) -> Option<Stamp> {
    let found = std::fs::metadata(path).ok()?;
    Some(Stamp {
        device: found.dev(),
        inode: found.ino(),
        bytes: found.size(),
        modified: (found.mtime(), found.mtime_nsec()),
        changed: (found.ctime(), found.ctime_nsec()),
    })
}

thread_local! {
    /// Every room reads its own files, deep inside; who gathers them stands at the top.
    static GATHERED: RefCell<Option<Files>> = const { RefCell::new(None) };
}

/// Does something, and tells which files of the configuration it read on this thread.
pub(super) fn gather<T>(work: impl FnOnce() -> T) -> (T, Files) {
    GATHERED.with_borrow_mut(|gathered| *gathered = Some(Files::default()));
    let done = work();
    (done, GATHERED.take().unwrap_or_default())
}

/// Reads a file that the configuration names with `key`. Whatever reads one goes through here, so
/// that a change of it is seen.
///
/// # Errors
/// As the file system says.
pub fn read(key: &str, path: &Path) -> std::io::Result<String> {
    // Before the reading: a change while it is read is then seen as one.
    note(key, path);
    std::fs::read_to_string(path)
}

/// Notes a file that somebody below reads for the configuration.
pub(super) fn note(key: &str, path: &Path) {
    let seen = Seen { key: key.to_owned(), stamp: stamp(path) };
    GATHERED.with_borrow_mut(|gathered| {
        if let Some(files) = gathered {
            files.0.insert(path.to_path_buf(), seen);
        }
    });
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::{Files, gather, read};

    fn seen(folder: &TempDir, names: &[&str]) -> Files {
        let paths = names.iter().map(|name| folder.path().join(name));
        gather(|| paths.for_each(|path| drop(read("channels.a.key_file", &path)))).1
    }

    #[test]
    fn what_is_written_again_moved_or_gone_is_seen() {
        let folder = TempDir::new().expect("a folder");
        let path = folder.path().join("key");
        fs::write(&path, "one").expect("a file");
        let first = seen(&folder, &["key"]);
        assert_eq!(first.differing(&first.again()), Vec::<&str>::new());
        fs::write(&path, "three").expect("a file");
        let second = first.again();
        assert_eq!(first.differing(&second), ["channels.a.key_file"]);
        let other = folder.path().join("other");
        fs::write(&other, "three").expect("a file");
        fs::rename(&other, &path).expect("moved");
        let third = second.again();
        assert_ne!(second, third);
        fs::remove_file(&path).expect("removed");
        assert_ne!(third, third.again());
        assert_eq!(third.again(), third.again().again());
    }

    #[test]
    fn a_link_that_leads_elsewhere_is_a_change() {
        let folder = TempDir::new().expect("a folder");
        for version in ["v1", "v2"] {
            fs::create_dir(folder.path().join(version)).expect("a folder");
            fs::write(folder.path().join(version).join("key"), "same").expect("a file");
        }
        let link = folder.path().join("current");
        std::os::unix::fs::symlink("v1", &link).expect("a link");
        let before = seen(&folder, &["current/key"]);
        std::os::unix::fs::symlink("v2", folder.path().join("next")).expect("a link");
        fs::rename(folder.path().join("next"), &link).expect("moved over");
        assert_eq!(before.differing(&before.again()).len(), 1);
    }

    #[test]
    fn what_is_read_outside_is_nobodys() {
        let folder = TempDir::new().expect("a folder");
        drop(read("x", &folder.path().join("missing")));
        assert!(gather(|| ()).1.is_empty());
        assert!(!seen(&folder, &["missing"]).is_empty());
    }
}
