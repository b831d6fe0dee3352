//! Keys in files, as other tools write them, too.

use callgate_package::key::{PrivateKey, PublicKey};

use crate::package::refused;

/// RFC 8410, section 10.3: a private key as an example, and the public key beside it.
const RFC_PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
    -----END PRIVATE KEY-----\n";
const RFC_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\n\
    MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
    -----END PUBLIC KEY-----\n";

#[test]
fn keys_of_the_standard_are_read() {
    let private = PrivateKey::from_pem(RFC_PRIVATE).unwrap();
    assert_eq!(private.public_key().unwrap(), PublicKey::from_pem(RFC_PUBLIC).unwrap());
    assert_eq!(private.to_pem().unwrap().as_str(), RFC_PRIVATE);
    assert_eq!(PublicKey::from_pem(RFC_PUBLIC.trim_end()).unwrap().to_pem().unwrap(), RFC_PUBLIC);
}

#[test]
fn a_key_signs_what_its_public_key_verifies() {
    let private = PrivateKey::generate().unwrap();
    let again = PrivateKey::from_pem(&private.to_pem().unwrap()).unwrap();
    let signature = again.sign(b"message").unwrap();
    let public = private.public_key().unwrap();
    assert!(public.verifies(b"message", &signature));
    assert!(!public.verifies(b"massage", &signature));
    let mut changed = signature;
    changed[40] ^= 1;
    assert!(!public.verifies(b"message", &changed));
}

#[test]
fn a_file_that_holds_no_such_key_is_refused_without_showing_it() {
    for text in ["", "hello", RFC_PRIVATE, &RFC_PUBLIC.replace("MCow", "MCox")] {
        refused(PublicKey::from_pem(text), "package.key", &["no Ed25519 public key"]);
    }
    for text in ["", "hello", RFC_PUBLIC, &RFC_PRIVATE.replace("INTuctv5", "INTu")] {
        refused(PrivateKey::from_pem(text), "package.key", &["no Ed25519 private key"]);
    }
    let long = RFC_PUBLIC.repeat(40);
    refused(PublicKey::from_pem(&long), "package.key", &[]);
}

#[test]
fn a_private_key_does_not_show_itself() {
    let private = PrivateKey::from_pem(RFC_PRIVATE).unwrap();
    assert_eq!(format!("{private:?}"), "PrivateKey");
}
