//! The house rules that no compiler checks: arrows, door plates, sizes, words, codes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file of a folder, without build results.
fn rust_files(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root().join(folder)];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of ours") {
            let path = entry.expect("an entry").path();
            if path.is_dir() && !path.ends_with("target") {
                open.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                found.push(path);
            }
        }
    }
    found
}

fn ours() -> Vec<PathBuf> {
    ["host", "plugins", "tests", "xtask"].iter().flat_map(|folder| rust_files(folder)).collect()
}

fn text(file: &Path) -> String {
    fs::read_to_string(file).expect("a file of ours is UTF-8")
}

#[test]
fn arrows_between_the_rooms_of_the_server_go_down() {
    // Room and what it may use; the crates below are guarded by Cargo.
    let table: [(&str, &[&str]); 5] = [
        ("clock", &[]),
        ("telemetry", &[]),
        ("inbound", &["clock", "telemetry", "inbound"]),
        ("outbound", &["clock", "telemetry", "outbound"]),
        ("engine", &["clock", "telemetry", "inbound", "outbound", "engine"]),
    ];
    for file in rust_files("host") {
        let path = file.strip_prefix(root().join("host")).expect("inside host");
        let room = path.iter().next().and_then(|part| part.to_str()).expect("a room");
        let room = room.trim_end_matches(".rs");
        let Some((_, allowed)) = table.iter().find(|(name, _)| *name == room) else { continue };
        for line in text(&file).lines().filter_map(|line| line.trim().strip_prefix("use crate::")) {
            let used = line.split([':', ';', '{']).next().unwrap_or_default();
            assert!(allowed.contains(&used), "{}: `{room}` may not use `{used}`", file.display());
        }
    }
}

#[test]
fn every_file_says_what_it_is_for_and_stays_readable() {
    for file in ours() {
        let text = text(&file);
        let shown = file.display();
        assert!(text.starts_with("//!") || text.starts_with("#!["), "{shown} has no door plate");
        let lines = text.lines().count();
        assert!(lines <= 400, "{shown} has {lines} lines, limit is 400");
    }
}

#[test]
fn the_words_of_the_house_are_used() {
    let banned = ["Handler", "Manager", "Helper", "Util", "todo!(", "unimplemented!("];
    for file in ours().into_iter().filter(|file| !file.ends_with("tidy.rs")) {
        let text = text(&file);
        for word in banned {
            assert!(!text.contains(word), "{} says `{word}`", file.display());
        }
    }
}

#[test]
fn sql_stands_in_the_store_alone() {
    for file in rust_files("host").into_iter().chain(rust_files("xtask")) {
        if file.starts_with(root().join("host/store")) {
            continue;
        }
        let text = text(&file);
        for words in ["select ", "insert into", "delete from"] {
            let found = text.lines().any(|line| line.contains('"') && line.contains(words));
            assert!(!found, "{} says `{words}` in a text", file.display());
        }
    }
}

#[test]
fn every_reason_code_is_documented() {
    let documented = text(&root().join("docs/codes.md"));
    let mut missing = BTreeSet::new();
    for file in rust_files("host") {
        // Tests name codes as they please; topics of the trigger's events are no codes.
        let part_of = |name| file.components().any(|part| part.as_os_str() == name);
        if part_of("tests") || part_of("trigger") || file.ends_with("server.rs") {
            continue;
        }
        let text = text(&file);
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        for piece in text.split('"').skip(1).step_by(2) {
            let Some((room, rest)) = piece.split_once('.') else { continue };
            let rooms = [
                "gateway",
                "order",
                "store",
                "sandbox",
                "engine",
                "inbound",
                "route",
                "private",
                "plugin",
                "after",
                "package",
                "calls",
                "bulkhead",
                "config",
                "certificates",
                "keys",
                "status",
            ];
            // A section of the configuration is no code.
            let section = piece == "status.listener";
            let word = !section
                && !rest.is_empty()
                && rest.chars().all(|c| c.is_ascii_lowercase() || c == '-');
            if rooms.contains(&room) && word && !documented.contains(&format!("`{piece}`")) {
                missing.insert(piece.to_owned());
            }
        }
    }
    assert!(missing.is_empty(), "docs/codes.md does not list {missing:?}");
}
