//! Self-signed certificates in the gateways' layout.

use std::str::FromStr as _;
use std::time::Duration;

use callgate_core::time::Timestamp;
use x509_cert::builder::profile::BuilderProfile;
use x509_cert::builder::{self, Builder as _, CertificateBuilder};
use x509_cert::certificate::TbsCertificate;
use x509_cert::der::asn1::{Any, BitString};
use x509_cert::der::pem::LineEnding;
use x509_cert::der::{Document, EncodePem as _};
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, KeyUsages};
use x509_cert::ext::{Extension, ToExtension as _};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{
    self, AlgorithmIdentifierOwned, DynSignatureAlgorithmIdentifier, EncodePublicKey,
    ObjectIdentifier, SubjectPublicKeyInfoOwned, SubjectPublicKeyInfoRef,
};
use x509_cert::time::{Time, Validity};

use crate::rsa::{BadKey, RsaKey};

/// What stands in a certificate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms<'a> {
    /// Subject and issuer, such as `CN=Tenpay.com sign,O=Tenpay.com`.
    pub(crate) name: &'a str,
    /// The serial number: at most 20 bytes, the first neither 0 nor above 127.
    pub(crate) serial: &'a [u8],
    /// A moment of its validity: it starts a day earlier and lasts five years.
    pub(crate) made_at: Timestamp,
}

/// Makes a certificate for a key, signed by itself, as PEM.
pub(crate) fn self_signed_pem(key: &RsaKey, terms: Terms<'_>) -> Result<String, BadKey> {
    let identity = Identity { key, public_der: key.to_public_der()? };
    let signed = identity.certificate(terms).map_err(|_| BadKey::NotMade)?;
    signed.to_pem(LineEnding::LF).map_err(|_| BadKey::NotMade)
}

struct Identity<'a> {
    key: &'a RsaKey,
    public_der: Vec<u8>,
}

impl Identity<'_> {
    fn certificate(&self, terms: Terms<'_>) -> builder::Result<x509_cert::Certificate> {
        let profile = Leaf { name: Name::from_str(terms.name)? };
        let serial = SerialNumber::new(terms.serial)?;
        let public = SubjectPublicKeyInfoOwned::try_from(self.public_der.as_slice())?;
        let mut made = CertificateBuilder::new(profile, serial, validity(terms.made_at)?, public)?;
        let unsigned = made.finalize(self)?;
        let signature = self.key.sign(&unsigned).map_err(|_| signature::Error::new())?;
        made.assemble(BitString::from_bytes(&signature)?, self)
    }
}

impl signature::Keypair for Identity<'_> {
    type VerifyingKey = PublicDer;

    fn verifying_key(&self) -> PublicDer {
        PublicDer(self.public_der.clone())
    }
}

impl DynSignatureAlgorithmIdentifier for Identity<'_> {
    fn signature_algorithm_identifier(&self) -> spki::Result<AlgorithmIdentifierOwned> {
        Ok(AlgorithmIdentifierOwned { oid: SHA256_WITH_RSA, parameters: Some(Any::null()) })
    }
}

#[derive(Clone)]
struct PublicDer(Vec<u8>);

impl EncodePublicKey for PublicDer {
    fn to_public_key_der(&self) -> spki::Result<Document> {
        Ok(Document::try_from(self.0.as_slice())?)
    }
}

/// A certificate that signs messages and nothing else.
struct Leaf {
    name: Name,
}

impl BuilderProfile for Leaf {
    fn get_issuer(&self, _subject: &Name) -> Name {
        self.name.clone()
    }

    fn get_subject(&self) -> Name {
        self.name.clone()
    }

    fn build_extensions(
        &self,
        _spk: SubjectPublicKeyInfoRef<'_>,
        _issuer_spk: SubjectPublicKeyInfoRef<'_>,
        tbs: &TbsCertificate,
    ) -> builder::Result<Vec<Extension>> {
        let mut extensions = Vec::new();
        let constraints = BasicConstraints { ca: false, path_len_constraint: None };
        extensions.push(constraints.to_extension(tbs.subject(), &extensions)?);
        let usage = KeyUsage(KeyUsages::DigitalSignature | KeyUsages::NonRepudiation);
        extensions.push(usage.to_extension(tbs.subject(), &extensions)?);
        Ok(extensions)
    }
}

fn validity(made_at: Timestamp) -> builder::Result<Validity> {
    let start = u64::try_from(made_at.as_ms()).unwrap_or(0).saturating_sub(DAY_MS);
    let end = start.saturating_add(VALID_MS);
    Ok(Validity::new(moment(start)?, moment(end)?))
}

fn moment(ms: u64) -> builder::Result<Time> {
    let whole = Duration::from_secs(Duration::from_millis(ms).as_secs());
    Ok(Time::from(x509_cert::der::DateTime::from_unix_duration(whole)?))
}

const SHA256_WITH_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");

const DAY_MS: u64 = 24 * 3600 * 1000;

/// Platform certificates are valid for five years.
const VALID_MS: u64 = 5 * 365 * DAY_MS;

#[cfg(test)]
mod tests {
    use callgate_core::time::Timestamp;
    use rsa::pkcs8::DecodePublicKey as _;
    use x509_cert::Certificate;
    use x509_cert::der::{DecodePem as _, Encode as _};

    use super::{RsaKey, Terms, self_signed_pem};

    const TERMS: Terms<'_> = Terms {
        name: "CN=Tenpay.com sign,OU=Tenpay.com CA Center,O=Tenpay.com,C=CN",
        serial: &[0x4a, 0x3c, 0x0f, 0x5e],
        made_at: Timestamp::from_seconds(1_795_226_406),
    };

    #[test]
    fn a_certificate_carries_its_terms_and_its_own_signature() {
        let key = RsaKey::generate().unwrap();
        let pem = self_signed_pem(&key, TERMS).unwrap();
        let read = Certificate::from_pem(&pem).unwrap();
        let tbs = read.tbs_certificate();
        assert_eq!(tbs.serial_number().as_bytes(), TERMS.serial);
        assert_eq!(tbs.subject().to_string(), TERMS.name);
        assert_eq!(tbs.issuer(), tbs.subject());
        let public = key.to_public_der().unwrap();
        assert_eq!(tbs.subject_public_key_info().to_der().unwrap(), public);

        let public = rsa::RsaPublicKey::from_public_key_der(&public).unwrap();
        let scheme = rsa::Pkcs1v15Sign::new::<sha2::Sha256>();
        let signed = <sha2::Sha256 as sha2::Digest>::digest(tbs.to_der().unwrap());
        let signature = read.signature().as_bytes().unwrap();
        assert_eq!(public.verify(scheme, &signed, signature), Ok(()));
    }
}
