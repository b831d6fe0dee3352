//! Commands that speak to a server behind TLS: an authority of the company's own is trusted where it
//! is named, and nobody else; who must show a certificate can.

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use super::authority::{Authority, tls_toml};
use super::terms::authority;
use crate::house::{House, OPERATOR, binary, keys, write_configuration};

/// A house whose listeners present `server.pem`; its private and its public one.
fn house(folder: &Path, more: &str) -> (House, [String; 2]) {
    let public = tls_toml(folder, "server");
    let private = public.replace("[public.tls]", "[private.tls]");
    let own = TempDir::new().expect("a folder for the house");
    write_configuration(own.path(), &format!("{private}{more}{public}"));
    let house = House::start_in(own);
    let named = |url: &str| url.replace("http://127.0.0.1", "https://localhost");
    let places = [named(&house.private), named(&house.public)];
    (house, places)
}

/// Runs a command with variables of its own.
fn run(words: &[&str], variables: &[(&str, &str)]) -> (bool, String) {
    let mut command = Command::new(binary());
    command.args(words).env("CALLGATE_OPERATOR_TOKEN", OPERATOR).envs(variables.iter().copied());
    let Output { status, stdout, stderr } = command.output().expect("the binary runs");
    (status.success(), String::from_utf8([stdout, stderr].concat()).expect("text"))
}

fn path(folder: &TempDir, name: &str) -> String {
    folder.path().join(name).display().to_string()
}

#[test]
fn commands_trust_the_companys_own_authority_where_it_is_named() {
    let (ours, folder) = authority();
    ours.writes(folder.path(), "ca.pem");
    Authority::new().writes(folder.path(), "other.pem");
    let (_house, [private, public]) = house(folder.path(), "");
    let (ca, other) = (path(&folder, "ca.pem"), path(&folder, "other.pem"));
    let operate = ["operate", "--url", &private, "audit"];
    let list = ["plugin", "list", "--url", &private];
    let day = ["--date", "2026-11-21", "--channel", "alipay-main", "--url", &private];
    let bill = path(&folder, "bill.csv");
    std::fs::write(&bill, "#支付宝业务明细查询\r\n").expect("a bill");
    let reconcile = [&["reconcile", "--bill", &bill][..], &day].concat();
    for words in [&operate[..], &list] {
        let (good, told) = run(words, &[]);
        assert!(!good && told.contains("certificate"), "{words:?}: {told}");
        let (good, told) = run(words, &[("CALLGATE_CA_FILE", &other)]);
        assert!(!good && told.contains("certificate"), "{words:?}: {told}");
    }
    for words in [vec!["operate"], vec!["plugin", "list"]] {
        let help = run(&[&words[..], &["--help"]].concat(), &[]).1;
        assert!(help.contains("--ca-file") && help.contains("CALLGATE_CA_FILE"), "{help}");
    }
    let (good, told) = run(&["operate", "--url", &private, "--ca-file", &ca, "audit"], &[]);
    assert!(good, "{told}");
    for words in [&operate[..], &list] {
        let (good, told) = run(words, &[("CALLGATE_CA_FILE", &ca)]);
        assert!(good, "{words:?}: {told}");
    }
    // Every command that speaks to a server has it: this one comes to the bill, and not to TLS.
    let (_, told) = run(&reconcile, &[("CALLGATE_CA_FILE", &ca)]);
    assert!(!told.contains("certificate"), "{told}");

    let (_, folder_of_keys) = keys();
    let keys = folder_of_keys.display().to_string();
    let play = ["trigger", "run", "all", "--gateway", "alipay", "--channel", "alipay-main"];
    let play = [&play[..], &["--keys", &keys, "--url", &public]].concat();
    let (good, told) = run(&play, &[]);
    assert!(!good && told.contains("certificate"), "{told}");
    let (_, told) = run(&[&play[..], &["--ca-file", &ca]].concat(), &[]);
    assert!(told.contains("success") && !told.contains("certificate"), "{told}");
}

#[test]
fn a_file_that_holds_no_certificate_is_named() {
    let folder = TempDir::new().expect("a folder");
    std::fs::write(folder.path().join("empty.pem"), "").expect("a file");
    for (file, words) in [("absent.pem", "cannot be read"), ("empty.pem", "expected certificates")]
    {
        let place = ["operate", "--url", "https://localhost:1", "--ca-file"];
        let (good, told) = run(&[&place[..], &[&path(&folder, file), "audit"]].concat(), &[]);
        assert!(!good && told.contains(words) && told.contains("--ca-file"), "{told}");
    }
}

#[test]
fn who_must_show_a_certificate_shows_it() {
    let (ours, folder) = authority();
    ours.writes(folder.path(), "ca.pem");
    ours.signs(folder.path(), "ada", "ada");
    Authority::new().signs(folder.path(), "eve", "eve");
    let clients = format!("client_ca_file = {:?}\n", path(&folder, "ca.pem"));
    let (_house, [private, _]) = house(folder.path(), &clients);
    let ca = path(&folder, "ca.pem");
    let place = ["operate", "--url", &private, "--ca-file", &ca];
    assert!(!run(&[&place[..], &["audit"]].concat(), &[]).0, "nobody comes in without one");
    for (who, expected) in [("ada", true), ("eve", false)] {
        let (certificate, key) =
            (path(&folder, &format!("{who}.pem")), path(&folder, &format!("{who}.key")));
        let shows = ["--client-certificate-file", &certificate, "--client-key-file", &key];
        let (good, told) = run(&[&place[..], &shows, &["audit"]].concat(), &[]);
        assert_eq!(good, expected, "{who}: {told}");
    }
    let alone = ["--client-certificate-file", &ca, "audit"];
    let (good, told) = run(&[&place[..], &alone].concat(), &[]);
    assert!(!good && told.contains("--client-key-file"), "{told}");
    let both = ["--client-certificate-file", &ca, "--client-key-file", &ca, "audit"];
    let (good, told) = run(&[&place[..], &both].concat(), &[]);
    assert!(!good && told.contains("expected a certificate in"), "{told}");
}
