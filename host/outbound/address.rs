//! Which addresses belong to the public internet, and which to our own house.
//!
//! Sources: the IANA special-purpose address registries for IPv4 and IPv6, read 2026-11-20. An
//! address is public only where nothing speaks against it; IPv6 addresses that carry an IPv4
//! address are judged by that one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an outgoing call may reach private addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Only the public internet.
    Public,
    /// Anything, loopback too: allowed by name.
    Anywhere,
}

impl Reach {
    /// Whether an address may be connected to.
    #[must_use]
    pub fn admits(self, address: IpAddr) -> bool {
        match self {
            Self::Anywhere => true,
            Self::Public => is_public(address),
        }
    }
}

/// Whether an address is one of the public internet.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = match (a, b, c) {
        // this network, private, loopback
        (0 | 10 | 127, _, _) => true,
        // shared by carriers, 100.64.0.0/10
        (100, 64..=127, _) => true,
        // link-local, where clouds keep their metadata
        (169, 254, _) => true,
        // private, 172.16.0.0/12 and 192.168.0.0/16
        (172, 16..=31, _) | (192, 168, _) => true,
        // protocol assignments, documentation, 6to4 relays
        (192, 0, 0 | 2) | (192, 88, 99) => true,
        // benchmarks, 198.18.0.0/15; documentation
        (198, 18 | 19, _) | (198, 51, 100) | (203, 0, 113) => true,
        // multicast, reserved, broadcast
        (224..=255, _, _) => true,
        (_, _, _) => false,
    };
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(inner) = address.to_ipv4_mapped() {
        return is_public_v4(inner);
    }
    let [a, b, c, d, e, f, g, h] = address.segments();
    match (a, b) {
        // NAT64, 64:ff9b::/96: the last 32 bits are where it really goes.
        (0x64, 0xff9b) if [c, d, e, f] == [0; 4] => is_public_v4(embedded(g, h)),
        // 6to4, 2002::/16: the 32 bits after the prefix are.
        (0x2002, high) => is_public_v4(embedded(high, c)),
        // protocol assignments with Teredo, 2001::/23; documentation, 2001:db8::/32
        (0x2001, 0..=0x1ff | 0xdb8) => false,
        // documentation, 3fff::/20
        (0x3fff, 0..=0xfff) => false,
        // Only 2000::/3 is given out: loopback, unspecified, unique local (fc00::/7), link-local
        // (fe80::/10) and multicast (ff00::/8) are outside.
        (0x2000..=0x3fff, _) => true,
        (_, _) => false,
    }
}

fn embedded(high: u16, low: u16) -> Ipv4Addr {
    let [a, b] = high.to_be_bytes();
    let [c, d] = low.to_be_bytes();
    Ipv4Addr::new(a, b, c, d)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::is_public;

    fn check(addresses: &[&str], expected: bool) {
        for text in addresses {
            let address: IpAddr = text.parse().expect("an address");
            assert_eq!(is_public(address), expected, "{text}");
        }
    }

    #[test]
    fn addresses_of_the_house_are_not_public() {
        check(
            &[
                "0.0.0.0",
                "10.1.2.3",
                "100.64.0.1",
                "100.127.255.255",
                "127.0.0.1",
                "127.255.0.1",
                "169.254.169.254",
                "172.16.0.1",
                "172.31.255.255",
                "192.0.0.8",
                "192.0.2.1",
                "192.168.1.1",
                "198.18.0.1",
                "198.51.100.7",
                "203.0.113.9",
                "224.0.0.1",
                "240.0.0.1",
                "255.255.255.255",
                "::",
                "::1",
                "::ffff:127.0.0.1",
                "::ffff:10.0.0.1",
                "::127.0.0.1",
                "64:ff9b::a00:1",
                "64:ff9b:1::1",
                "2002:7f00:1::",
                "2001::1",
                "2001:db8::1",
                "3fff::1",
                "fc00::1",
                "fd12:3456::1",
                "fe80::1",
                "fec0::1",
                "ff02::1",
            ],
            false,
        );
    }

    #[test]
    fn addresses_of_the_internet_are_public() {
        check(
            &[
                "1.1.1.1",
                "9.9.9.9",
                "100.63.255.255",
                "100.128.0.1",
                "172.15.255.255",
                "172.32.0.1",
                "192.0.3.1",
                "198.20.0.1",
                "223.255.255.254",
                "::ffff:8.8.8.8",
                "64:ff9b::808:808",
                "2002:808:808::1",
                "2606:4700:4700::1111",
                "2a00:1450:4001:81b::200e",
            ],
            true,
        );
    }
}
