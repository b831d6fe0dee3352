//! Who must have signed, for what, and what the policy allows: each rule kept and broken.

use callgate_package::admit::CONTRACT;
use callgate_package::key::PrivateKey;
use callgate_package::{Policies, admit};
use callgate_sandbox::descriptor::{Descriptor, Edge, Route};
use callgate_sandbox::limits::Limits;

use crate::package::{COMPONENT, MANIFEST, Place, and, refused, rules, signer, unsigned, with};

/// The manifest with a route of MEMBERSHIP besides.
fn of_two() -> String {
    and("[[routes]]\nbusiness = \"MEMBERSHIP\"\nscene = \"*\"\nevent_type = \"*\"\nstate = \"\"")
}

#[test]
fn a_signed_package_within_the_policy_is_let_in() {
    let admitted = Place::new().verdict(MANIFEST).unwrap();
    assert_eq!(admitted.signed_by, [signer("PRODUCT_ORDER", "main")]);
    assert!(admitted.unsigned.is_empty());
    assert_eq!(admitted.manifest.name, "mall/order-payment");
    assert_eq!(admitted.limits, Limits { fuel: 30_000_000, action_ms: 1000, ..Limits::default() });
    assert!(admitted.grants.write.contains("ledger") && admitted.grants.read.is_empty());
    assert!(admitted.grants.businesses.unwrap().contains("PRODUCT_ORDER"));
}

#[test]
fn a_component_that_differs_by_one_bit_is_refused() {
    let place = Place::new();
    let file = place.signed(MANIFEST).to_bytes();
    for bit in 0..8 {
        let mut component = COMPONENT.to_vec();
        component[3] ^= 1 << bit;
        let verdict = admit(&file, &component, &place.policies());
        refused(verdict, "package.hash", &["line 2", "sha256", "another build"]);
    }
}

#[test]
fn a_manifest_that_was_changed_after_it_was_signed_is_refused() {
    let place = Place::new();
    let file = String::from_utf8(place.signed(MANIFEST).to_bytes()).unwrap();
    for (from, to) in [("30000000", "30000001"), ("ledger", "legder"), ("\n\n", "\n\n\n")] {
        let changed = file.replacen(from, to, 1);
        let words = ["PRODUCT_ORDER/main", "sign it again"];
        refused(place.admit(changed.as_bytes()), "package.signature", &words);
    }
}

#[test]
fn a_signature_of_another_private_key_is_refused() {
    let place = Place::new();
    let mut forged = unsigned(MANIFEST);
    let key = PrivateKey::generate().unwrap();
    forged.sign(signer("PRODUCT_ORDER", "main"), &key).unwrap();
    refused(place.admit(&forged.to_bytes()), "package.signature", &["PRODUCT_ORDER/main"]);
}

#[test]
fn a_key_that_the_host_does_not_have_is_no_signature() {
    let place = Place::new();
    let mut strange = unsigned(MANIFEST);
    strange.sign(signer("PRODUCT_ORDER", "old"), &place.product).unwrap();
    let words = ["PRODUCT_ORDER/old", "has main", "platform team"];
    refused(place.admit(&strange.to_bytes()), "package.key-unknown", &words);
    // Beside one that it has it does no harm: this is how keys are changed.
    strange.sign(signer("PRODUCT_ORDER", "main"), &place.product).unwrap();
    assert_eq!(place.admit(&strange.to_bytes()).unwrap().signed_by.len(), 1);
}

#[test]
fn one_wrong_signature_among_right_ones_is_refused() {
    let place = Place::new();
    let mut signed = place.signed(MANIFEST);
    signed.sign(signer("MEMBERSHIP", "main"), &place.product).unwrap();
    refused(place.admit(&signed.to_bytes()), "package.signature", &["MEMBERSHIP/main"]);
}

#[test]
fn the_key_of_another_business_opens_nothing() {
    let place = Place::new();
    let mut signed = unsigned(MANIFEST);
    signed.sign(signer("MEMBERSHIP", "main"), &place.member).unwrap();
    let words = ["routes of business PRODUCT_ORDER", "MEMBERSHIP/main"];
    refused(place.admit(&signed.to_bytes()), "package.other-business", &words);
}

#[test]
fn a_plugin_of_two_businesses_needs_a_key_of_each() {
    let place = Place::new();
    let mut signed = place.signed(&of_two());
    let words = ["routes of business MEMBERSHIP", "PRODUCT_ORDER/main"];
    refused(place.admit(&signed.to_bytes()), "package.other-business", &words);
    signed.sign(signer("MEMBERSHIP", "main"), &place.member).unwrap();
    assert_eq!(place.admit(&signed.to_bytes()).unwrap().signed_by.len(), 2);
}

#[test]
fn what_nobody_signed_is_let_in_only_where_the_business_allows_it() {
    let mut place = Place::new();
    let file = unsigned(MANIFEST).to_bytes();
    refused(place.admit(&file), "package.unsigned", &["allow_unsigned"]);
    place.policy("MEMBERSHIP").allow_unsigned = true;
    refused(place.admit(&file), "package.unsigned", &["business PRODUCT_ORDER"]);
    place.policy("PRODUCT_ORDER").allow_unsigned = true;
    let admitted = place.admit(&file).unwrap();
    assert_eq!(admitted.unsigned, ["PRODUCT_ORDER"]);
    assert!(admitted.signed_by.is_empty());
}

#[test]
fn one_business_that_allows_the_unsigned_does_not_speak_for_the_other() {
    let mut place = Place::new();
    place.policy("PRODUCT_ORDER").allow_unsigned = true;
    let file = unsigned(&of_two()).to_bytes();
    refused(place.admit(&file), "package.unsigned", &["business MEMBERSHIP"]);
    let mut signed = unsigned(&of_two());
    signed.sign(signer("MEMBERSHIP", "main"), &place.member).unwrap();
    assert_eq!(place.admit(&signed.to_bytes()).unwrap().unsigned, ["PRODUCT_ORDER"]);
}

#[test]
fn nothing_is_read_before_a_signature_holds() {
    let place = Place::new();
    let rubbish = unsigned("this is no TOML at all");
    refused(place.admit(&rubbish.to_bytes()), "package.unsigned", &[]);
    let mut strange = rubbish;
    strange.sign(signer("PRODUCT_ORDER", "old"), &place.product).unwrap();
    refused(place.admit(&strange.to_bytes()), "package.key-unknown", &[]);
    strange.sign(signer("PRODUCT_ORDER", "main"), &place.product).unwrap();
    refused(place.admit(&strange.to_bytes()), "package.syntax", &["line 3"]);
}

#[test]
fn what_is_unsigned_is_held_to_the_policy_too() {
    let mut place = Place::new();
    place.policy("PRODUCT_ORDER").allow_unsigned = true;
    let file = unsigned(&with("\"ledger\"", "\"salaries\"")).to_bytes();
    refused(place.admit(&file), "package.grant", &["salaries"]);
}

#[test]
fn a_business_that_the_host_does_not_have_is_named() {
    let place = Place::new();
    let verdict = place.verdict(&with("\"PRODUCT_ORDER\"", "\"PRODUCT_ODRER\""));
    refused(verdict, "package.business", &["line 7", "PRODUCT_ODRER", "[businesses."]);
    let nobody = admit(&place.signed(MANIFEST).to_bytes(), COMPONENT, &Policies::default());
    refused(nobody, "package.key-unknown", &["it has none for business PRODUCT_ORDER"]);
}

#[test]
fn a_grant_beyond_the_policy_is_refused_with_its_line() {
    let place = Place::new();
    for (from, to, words) in [
        ("[\"ledger\"]", "[\"salaries\"]", ["line 14", "grants.write `salaries`", "allows ledger"]),
        ("[\"order.paid\"]", "[\"ordinary\"]", ["line 15", "topics `ordinary`", "order.*"]),
        (
            "[grants]",
            "[grants]\nread = [\"salaries\"]",
            ["line 14", "`salaries`", "catalogue, ledger"],
        ),
        ("[grants]", "[grants]\nendpoints = [\"bank\"]", ["line 14", "bank", "allows erp"]),
        ("[grants]", "[grants]\nblind_writes = true", ["line 14", "blind_writes", "PRODUCT_ORDER"]),
    ] {
        refused(place.verdict(&with(from, to)), "package.grant", &words);
    }
    let all = "[grants]\nread = [\"catalogue\", \"ledger\"]\nendpoints = [\"erp\"]";
    assert!(place.verdict(&with("[grants]", all)).is_ok());
}

#[test]
fn blind_writes_are_granted_where_the_policy_allows_them() {
    let mut place = Place::new();
    place.policy("PRODUCT_ORDER").rules.blind_writes = true;
    let manifest = with("[grants]", "[grants]\nblind_writes = true");
    assert!(place.verdict(&manifest).unwrap().grants.blind_writes);
}

#[test]
fn a_limit_above_the_policy_is_refused_with_both_numbers() {
    let place = Place::new();
    let words = [
        "line 18",
        "asks for fuel 30000001, policy of PRODUCT_ORDER allows 30000000",
        "lower it or ask the platform team",
    ];
    refused(place.verdict(&with("30000000", "30000001")), "package.limit", &words);
    let lower = place.verdict(&with("30000000", "7")).unwrap();
    assert_eq!(lower.limits.fuel, 7);
    // Not named by the policy: the default is the maximum.
    refused(place.verdict(&and("save_ms = 101")), "package.limit", &["save_ms 101", "allows 100"]);
    assert_eq!(place.verdict(&and("save_ms = 99")).unwrap().limits.save_ms, 99);
}

#[test]
fn every_business_of_a_plugin_must_allow_what_it_asks_for() {
    let mut place = Place::new();
    place.policy("MEMBERSHIP").rules = rules("write = [\"ledger\"]\ntopics = [\"*\"]");
    let mut signed = place.signed(&of_two());
    signed.sign(signer("MEMBERSHIP", "main"), &place.member).unwrap();
    let words = ["policy of MEMBERSHIP allows 20000000"];
    refused(place.admit(&signed.to_bytes()), "package.limit", &words);
    place.policy("MEMBERSHIP").rules = rules("limits = { fuel = 30000000 }");
    refused(place.admit(&signed.to_bytes()), "package.grant", &["MEMBERSHIP allows none"]);
}

#[test]
fn a_contract_that_the_host_does_not_serve_is_refused() {
    let place = Place::new();
    for (contract, words) in [
        ("0.1.99", ["line 5", "0.1.99", "host is older"]),
        ("0.2.0", ["line 5", "0.2.0", "host is older"]),
        ("1.0.0", ["line 5", "1.0.0", "host is older"]),
        ("0.0.9", ["line 5", "0.0.9", "build the plugin"]),
        ("0.1.0-rc.1", ["line 5", "0.1.0-rc.1", "build the plugin"]),
    ] {
        let manifest = with("contract = \"0.1.0\"", &format!("contract = \"{contract}\""));
        refused(place.verdict(&manifest), "package.contract", &words);
    }
}

#[test]
fn the_contract_that_is_served_is_the_one_of_the_interface() {
    let wit = include_str!("../../../../wit/callgate.wit");
    let line = format!("package callgate:processor@{CONTRACT};");
    assert!(wit.lines().any(|found| found == line), "the interface has no line `{line}`");
}

#[test]
fn a_component_may_claim_no_more_than_its_manifest() {
    let edges = "[[transitions]]\nfrom = \"TO_BE_PAID\"\nto = \"PAID\"";
    let admitted = Place::new().verdict(&and(edges)).unwrap();
    let route = admitted.manifest.routes[0].clone();
    let edge = |from: &str, to: &str| Edge { from: from.to_owned(), to: to.to_owned() };
    let honest = Descriptor {
        name: "mall/order-payment".to_owned(),
        version: semver::Version::new(1, 3, 0),
        routes: vec![route.clone()],
        transitions: vec![edge("TO_BE_PAID", "PAID")],
        after: false,
    };
    assert!(admitted.check_descriptor(&honest).is_ok());
    let refuse = |descriptor: Descriptor, words: &[&str]| {
        refused(admitted.check_descriptor(&descriptor), "package.descriptor", words);
    };
    refuse(Descriptor { name: "mall/other".to_owned(), ..honest.clone() }, &["mall/other"]);
    let version = semver::Version::new(1, 3, 1);
    refuse(Descriptor { version, ..honest.clone() }, &["1.3.1", "1.3.0"]);
    let narrower = Route { event_type: "payment.succeeded".to_owned(), ..route.clone() };
    let narrow = Descriptor { routes: vec![narrower], ..honest.clone() };
    assert!(admitted.check_descriptor(&narrow).is_ok());
    let without_subject = Route { state: String::new(), ..route.clone() };
    refuse(Descriptor { routes: vec![without_subject], ..honest.clone() }, &["no subject"]);
    let shorter = Route { event_type: "pay*".to_owned(), ..route.clone() };
    refuse(Descriptor { routes: vec![shorter], ..honest.clone() }, &["`pay*`"]);
    let wider = Route { state: "*".to_owned(), ..route.clone() };
    refuse(
        Descriptor { routes: vec![route, wider], ..honest.clone() },
        &["state `*`", "[[routes]]"],
    );
    let transitions = vec![edge("PAID", "TO_BE_PAID")];
    refuse(Descriptor { transitions, ..honest }, &["from PAID to TO_BE_PAID"]);
}
