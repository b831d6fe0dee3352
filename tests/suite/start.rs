//! A mistake stops the start with the key, what was found and what was expected; the server does
//! not start half.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::house::{callgate, plugin, plugins_toml, write_configuration};

/// Starts a server that must not start; what it says.
pub(crate) fn refused(more: &str, flags: &[&str]) -> String {
    let folder = TempDir::new().expect("a folder");
    write_configuration(folder.path(), more);
    refused_in(folder.path(), flags)
}

fn refused_in(folder: &Path, flags: &[&str]) -> String {
    let file = folder.join("callgate.toml").to_string_lossy().into_owned();
    let mut args = vec!["serve", "--config", &file];
    for flag in flags {
        args.extend(["--set", flag]);
    }
    let output = callgate(&args);
    assert!(!output.status.success(), "it started");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!String::from_utf8_lossy(&output.stdout).contains("listening"), "{said}");
    said
}

pub(crate) fn says(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "expected `{word}` in: {said}");
    }
}

#[test]
fn a_mistake_in_a_key_is_named_with_what_was_expected() {
    for (flag, words) in [
        ("store.url=mysql://x", ["store.url", "sqlite://"].as_slice()),
        ("store.group_max=many", &["store.group_max"]),
        ("public.listen=nowhere", &["public.listen"]),
        ("public.requests_max=0", &["public.requests_max", "found 0", "1 to"]),
        ("private.read_timeout_ms=1", &["private.read_timeout_ms", "100"]),
        ("public.port=80", &["public", "port", "expected"]),
        ("engine.retry.first_ms=-1", &["engine.retry.first_ms"]),
        ("log.format=xml", &["log.format", "text"]),
        ("log.filter=a=b=c", &["log.filter"]),
        ("nothing.here=1", &["nothing"]),
        ("operator.token_sha256=[\"abc\"]", &["operator.token_sha256", "64 hexadecimal"]),
        ("channels.wechat-v3-main.gateway=paypal", &["channels.wechat-v3-main", "wechat-v3"]),
        (
            "channels.wechat-v3-main.business=NOBODY",
            &["channels.wechat-v3-main.business", "NOBODY"],
        ),
        ("channels.wechat-v3-main.api_v3_key_file=gone", &["api_v3_key_file", "gone"]),
        ("channels.wechat-v3-main.answer=later", &["channels.wechat-v3-main.answer", "stored"]),
        ("channels.alipay-main.public_key_env=NOT_SET_ANYWHERE", &["public_key_env", "NOT_SET"]),
        ("channels.alipay-main.public_key=text", &["channels.alipay-main", "public_key", "twice"]),
        ("channels.UPPER.gateway=alipay", &["channels.UPPER", "a-z"]),
    ] {
        says(&refused("", &[flag]), words);
    }
}

#[test]
fn a_key_that_is_no_key_is_refused_without_showing_it() {
    let folder = TempDir::new().expect("a folder");
    fs::write(folder.path().join("short.key"), "only-16-chars-xx").expect("a file");
    write_configuration(folder.path(), "");
    let said = refused_in(folder.path(), &["channels.wechat-v3-main.api_v3_key_file=short.key"]);
    says(&said, &["channels.wechat-v3-main.api_v3_key", "32"]);
    assert!(!said.contains("only-16-chars-xx"), "{said}");
}

#[test]
fn a_broken_file_is_named_with_its_line() {
    let folder = TempDir::new().expect("a folder");
    fs::write(folder.path().join("callgate.toml"), "[store]\nurl = \n").expect("a file");
    says(&refused_in(folder.path(), &[]), &["callgate.toml", "line 2"]);
}

/// Configures one more plugin file beside the mall's.
fn with_plugin(bytes: &[u8]) -> Option<String> {
    let folder = TempDir::new().expect("a folder");
    fs::write(folder.path().join("extra.wasm"), bytes).expect("a file");
    let more = format!(
        "{}[plugins.extra]\nfile = \"extra.wasm\"\nbusinesses = [\"PRODUCT_ORDER\"]\n",
        plugins_toml()?
    );
    write_configuration(folder.path(), &more);
    Some(refused_in(folder.path(), &[]))
}

#[test]
fn a_plugin_file_that_is_no_component_is_refused() {
    let Some(said) = with_plugin(b"hello") else { return };
    says(&said, &["plugins.extra", "not WebAssembly"]);
    let Some(said) = with_plugin(b"\0asm\x01\0\0\0") else { return };
    says(&said, &["plugins.extra", "component"]);
}

#[test]
fn a_plugin_file_that_is_cut_off_is_refused() {
    let Some(file) = plugin("order-payment") else { return };
    let bytes = fs::read(file).expect("the component");
    let half = bytes.get(..bytes.len() / 2).expect("half of it");
    let Some(said) = with_plugin(half) else { return };
    says(&said, &["plugins.extra"]);
}

#[test]
fn a_plugin_that_is_there_already_is_refused() {
    let Some(file) = plugin("order-payment") else { return };
    let Some(said) = with_plugin(&fs::read(file).expect("the component")) else { return };
    says(&said, &["mall/order-payment", "given twice"]);
}

#[test]
fn a_plugin_that_claims_a_taken_route_is_refused_with_both_names() {
    let Some(file) = plugin("order-payment") else { return };
    // The same processor under another name: one letter of the name that it gives itself.
    let mut bytes = fs::read(file).expect("the component");
    let name = b"mall/order-payment";
    let places: Vec<usize> = bytes
        .windows(name.len())
        .enumerate()
        .filter_map(|(place, window)| (window == name).then_some(place))
        .collect();
    assert!(!places.is_empty(), "the component carries its name");
    for place in places {
        bytes[place] = b'b';
    }
    let Some(said) = with_plugin(&bytes) else { return };
    says(&said, &["mall/order-payment", "ball/order-payment", "route"]);
}

#[test]
fn a_missing_plugin_file_is_named() {
    let more = "[plugins.extra]\nfile = \"gone.wasm\"\nbusinesses = [\"PRODUCT_ORDER\"]\n";
    says(&refused(more, &[]), &["plugins.extra.file", "gone.wasm"]);
}

#[test]
fn a_plugin_may_claim_routes_only_for_its_businesses() {
    let Some(file) = plugin("order-payment") else { return };
    let more = format!(
        "[plugins.order-payment]\nfile = {:?}\nbusinesses = [\"OTHER\"]\n",
        file.display().to_string()
    );
    says(&refused(&more, &[]), &["order-payment", "PRODUCT_ORDER"]);
}

#[test]
fn the_default_configuration_is_a_configuration() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("callgate.toml");
    fs::write(&file, callgate(&["config"]).stdout).expect("a file");
    let output = callgate(&["check", "--config", &file.to_string_lossy()]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

#[test]
fn a_sink_that_leads_into_the_house_is_refused_unless_it_is_allowed() {
    let sink = |url: &str, more: &str| {
        format!(
            "[sinks.erp]\nkind = \"http\"\nurl = \"{url}\"\ntopics = [\"*\"]\n\
             secret = \"whsec_YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE=\"\n{more}\n"
        )
    };
    for url in ["https://127.0.0.1/x", "https://[::1]/x", "https://10.0.0.8/", "https://localhost/"]
    {
        says(&refused(&sink(url, ""), &[]), &["sinks.erp.url", "not a public address"]);
    }
    says(&refused(&sink("http://example.com/", ""), &[]), &["sinks.erp.url", "https"]);
    let folder = TempDir::new().expect("a folder");
    write_configuration(folder.path(), &sink("http://127.0.0.1:9/", "allow_private = true"));
    let file = folder.path().join("callgate.toml");
    let output = callgate(&["check", "--config", &file.to_string_lossy()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_mistake_in_a_sink_is_named_with_what_was_expected() {
    let sink = "[sinks.erp]\nkind = \"http\"\nurl = \"https://example.com/\"\n\
        topics = [\"*\"]\nsecret = \"whsec_YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE=\"\n";
    for (flag, words) in [
        ("sinks.erp.kind=kafka", ["sinks.erp", "nats"].as_slice()),
        ("sinks.erp.url=nowhere", &["sinks.erp.url", "https://"]),
        ("sinks.erp.secret=short", &["sinks.erp.secret", "config.exposed"]),
        ("sinks.erp.topics=[]", &["sinks.erp.topics"]),
        ("sinks.erp.topics=[\"*.paid\"]", &["sinks.erp.topics", "order.*"]),
        ("sinks.erp.businesses=[\"NOBODY\"]", &["sinks.erp.businesses", "NOBODY"]),
        ("sinks.erp.in_flight_max=0", &["sinks.erp.in_flight_max", "1 to 256"]),
        ("sinks.erp.lease_ms=9999", &["sinks.erp.lease_ms", "twice"]),
        ("sinks.erp.from=yesterday", &["sinks.erp.from", "beginning"]),
        ("sinks.erp.subject=x", &["sinks.erp", "subject"]),
        ("sinks.UPPER.kind=http", &["sinks.UPPER", "a-z"]),
    ] {
        let said = refused(sink, &[flag]);
        says(&said, words);
        assert!(!said.contains("YWFhYWFh"), "{said}");
    }
    for (secret, words) in [("short", "whsec_"), ("whsec_c2hvcnQ=", "24 to 64")] {
        let wrong = sink.replace("whsec_YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE=", secret);
        says(&refused(&wrong, &[]), &["sinks.erp.secret", words]);
    }
}
