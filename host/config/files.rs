//! The files that a configuration was read from, and how to see that one of them has changed.
//!
//! A file is known by what the file system says of it, links followed: where a secret of Kubernetes
//! changes, a link leads to another file of the same name. Nothing of the content is kept.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Files by their paths, each as it was at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files(BTreeMap<PathBuf, Seen>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    /// The keys that name it; empty for the configuration file itself.
    keys: BTreeSet<String>,
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
            (path.clone(), Seen { keys: seen.keys.clone(), stamp: stamp(path) })
        };
        Self(self.0.iter().map(again).collect())
    }

    /// The keys of those that are not as they are in `other`, or not there.
    #[must_use]
    pub fn differing(&self, other: &Self) -> Vec<&str> {
        let differs = |(path, seen): &(&PathBuf, &Seen)| {
            other.0.get(*path).is_none_or(|theirs| theirs.stamp != seen.stamp)
        };
        let differing = self.0.iter().filter(differs);
        differing.flat_map(|(_, seen)| seen.keys.iter().map(String::as_str)).collect()
    }

    /// The file that a value came from: of `a.key` the one that `a.key_file` names. `None` where
    /// there is none, or more than one.
    #[must_use]
    pub fn of(&self, key: &str) -> Option<&Path> {
        let keys = |seen: &Seen| seen.keys.iter().map(|key| value_key(key)).collect::<Vec<_>>();
        let named = self.0.iter();
        let named =
            named.flat_map(|(path, seen)| keys(seen).into_iter().map(move |key| (key, path)));
        let below = |rest: &str| rest.starts_with(['.', '[']) || rest.starts_with("s[");
        let fitting: Vec<(String, &PathBuf)> = named
            .filter(|(value, _)| {
                value.strip_prefix(key).is_some_and(|rest| rest.is_empty() || below(rest))
            })
            .collect();
        let exact = fitting.iter().find(|(value, _)| value == key);
        let only = || fitting.first().filter(|_| fitting.len() == 1);
        exact.or_else(only).map(|(_, path)| path.as_path())
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

/// The key of the value that a key names a file for: `x` of `x_file`, `xs[1]` of `x_files[1]`.
fn value_key(key: &str) -> String {
    let index = key.rfind('[').filter(|_| key.ends_with(']')).unwrap_or(key.len());
    let (stem, index) = key.split_at(index);
    if let Some(value) = stem.strip_suffix("_files") {
        return format!("{value}s{index}");
    }
    stem.strip_suffix("_file").map_or_else(|| key.to_owned(), |value| format!("{value}{index}"))
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
    let stamp = stamp(path);
    GATHERED.with_borrow_mut(|gathered| {
        if let Some(files) = gathered {
            // Of two readings the first stamp counts: a change between them is then seen as one.
            let new = || Seen { keys: BTreeSet::new(), stamp };
            let seen = files.0.entry(path.to_path_buf()).or_insert_with(new);
            seen.keys.insert(key.to_owned());
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
    fn a_value_is_found_in_the_file_that_its_key_names() {
        let folder = TempDir::new().expect("a folder");
        let names = [
            ("channels.a.api_key_file", "one"),
            ("channels.a.certificate_files[0]", "two"),
            ("channels.a.certificate_files[1]", "three"),
            ("channels.a.public_keys[0].key_file", "four"),
            ("sinks.erp.secret_files[0]", "five"),
            ("sinks.erp.ca_file", "four"),
        ];
        let read_all = || {
            for (key, name) in names {
                drop(read(key, &folder.path().join(name)));
            }
        };
        let files = gather(read_all).1;
        let of = |key: &str| Some(files.of(key)?.file_name()?.to_str()?.to_owned());
        for (key, expected) in [
            ("channels.a.api_key", Some("one")),
            ("channels.a.certificates[1]", Some("three")),
            ("channels.a.certificates", None),
            ("channels.a.public_keys[0]", Some("four")),
            ("sinks.erp.secret", Some("five")),
            ("sinks.erp.ca", Some("four")),
            ("sinks.er", None),
            ("channels.b.api_key", None),
        ] {
            assert_eq!(of(key).as_deref(), expected, "{key}");
        }
    }

    #[test]
    fn what_is_read_outside_is_nobodys() {
        let folder = TempDir::new().expect("a folder");
        drop(read("x", &folder.path().join("missing")));
        assert!(gather(|| ()).1.is_empty());
        assert!(!seen(&folder, &["missing"]).is_empty());
    }
}
