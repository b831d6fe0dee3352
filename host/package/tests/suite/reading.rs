//! The fields of a manifest: each rule kept and broken, with the line of the mistake.

use callgate_package::{Manifest, Refused};

use crate::package::{MANIFEST, and, refused, unsigned, with};

fn read(manifest: &str) -> Result<Manifest, Refused> {
    Manifest::parse(unsigned(manifest).body())
}

#[test]
fn every_field_is_read() {
    let more = "[[transitions]]\nfrom = \"TO_BE_PAID\"\nto = \"PAID\"\n\
        [config_schema]\ntype = \"object\"";
    let manifest = read(&and(more)).unwrap();
    assert_eq!(manifest.version.to_string(), "1.3.0");
    assert_eq!(manifest.routes[0].event_type, "payment.*");
    assert_eq!(manifest.transitions.as_ref().unwrap()[0].to, "PAID");
    assert_eq!(manifest.limits["fuel"], 30_000_000);
    assert_eq!(manifest.config_schema.as_ref().unwrap().keywords()["type"], "object");
    assert!(read(MANIFEST).unwrap().transitions.is_none());
}

#[test]
fn an_unknown_field_is_refused_with_its_line() {
    for (manifest, words) in [
        (with("contract", "contarct"), ["line 5", "contarct"]),
        (with("[grants]", "[grants]\nsecrets = []"), ["line 14", "secrets"]),
        (with("scene =", "scenes ="), ["line 9", "scenes"]),
        (and("[allow]\nunsigned = true"), ["line 19", "allow"]),
    ] {
        refused(read(&manifest), "package.syntax", &words);
    }
}

#[test]
fn a_missing_field_is_named() {
    for field in ["name", "version", "contract", "scene", "event_type", "state"] {
        let lines = MANIFEST.lines().filter(|line| !line.starts_with(&format!("{field} =")));
        let manifest = lines.collect::<Vec<_>>().join("\n");
        refused(read(&manifest), "package.syntax", &["missing", field]);
    }
}

#[test]
fn a_value_of_another_type_is_refused_with_its_line() {
    for (from, to, line) in [
        ("\"1.3.0\"", "1.3", "line 4"),
        ("[\"ledger\"]", "\"ledger\"", "line 14"),
        ("30000000", "\"30000000\"", "line 18"),
        ("30000000", "-1", "line 18"),
        ("30000000", "1.5", "line 18"),
    ] {
        refused(read(&with(from, to)), "package.syntax", &[line]);
    }
}

#[test]
fn a_value_that_breaks_a_rule_is_refused_with_field_and_line() {
    for (from, to, words) in [
        ("mall/order-payment", "mall//x", ["line 3", "`name`", "mall//x"]),
        ("1.3.0", "1.3", ["line 4", "`version`", "semantic"]),
        ("0.1.0", "latest", ["line 5", "`contract`", "semantic"]),
        ("\"PRODUCT_ORDER\"", "\"*\"", ["line 7", "`routes[0]`", "no wildcard"]),
        ("\"payment.*\"", "\"Payment\"", ["line 7", "`routes[0]`", "event type"]),
        ("\"ledger\"", "\"Ledger\"", ["line 14", "grants.write.Ledger", "a-z"]),
        ("\"order.paid\"", "\"order.*\"", ["line 15", "grants.topics", "a-z"]),
        ("fuel", "feul", ["line 18", "limits.feul", "action_ms"]),
        ("fuel = 30000000", "save_ms = 4294967296", ["line 18", "limits.save_ms", "smaller"]),
    ] {
        refused(read(&with(from, to)), "package.field", &words);
    }
}

#[test]
fn the_hash_has_64_digits() {
    let body = String::from_utf8(unsigned(MANIFEST).body().to_vec()).unwrap();
    let (start, rest) = body.split_once("sha256 = \"").unwrap();
    let (hash, rest) = rest.split_once('"').unwrap();
    for wrong in ["", &hash[1..], &hash.to_uppercase().replace(char::is_numeric, "A")] {
        let body = format!("{start}sha256 = \"{wrong}\"{rest}");
        let read = Manifest::parse(body.as_bytes());
        refused(read, "package.field", &["line 2", "`sha256`", "64 digits"]);
    }
}

#[test]
fn a_route_stands_there_once() {
    let (_, routes) = MANIFEST.split_once("[[routes]]").unwrap();
    let (route, _) = routes.split_once("\n\n").unwrap();
    let again = and(&format!("[[routes]]{route}"));
    refused(read(&again), "package.field", &["line 19", "routes[1]", "twice"]);
}

#[test]
fn the_number_of_routes_is_bounded() {
    let routes = |many: usize| {
        let route = |number| {
            format!(
                "{{ business = \"B{number}\", scene = \"*\", event_type = \"*\", state = \"\" }}"
            )
        };
        let list: Vec<String> = (0..many).map(route).collect();
        let (start, rest) = MANIFEST.split_once("[[routes]]").unwrap();
        let (_, rest) = rest.split_once("\n\n").unwrap();
        format!("{start}routes = [{}]\n{rest}", list.join(", "))
    };
    assert_eq!(read(&routes(200)).unwrap().businesses().len(), 200);
    refused(read(&routes(201)), "package.field", &["`routes`", "201"]);
    refused(read(&routes(0)), "package.field", &["`routes`", "0"]);
}

#[test]
fn what_shows_as_something_else_is_refused() {
    for (text, words) in [
        ("\r\n", ["line 4", "line feed"]),
        ("# \u{202e}\n", ["line 4", "202e"]),
        ("# \u{7}\n", ["line 4", "7}"]),
    ] {
        let manifest = MANIFEST.replacen("\n", &format!("\n{text}"), 1);
        refused(read(&manifest), "package.syntax", &words);
    }
    assert!(read(&and("# 订单")).is_ok());
    let body = [unsigned(MANIFEST).body(), b"# \xff\n"].concat();
    refused(Manifest::parse(&body), "package.syntax", &["line 19", "UTF-8"]);
}

#[test]
fn nesting_without_end_is_refused() {
    let manifest = and(&format!("[config_schema]\ndefault = {}", "[".repeat(100_000)));
    refused(read(&manifest), "package.syntax", &["line 20"]);
}
