//! The verdict: whether a package is let in, and what it may do then.

use std::collections::BTreeMap;

use callgate_sandbox::descriptor::Descriptor;
use callgate_sandbox::grants::Grants;
use callgate_sandbox::limits::Limits;
use sha2::{Digest, Sha256};

use crate::manifest::Manifest;
use crate::policy::{Pattern, Policies, Policy};
use crate::read::{limit_values, limits_of};
use crate::refused::Refused;
use crate::signed::{SignedManifest, Signer};

/// The version of the contract that this host serves, with all of its range before it.
pub const CONTRACT: semver::Version = semver::Version::new(0, 1, 0);

/// A package that is let in.
#[derive(Debug, Clone, PartialEq)]
pub struct Admitted {
    /// What it says.
    pub manifest: Manifest,
    /// The signatures that hold.
    pub signed_by: Vec<Signer>,
    /// The businesses of its routes that take it without a signature of theirs. Where there is
    /// one, the log says so.
    pub unsigned: Vec<String>,
    /// What it may use up: the defaults, where the manifest asks for no other, and never more than
    /// the policies of its businesses allow.
    pub limits: Limits,
    /// What it may touch, and the businesses that it may claim routes of.
    pub grants: Grants,
}

impl Admitted {
    /// Whether the component keeps to its manifest; see [`Manifest::check_descriptor`].
    ///
    /// # Errors
    /// [`Refused::Descriptor`] with what it claims beyond the manifest.
    pub fn check_descriptor(&self, descriptor: &Descriptor) -> Result<(), Refused> {
        self.manifest.check_descriptor(descriptor)
    }
}

/// Decides about a package.
///
/// The signatures are checked before anything of the manifest is read. Every business of its
/// routes must be one of the host's, must have signed or take what is unsigned, and its policy
/// must allow all that the manifest asks for.
///
/// # Errors
/// [`Refused`] says which rule it breaks.
pub fn admit(
    manifest_file: &[u8],
    component: &[u8],
    policies: &Policies,
) -> Result<Admitted, Refused> {
    let signed = SignedManifest::parse(manifest_file)?;
    let signed_by = signed.verify(policies)?;
    if signed_by.is_empty() && !policies.allow_any_unsigned() {
        return Err(nobody_known(&signed, policies));
    }
    let manifest = Manifest::parse(signed.body())?;
    let businesses = businesses(&manifest, policies)?;
    let mut unsigned = Vec::new();
    for (business, policy) in &businesses {
        if signed_by.iter().any(|signer| signer.business == *business) {
            continue;
        }
        if !policy.allow_unsigned {
            return Err(unsigned_for(business, &signed, &signed_by, policies));
        }
        unsigned.push((*business).to_owned());
    }
    manifest.check_hash(component)?;
    check_contract(&manifest)?;
    let mut limits = limit_values(&Limits::default());
    for (business, policy) in &businesses {
        check_grants(&manifest, business, policy)?;
        cap(&mut limits, &manifest, (business, policy))?;
    }
    limits.extend(manifest.limits.iter().map(|(name, asked)| (name.clone(), *asked)));
    let limits = limits_of(&limits)?;
    Ok(Admitted { signed_by, unsigned, limits, grants: manifest.grants.clone(), manifest })
}

/// The policies of the businesses of its routes.
fn businesses<'a>(
    manifest: &'a Manifest,
    policies: &'a Policies,
) -> Result<Vec<(&'a str, &'a Policy)>, Refused> {
    let policy = |business: &'a str| match policies.get(business) {
        Some(policy) => Ok((business, policy)),
        None => Err(Refused::Business {
            line: manifest.lines.of(&format!("business.{business}")),
            business: business.to_owned(),
        }),
    };
    manifest.businesses().into_iter().map(policy).collect()
}

/// No signature holds, and nothing is read of a manifest that nobody known has signed.
fn nobody_known(signed: &SignedManifest, policies: &Policies) -> Refused {
    let signers: Vec<&Signer> = signed.claimed_signers().collect();
    let Some(first) = signers.first() else {
        return Refused::Unsigned { business: "any business of this host".to_owned() };
    };
    Refused::KeyUnknown { found: list(&signers), known: known(&first.business, policies) }
}

/// A business has not signed, and takes nothing unsigned.
fn unsigned_for(
    business: &str,
    signed: &SignedManifest,
    signed_by: &[Signer],
    policies: &Policies,
) -> Refused {
    let its: Vec<&Signer> =
        signed.claimed_signers().filter(|signer| signer.business == business).collect();
    if !its.is_empty() {
        return Refused::KeyUnknown { found: list(&its), known: known(business, policies) };
    }
    if signed_by.is_empty() {
        return Refused::Unsigned { business: format!("business {business}") };
    }
    let signed_by: Vec<&Signer> = signed_by.iter().collect();
    Refused::OtherBusiness { business: business.to_owned(), signed_by: list(&signed_by) }
}

fn known(business: &str, policies: &Policies) -> String {
    let keys = policies.get(business).map(|policy| &policy.keys);
    let names: Vec<&str> = keys.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    if names.is_empty() {
        format!("it has none for business {business}")
    } else {
        format!("for business {business} it has {}", names.join(", "))
    }
}

fn list(signers: &[&Signer]) -> String {
    let names: Vec<String> = signers.iter().map(ToString::to_string).collect();
    names.join(", ")
}

/// SHA-256 in lower-case hexadecimal, as manifests have it.
#[must_use]
pub fn sha256_text(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Within a range the contract only adds, so a host serves every version of its range up to its
/// own; before 1.0 the range is the minor version.
fn check_contract(manifest: &Manifest) -> Result<(), Refused> {
    let found = &manifest.contract;
    let same_range = found.major == CONTRACT.major
        && (found.major > 0 || found.minor == CONTRACT.minor)
        && found.pre.is_empty();
    let advice = if same_range && *found <= CONTRACT {
        return Ok(());
    } else if *found > CONTRACT {
        "the host is older than the plugin; ask the platform team for a newer host, or build \
         against an older contract"
    } else {
        "build the plugin against the contract that this host serves"
    };
    let start = semver::Version { patch: 0, ..CONTRACT };
    Err(Refused::Contract {
        line: manifest.lines.of("contract"),
        found: found.to_string(),
        serves: if start == CONTRACT {
            CONTRACT.to_string()
        } else {
            format!("{start} to {CONTRACT}")
        },
        advice,
    })
}

fn check_grants(manifest: &Manifest, business: &str, policy: &Policy) -> Result<(), Refused> {
    let (asked, rules) = (&manifest.grants, &policy.rules);
    let refuse = |field: String, grant: String, allowed: String| {
        let line = manifest.lines.of(&field);
        Err(Refused::Grant { line, grant, business: business.to_owned(), allowed })
    };
    for (kind, asked, allowed) in [
        ("read", &asked.read, &[&rules.read[..], &rules.write[..]].concat()),
        ("write", &asked.write, &rules.write),
        ("topics", &asked.topics, &rules.topics),
        ("endpoints", &asked.endpoints, &rules.endpoints),
    ] {
        let not_taken = |name: &&String| !allowed.iter().any(|pattern| pattern.takes(name));
        if let Some(name) = asked.iter().find(not_taken) {
            let field = format!("grants.{kind}");
            return refuse(
                format!("{field}.{name}"),
                format!("{field} `{name}`"),
                patterns(allowed),
            );
        }
    }
    if asked.blind_writes && !rules.blind_writes {
        let field = "grants.blind_writes".to_owned();
        return refuse(field, "grants.blind_writes true".to_owned(), "false".to_owned());
    }
    Ok(())
}

fn patterns(allowed: &[Pattern]) -> String {
    if allowed.is_empty() {
        return "none".to_owned();
    }
    allowed.iter().map(Pattern::as_str).collect::<Vec<_>>().join(", ")
}

/// Lowers the limits to what one policy allows, and refuses what is asked for above it.
fn cap(
    limits: &mut BTreeMap<String, u64>,
    manifest: &Manifest,
    (business, policy): (&str, &Policy),
) -> Result<(), Refused> {
    for (limit, value) in limits {
        let allowed = policy.rules.limits.of(limit).unwrap_or(*value);
        *value = allowed.min(*value);
        if let Some(asked) = manifest.limits.get(limit).copied().filter(|asked| *asked > allowed) {
            return Err(Refused::Limit {
                line: manifest.lines.of(&format!("limits.{limit}")),
                limit: limit.clone(),
                asked,
                business: business.to_owned(),
                allowed,
            });
        }
    }
    Ok(())
}
