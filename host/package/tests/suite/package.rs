//! Two businesses with keys and policies, and a package to present to their host.

use std::collections::BTreeMap;

use callgate_package::admit::sha256_text;
use callgate_package::draft::manifest_for;
use callgate_package::key::PrivateKey;
use callgate_package::policy::Rules;
use callgate_package::{Admitted, Policies, Policy, Refused, SignedManifest, Signer, admit};

/// What stands in for a component: the verdict looks at its hash alone.
pub(crate) const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// A manifest of PRODUCT_ORDER without its hash.
pub(crate) const MANIFEST: &str = r#"name = "mall/order-payment"
version = "1.3.0"
contract = "0.1.0"

[[routes]]
business = "PRODUCT_ORDER"
scene = "*"
event_type = "payment.*"
state = "TO_BE_PAID"

[grants]
write = ["ledger"]
topics = ["order.paid"]

[limits]
fuel = 30000000
"#;

/// The rules of PRODUCT_ORDER; MEMBERSHIP has the same.
const RULES: &str = r#"
read = ["catalogue"]
write = ["ledger"]
topics = ["order.*"]
endpoints = ["erp"]
limits = { fuel = 30000000, action_ms = 1000 }
"#;

/// A host and those who sign for it.
pub(crate) struct Place {
    pub(crate) product: PrivateKey,
    pub(crate) member: PrivateKey,
    pub(crate) policies: BTreeMap<String, Policy>,
}

impl Place {
    pub(crate) fn new() -> Self {
        let (product, member) = (private_key(), private_key());
        let policy = |key: &PrivateKey| Policy {
            keys: BTreeMap::from([("main".to_owned(), key.public_key().expect("a public key"))]),
            allow_unsigned: false,
            rules: rules(RULES),
        };
        let policies = [("PRODUCT_ORDER", policy(&product)), ("MEMBERSHIP", policy(&member))];
        let policies = policies.map(|(name, policy)| (name.to_owned(), policy));
        Self { product, member, policies: BTreeMap::from(policies) }
    }

    pub(crate) fn policy(&mut self, business: &str) -> &mut Policy {
        self.policies.get_mut(business).expect("a business of the host")
    }

    pub(crate) fn policies(&self) -> Policies {
        Policies::new(self.policies.clone())
    }

    /// Signed by PRODUCT_ORDER.
    pub(crate) fn signed(&self, manifest: &str) -> SignedManifest {
        let mut signed = unsigned(manifest);
        signed.sign(signer("PRODUCT_ORDER", "main"), &self.product).expect("a signature");
        signed
    }

    pub(crate) fn admit(&self, file: &[u8]) -> Result<Admitted, Refused> {
        admit(file, COMPONENT, &self.policies())
    }

    /// The verdict on a manifest that PRODUCT_ORDER has signed.
    pub(crate) fn verdict(&self, manifest: &str) -> Result<Admitted, Refused> {
        self.admit(&self.signed(manifest).to_bytes())
    }
}

fn private_key() -> PrivateKey {
    PrivateKey::generate().expect("a key")
}

pub(crate) fn rules(text: &str) -> Rules {
    toml::from_str(text).expect("rules")
}

pub(crate) fn signer(business: &str, key: &str) -> Signer {
    Signer::new(business, key).expect("a signer")
}

/// A manifest with its hash and without a signature, right or wrong.
pub(crate) fn unsigned(manifest: &str) -> SignedManifest {
    manifest_for(manifest.as_bytes(), COMPONENT).unwrap_or_else(|_| {
        let sha256 = sha256_text(COMPONENT);
        let first = callgate_package::signed::FIRST_LINE;
        SignedManifest::parse(format!("{first}sha256 = \"{sha256}\"\n{manifest}\n").as_bytes())
            .expect("a file")
    })
}

/// The manifest with one more table, list or key at its end.
pub(crate) fn and(more: &str) -> String {
    format!("{MANIFEST}{more}\n")
}

/// The manifest with a text in another one's place.
pub(crate) fn with(from: &str, to: &str) -> String {
    assert!(MANIFEST.contains(from), "the manifest has no `{from}`");
    MANIFEST.replacen(from, to, 1)
}

/// That something is refused with a code, in words that hold these.
#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(verdict: Result<T, Refused>, code: &str, words: &[&str]) {
    let error = verdict.expect_err("it was let in");
    let text = error.to_string();
    assert_eq!(error.code(), code, "{text}");
    for word in words {
        assert!(text.contains(word), "expected `{word}` in: {text}");
    }
}
