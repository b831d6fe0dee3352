//! Networks of addresses, and whom a request comes from: the peer itself, or who a trusted proxy
//! says it is.
//!
//! What is learned here goes into logs and is held against the networks of a channel; it proves
//! nothing else.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, header};
use ipnet::IpNet;
use serde::Deserialize;

/// A list of networks, IPv4 and IPv6.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Reads addresses and networks such as `192.0.2.7`, `10.0.0.0/8` and `2001:db8::/32`.
    ///
    /// # Errors
    /// The first text that is none, and what was expected.
    pub fn parse(texts: &[String]) -> Result<Self, String> {
        if texts.len() > NETWORKS_MAX {
            let found = texts.len();
            return Err(format!("found {found} networks, expected at most {NETWORKS_MAX}"));
        }
        texts.iter().map(|text| network(text)).collect::<Result<_, _>>().map(Self)
    }

    /// Whether an address is in one of them. An IPv4 address in the clothes of IPv6 counts as what
    /// it is.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl TryFrom<Vec<String>> for Networks {
    type Error = String;

    fn try_from(texts: Vec<String>) -> Result<Self, String> {
        Self::parse(&texts)
    }
}

fn network(text: &str) -> Result<IpNet, String> {
    let single = text.parse::<IpAddr>().map(IpNet::from);
    let network = single.or_else(|_| text.parse::<IpNet>()).map_err(|_| {
        format!(
            "found `{text}`, expected an address or a network such as 10.0.0.0/8 or 2001:db8::/32"
        )
    })?;
    if network.addr().to_canonical() != network.addr() {
        return Err(format!("found `{text}`, expected IPv4 addresses to be written as such"));
    }
    if network.trunc() != network {
        let meant = network.trunc();
        return Err(format!("found `{text}`, which has bits after its prefix, expected {meant}"));
    }
    Ok(network)
}

/// Which header a proxy writes the address of its client to. It is one, said by the
/// configuration: another, which the proxy passes on unread, is whatever its client wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedBy {
    /// `X-Forwarded-For: client, proxy`.
    #[default]
    XForwardedFor,
    /// `Forwarded: for=client, for=proxy` (RFC 7239).
    Forwarded,
}

/// Tells who sent a request.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    /// Who is believed.
    pub trusted: Networks,
    /// Where they write it.
    pub header: ForwardedBy,
}

impl Proxies {
    /// The client of a request: the peer, or where the peer is a trusted proxy, the rightmost
    /// address that is not one. Where the chain cannot be read any further, whoever wrote the
    /// unreadable part is as far as it goes.
    #[must_use]
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        if !self.trusted.contains(client) {
            return client;
        }
        for value in headers.get_all(self.name()).iter().rev() {
            let Ok(text) = value.to_str() else { return client };
            for element in text.rsplit(',') {
                let Some(address) = self.address(element) else { return client };
                client = address.to_canonical();
                if !self.trusted.contains(client) {
                    return client;
                }
            }
        }
        client
    }

    fn name(&self) -> HeaderName {
        match self.header {
            ForwardedBy::XForwardedFor => HeaderName::from_static("x-forwarded-for"),
            ForwardedBy::Forwarded => header::FORWARDED,
        }
    }

    fn address(&self, element: &str) -> Option<IpAddr> {
        match self.header {
            ForwardedBy::XForwardedFor => host(element.trim()),
            ForwardedBy::Forwarded => {
                let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
                let (_, node) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
                host(node.trim().trim_matches('"'))
            }
        }
    }
}

/// An address with or without a port: `192.0.2.7`, `192.0.2.7:80`, `2001:db8::7`, `[2001:db8::7]:80`.
fn host(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    if let Some(bracketed) = text.strip_prefix('[') {
        return bracketed.split_once(']')?.0.parse().ok();
    }
    text.rsplit_once(':')?.0.parse().ok()
}

/// A list is looked through for each request.
const NETWORKS_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::{ForwardedBy, Networks, Proxies};

    fn networks(texts: &[&str]) -> Result<Networks, String> {
        Networks::parse(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    /// Who is believed to have sent a request of `peer` with these headers, one value a line.
    fn client(header: ForwardedBy, peer: &str, lines: &[(&str, &str)]) -> String {
        let trusted = networks(&["10.0.0.0/8", "fd00::/8", "192.0.2.1"]).expect("networks");
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name: HeaderName = name.parse().expect("a name");
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
        }
        Proxies { trusted, header }.client(ip(peer), &headers).to_string()
    }

    fn x(peer: &str, lines: &[&str]) -> String {
        let lines: Vec<_> = lines.iter().map(|value| ("x-forwarded-for", *value)).collect();
        client(ForwardedBy::XForwardedFor, peer, &lines)
    }

    fn rfc(peer: &str, lines: &[&str]) -> String {
        let lines: Vec<_> = lines.iter().map(|value| ("forwarded", *value)).collect();
        client(ForwardedBy::Forwarded, peer, &lines)
    }

    #[test]
    fn a_network_holds_its_addresses_and_no_others() {
        let some = networks(&["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"]).expect("networks");
        for inside in ["10.255.0.1", "192.0.2.7", "2001:db8:1::5", "::ffff:10.0.0.1"] {
            assert!(some.contains(ip(inside)), "{inside}");
        }
        for outside in ["11.0.0.1", "192.0.2.8", "2001:db9::1", "::ffff:11.0.0.1", "::10.0.0.1"] {
            assert!(!some.contains(ip(outside)), "{outside}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused_with_what_was_expected() {
        for (text, words) in [
            ("example.com", "10.0.0.0/8"),
            ("10.0.0.0/33", "10.0.0.0/8"),
            ("10.0.0.1/8", "expected 10.0.0.0/8"),
            ("2001:db8::1/32", "expected 2001:db8::/32"),
            ("::ffff:10.0.0.0/104", "written as such"),
        ] {
            let error = networks(&[text]).expect_err("no network");
            assert!(error.contains(text) && error.contains(words), "{error}");
        }
        assert!(Networks::parse(&vec!["10.0.0.1".to_owned(); 1001]).is_err());
        assert!(Networks::parse(&vec!["10.0.0.1".to_owned(); 1000]).is_ok());
    }

    #[test]
    fn who_is_not_trusted_is_not_believed() {
        assert_eq!(x("203.0.113.9", &["198.51.100.1"]), "203.0.113.9");
        assert_eq!(rfc("203.0.113.9", &["for=198.51.100.1"]), "203.0.113.9");
    }

    #[test]
    fn the_rightmost_address_that_is_not_trusted_is_the_client() {
        assert_eq!(x("10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        // What stands to the left was written by the client itself.
        assert_eq!(x("10.0.0.1", &["192.0.2.99, 198.51.100.1"]), "198.51.100.1");
        assert_eq!(x("10.0.0.1", &["192.0.2.99", "198.51.100.1, 10.9.9.9"]), "198.51.100.1");
        assert_eq!(x("::ffff:10.0.0.1", &["2001:db8::5"]), "2001:db8::5");
        assert_eq!(x("fd00::1", &["[2001:db8::5]:443"]), "2001:db8::5");
        assert_eq!(x("10.0.0.1", &["198.51.100.1:4711"]), "198.51.100.1");
        assert_eq!(
            rfc("10.0.0.1", &["for=9.9.9.9;proto=http, For=\"[2001:db8::5]:80\";by=10.0.0.1"]),
            "2001:db8::5"
        );
        assert_eq!(rfc("10.0.0.1", &["for=9.9.9.9;x=\", for=198.51.100.1"]), "198.51.100.1");
    }

    #[test]
    fn an_unreadable_chain_ends_with_whoever_wrote_it() {
        for text in ["", "unknown", "garbage, ", "\u{fc}", "1.2.3.4.5", "[::1", "198.51.100.1,"] {
            assert_eq!(x("10.0.0.1", &[text]), "10.0.0.1", "{text}");
        }
        assert_eq!(x("10.0.0.1", &["garbage, 10.2.2.2"]), "10.2.2.2");
        assert_eq!(x("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(x("10.0.0.1", &["10.3.3.3, 10.2.2.2"]), "10.3.3.3");
        for text in ["for=unknown", "for=_hidden", "by=9.9.9.9", "for"] {
            assert_eq!(rfc("10.0.0.1", &[text]), "10.0.0.1", "{text}");
        }
    }

    #[test]
    fn a_header_that_the_proxy_does_not_write_is_not_believed() {
        let lines = [("forwarded", "for=9.9.9.9"), ("x-forwarded-for", "198.51.100.1")];
        assert_eq!(client(ForwardedBy::XForwardedFor, "10.0.0.1", &lines), "198.51.100.1");
        assert_eq!(client(ForwardedBy::Forwarded, "10.0.0.1", &lines), "9.9.9.9");
    }
}
