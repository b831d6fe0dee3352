//! Keys survive being written and read, and show nothing of themselves.

use std::collections::BTreeMap;

use callgate_core::time::Timestamp;

use super::{BadFile, BadKey, Keys, Problem};

const NOW: Timestamp = Timestamp::from_seconds(1_795_226_406);

fn folder(keys: &Keys) -> BTreeMap<&'static str, String> {
    keys.files().unwrap().into_iter().map(|file| (file.name, file.content)).collect()
}

fn read(folder: &BTreeMap<&'static str, String>) -> Result<Keys, BadFile> {
    Keys::from_files(|name| folder.get(name).cloned())
}

#[test]
fn keys_read_back_are_the_keys_written() {
    let written = folder(&Keys::generate(NOW).unwrap());
    let again = folder(&read(&written).unwrap());
    assert_eq!(written, again);
    assert_eq!(written.len(), 13);
}

#[test]
fn a_missing_or_wrong_file_is_named() {
    let whole = folder(&Keys::generate(NOW).unwrap());
    for name in whole.keys().filter(|name| !name.ends_with(".pub.pem")) {
        let mut lacking = whole.clone();
        lacking.remove(name);
        let bad = read(&lacking).err();
        assert_eq!(bad, Some(BadFile { name, problem: Problem::Missing }));
    }
    let mut wrong = whole.clone();
    wrong.insert("alipay.key.pem", whole["alipay.pub.pem"].clone());
    let problem = Problem::Key(BadKey::NotPem);
    assert_eq!(read(&wrong).err(), Some(BadFile { name: "alipay.key.pem", problem }));
    let mut short = whole;
    short.insert("wechat-v2-api.key", "a".repeat(31));
    let problem = Problem::Length { found: 31 };
    assert_eq!(read(&short).err(), Some(BadFile { name: "wechat-v2-api.key", problem }));
}

#[test]
fn debug_shows_no_private_key() {
    let keys = Keys::generate(NOW).unwrap();
    let shown = format!("{keys:?}");
    for secret in [&keys.wechat_v2_api_key, &keys.wechat_v3.api_key, &keys.stranger.api_key] {
        assert!(!shown.contains(secret.expose()));
    }
    assert!(!shown.contains("PRIVATE"));
}

#[test]
fn the_configuration_is_toml_and_names_only_files_that_exist() {
    let keys = Keys::generate(NOW).unwrap();
    let files = folder(&keys);
    let odd = "C:\\keys \"of\"\u{7f} mine/";
    let table: toml::Table = keys.channels_toml(odd).parse().unwrap();
    let channels = table["channels"].as_table().unwrap();
    assert_eq!(channels.len(), 5);
    let mut named = Vec::new();
    for channel in channels.values() {
        collect_files(channel, &mut named);
    }
    assert_eq!(named.len(), 7);
    for path in named {
        let name = path.strip_prefix(odd).unwrap_or_else(|| panic!("{path}"));
        assert!(files.contains_key(name), "{name}");
        assert!(!name.contains(".key.pem"), "a private key is configured: {name}");
    }
}

fn collect_files(value: &toml::Value, found: &mut Vec<String>) {
    let Some(table) = value.as_table() else { return };
    for (key, value) in table {
        if key.ends_with("_file") || key.ends_with("_files") {
            let one = value.as_str().map(str::to_owned).into_iter();
            let many = value.as_array().into_iter().flatten();
            found.extend(one.chain(many.map(|path| path.as_str().unwrap().to_owned())));
        }
        for inner in value.as_array().into_iter().flatten() {
            collect_files(inner, found);
        }
    }
}
