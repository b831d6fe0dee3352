//! How many lines strangers may have written: so many a second in all, and no network more than its
//! share, so that one that floods does not hide the others.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use callgate_core::time::Timestamp;

/// How many lines may be written a second; the others are counted.
#[derive(Debug)]
pub struct LineBudget {
    per_second: u32,
    per_network: u32,
    state: Mutex<LineState>,
}

#[derive(Debug, Default)]
struct LineState {
    second: i64,
    written: u32,
    /// Lines of this second by network: never more entries than lines.
    by_network: BTreeMap<IpAddr, u32>,
    suppressed: u64,
}

impl LineBudget {
    /// A budget of some lines a second, and of those so many for clients of one network.
    #[must_use]
    pub fn new(per_second: u32, per_network: u32) -> Self {
        Self { per_second, per_network, state: Mutex::default() }
    }

    /// Takes one line: the number of lines suppressed since the last one written, or `None`
    /// where this second's lines are used up.
    #[must_use]
    pub fn take(&self, client: IpAddr, now: Timestamp) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let second = now.as_ms().div_euclid(1000);
        if second != state.second {
            state.second = second;
            state.written = 0;
            state.by_network.clear();
        }
        let network = network_of(client);
        let of_network = state.by_network.get(&network).copied().unwrap_or(0);
        if state.written >= self.per_second || of_network >= self.per_network {
            state.suppressed = state.suppressed.saturating_add(1);
            return None;
        }
        state.written = state.written.saturating_add(1);
        state.by_network.insert(network, of_network.saturating_add(1));
        Some(std::mem::take(&mut state.suppressed))
    }
}

/// The /24 or /64 of an address: who has one address of it has all of them.
fn network_of(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            IpAddr::V4(Ipv4Addr::new(a, b, c, 0))
        }
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use callgate_core::time::Timestamp;

    use super::{LineBudget, network_of};

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn lines_over_the_budget_are_counted_and_told_with_the_next_one() {
        let (budget, client) = (LineBudget::new(2, 9), address("192.0.2.1"));
        let take = |second| budget.take(client, Timestamp::from_seconds(second));
        assert_eq!([1; 4].map(take), [Some(0), Some(0), None, None]);
        assert_eq!([2; 2].map(take), [Some(2), Some(0)]);
    }

    #[test]
    fn one_network_does_not_take_the_lines_of_the_others() {
        let budget = LineBudget::new(5, 2);
        let take = |client: &str| budget.take(address(client), Timestamp::from_seconds(1));
        for client in ["192.0.2.1", "192.0.2.2", "192.0.2.3", "::ffff:192.0.2.4"] {
            let _ = take(client);
        }
        assert_eq!(take("198.51.100.1"), Some(2), "what its neighbour wrote too much is told");
        assert_eq!(take("2001:db8::1"), Some(0));
        assert_eq!(take("2001:db8:0:1::1"), Some(0), "another /64");
        assert_eq!(take("203.0.113.1"), None, "five lines in all");
        let table = budget.state.lock().expect("a state").by_network.len();
        assert!(table <= 5, "{table}");
    }

    #[test]
    fn an_address_belongs_to_its_network() {
        for (client, network) in [
            ("192.0.2.255", "192.0.2.0"),
            ("::ffff:192.0.2.7", "192.0.2.0"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ] {
            assert_eq!(network_of(address(client)), address(network), "{client}");
        }
    }
}
