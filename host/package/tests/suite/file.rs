//! The file around the manifest: sizes, lines of signatures, and what an author hands in.

use callgate_package::draft::manifest_for;
use callgate_package::signed::{FILE_BYTES_MAX, FIRST_LINE, SIGNATURES_MAX};
use callgate_package::{Refused, SignedManifest};

use crate::package::{COMPONENT, MANIFEST, Place, refused, signer, unsigned};

fn parse(text: &str) -> Result<SignedManifest, Refused> {
    SignedManifest::parse(text.as_bytes())
}

#[test]
fn a_file_comes_apart_and_together_again() {
    let signed = Place::new().signed(MANIFEST);
    let again = SignedManifest::parse(&signed.to_bytes()).unwrap();
    assert_eq!(again, signed);
    assert!(again.to_bytes().starts_with(again.body()));
    assert!(again.body().ends_with(b"fuel = 30000000\n"));
}

#[test]
fn a_signed_file_is_toml_still() {
    let file = String::from_utf8(Place::new().signed(MANIFEST).to_bytes()).unwrap();
    assert!(file.parse::<toml::Table>().unwrap().contains_key("sha256"));
}

#[test]
fn a_file_has_a_largest_size() {
    let mut text = format!("{FIRST_LINE}#");
    text.push_str(&"x".repeat(FILE_BYTES_MAX.checked_sub(text.len()).unwrap()));
    refused(parse(&text), "package.format", &["line feed"]);
    text.pop();
    text.push('\n');
    assert!(parse(&text).is_ok());
    text.push('\n');
    refused(parse(&text), "package.too-large", &["262145", "262144"]);
}

#[test]
fn the_first_line_says_what_it_is() {
    for text in
        ["", "name = \"x\"\n", FIRST_LINE.trim_end(), "# callgate plugin manifest, format 2\n"]
    {
        refused(parse(text), "package.format", &["line 1", "format 1"]);
    }
    assert!(parse(FIRST_LINE).is_ok());
    refused(parse(&format!("{FIRST_LINE}name")), "package.format", &["line feed"]);
}

#[test]
fn nothing_but_signatures_stands_below_a_signature() {
    let file = String::from_utf8(Place::new().signed(MANIFEST).to_bytes()).unwrap();
    for below in ["fuel = 1\n", "\n", "# a remark\n", "[limits]\n", "\u{feff}\n"] {
        let verdict = parse(&format!("{file}{below}"));
        refused(verdict, "package.signature-line", &["line 20", "nothing else"]);
    }
}

#[test]
fn a_line_of_a_signature_has_one_form() {
    let file = String::from_utf8(Place::new().signed(MANIFEST).to_bytes()).unwrap();
    let (body, line) = file.trim_end().rsplit_once('\n').unwrap();
    let base64 = line.rsplit(' ').next().unwrap();
    for line in [
        format!("{line}\r\n"),
        format!("{line} \n"),
        format!("# signature: ed25519 PRODUCT_ORDER/main  {base64}\n"),
        format!("# signature: rsa PRODUCT_ORDER/main {base64}\n"),
        format!("# signature: ed25519 PRODUCT_ORDER {base64}\n"),
        format!("# signature: ed25519 PRODUCT_ORDER/a/b {base64}\n"),
        format!("# signature: ed25519 PRODUCT\u{202e}ORDER/main {base64}\n"),
        format!("# signature: ed25519 PRODUCT_ORDER/main {}\n", base64.trim_end_matches('=')),
        "# signature: ed25519 PRODUCT_ORDER/main AAAA\n".to_owned(),
        "# signature: \n".to_owned(),
    ] {
        refused(parse(&format!("{body}\n{line}")), "package.signature-line", &["line 19"]);
    }
}

#[test]
fn one_key_signs_once() {
    let signed = Place::new().signed(MANIFEST).to_bytes();
    let file = String::from_utf8(signed).unwrap();
    let line = file.lines().last().unwrap();
    refused(parse(&format!("{file}{line}\n")), "package.signature-line", &["line 20", "twice"]);
}

#[test]
fn signing_again_replaces_the_signature() {
    let place = Place::new();
    let mut signed = place.signed(MANIFEST);
    signed.sign(signer("PRODUCT_ORDER", "main"), &place.member).unwrap();
    signed.sign(signer("PRODUCT_ORDER", "main"), &place.product).unwrap();
    assert_eq!(signed.claimed_signers().count(), 1);
    assert!(place.admit(&signed.to_bytes()).is_ok());
}

#[test]
fn a_file_has_a_largest_number_of_signatures() {
    let place = Place::new();
    let mut signed = unsigned(MANIFEST);
    for number in 0..SIGNATURES_MAX {
        signed.sign(signer("PRODUCT_ORDER", &format!("key-{number}")), &place.product).unwrap();
    }
    let full = signed.to_bytes();
    assert!(SignedManifest::parse(&full).is_ok());
    let verdict = signed.sign(signer("PRODUCT_ORDER", "main"), &place.product);
    refused(verdict, "package.signature-line", &["16"]);
    let last = String::from_utf8(place.signed(MANIFEST).to_bytes()).unwrap();
    let over = [&full[..], last.lines().last().unwrap().as_bytes(), b"\n"].concat();
    refused(SignedManifest::parse(&over), "package.signature-line", &["too many", "16"]);
}

#[test]
fn a_draft_gets_first_line_and_hash_and_keeps_every_other_byte() {
    let body = manifest_for(MANIFEST.as_bytes(), COMPONENT).unwrap();
    let text = std::str::from_utf8(body.body()).unwrap();
    assert!(text.ends_with(MANIFEST) && text.starts_with(FIRST_LINE));
    // What has both already is taken as it is.
    assert_eq!(manifest_for(body.body(), COMPONENT).unwrap(), body);
}

#[test]
fn a_draft_with_the_hash_of_another_build_is_refused() {
    let body = manifest_for(MANIFEST.as_bytes(), COMPONENT).unwrap();
    refused(manifest_for(body.body(), b"another"), "package.hash", &["line 2"]);
}

#[test]
fn a_draft_that_breaks_a_rule_is_refused_before_it_is_signed() {
    let verdict = manifest_for(b"name = \"mall/x\"\n", COMPONENT);
    refused(verdict, "package.syntax", &["missing field"]);
}
