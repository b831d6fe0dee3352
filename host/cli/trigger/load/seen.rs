//! What is seen of the server while it works: its metrics, its processor time, its memory.

use std::collections::BTreeMap;
use std::fs;

use super::wire::{Connection, Request};

/// A reading of the server's processes: those that were named and all that they started.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Processes {
    /// Processor time, user and system, in microseconds. Counted by the kernel in hundredths of a
    /// second.
    pub(super) cpu_us: u64,
    /// Resident memory now.
    pub(super) rss_kib: u64,
    /// The most that each of them ever had, added up.
    pub(super) peak_kib: u64,
}

impl Processes {
    /// Reads `/proc`; a process that is gone counts nothing.
    pub(super) fn read(named: &[u32]) -> Self {
        let mut parents = BTreeMap::new();
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        for entry in entries {
            let pid = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
            if let Some(pid) = pid
                && let Some(stat) = Stat::read(pid)
            {
                parents.insert(pid, stat);
            }
        }
        let mut sum = Self::default();
        for (pid, stat) in &parents {
            if descends(*pid, named, &parents) {
                sum.cpu_us = sum.cpu_us.saturating_add(stat.cpu_us);
                sum.rss_kib = sum.rss_kib.saturating_add(memory(*pid, "VmRSS:"));
                sum.peak_kib = sum.peak_kib.saturating_add(memory(*pid, "VmHWM:"));
            }
        }
        sum
    }
}

struct Stat {
    parent: u32,
    cpu_us: u64,
}

impl Stat {
    fn read(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// proc(5): after the name in brackets come state, parent, …; time is in ticks of 10 ms, for
    /// the kernel tells 100 a second to programs on every Linux there is.
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(')')?;
        let mut fields = rest.split_whitespace();
        let parent = fields.nth(1)?.parse().ok()?;
        let user: u64 = fields.nth(9)?.parse().ok()?;
        let system: u64 = fields.next()?.parse().ok()?;
        Some(Self { parent, cpu_us: user.saturating_add(system).saturating_mul(10_000) })
    }
}

fn descends(pid: u32, named: &[u32], parents: &BTreeMap<u32, Stat>) -> bool {
    let mut at = pid;
    // No chain of parents is longer, and none is a ring.
    for _ in 0..64 {
        if named.contains(&at) {
            return true;
        }
        match parents.get(&at) {
            Some(stat) => at = stat.parent,
            None => return false,
        }
    }
    false
}

fn memory(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// The server's histogram of the time from an answer's callback to its effect.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Effects {
    /// How many.
    pub(super) count: u64,
    /// How many took at most so long, by microseconds, in ascending order.
    pub(super) buckets: BTreeMap<u64, u64>,
}

impl Effects {
    /// Asks a server; `None` where it shows no metrics to us.
    pub(super) async fn ask(host: &str, token: &str) -> Option<Self> {
        let request = Request::call(("GET", "/metrics"), host, token, "");
        let reply = Connection::new(host).send(&request).await.ok()?;
        (reply.status == 200).then(|| Self::parse(&String::from_utf8_lossy(&reply.body)))
    }

    /// Adds up all lines of the histogram, whatever their labels.
    fn parse(text: &str) -> Self {
        let mut found = Self::default();
        for line in text.lines() {
            let Some(rest) = line.strip_prefix(NAME) else { continue };
            let value = || line.rsplit(' ').next().and_then(|text| text.parse::<u64>().ok());
            if rest.starts_with("_count") {
                found.count = found.count.saturating_add(value().unwrap_or(0));
            } else if rest.starts_with("_bucket")
                && let Some(bound) = rest.split("le=\"").nth(1).and_then(|le| le.split('"').next())
                && let Some(bound_us) = microseconds(bound)
            {
                let bucket: &mut u64 = found.buckets.entry(bound_us).or_default();
                *bucket = bucket.saturating_add(value().unwrap_or(0));
            }
        }
        found
    }

    /// What was added since an earlier reading.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        let buckets = self.buckets.iter().map(|(bound, count)| {
            let before = earlier.buckets.get(bound).copied().unwrap_or(0);
            (*bound, count.saturating_sub(before))
        });
        Self { count: self.count.saturating_sub(earlier.count), buckets: buckets.collect() }
    }

    /// Another server's, added.
    pub(super) fn and(mut self, other: &Self) -> Self {
        self.count = self.count.saturating_add(other.count);
        for (bound, count) in &other.buckets {
            let bucket = self.buckets.entry(*bound).or_default();
            *bucket = bucket.saturating_add(*count);
        }
        self
    }

    /// The upper bound of the bucket that so many thousandths lie in or below; `None` where they
    /// are above all bounds, or there are none.
    pub(super) fn bound_us(&self, thousandths: u64) -> Option<u64> {
        let wanted = self.count.saturating_mul(thousandths).div_ceil(1000).max(1);
        self.buckets.iter().find(|(_, count)| **count >= wanted).map(|(bound, _)| *bound)
    }
}

/// `0.0025` as 2500; the bucket of everything has no number.
fn microseconds(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let part: u64 = format!("{part:0<6}").get(..6)?.parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(part)
}

const NAME: &str = "callgate_effect_seconds";

#[cfg(test)]
mod tests {
    use super::{Effects, Processes, Stat};

    const TEXT: &str = "# TYPE callgate_effect_seconds histogram\n\
        callgate_effect_seconds_bucket{business=\"A\",le=\"0.0025\"} 1\n\
        callgate_effect_seconds_bucket{business=\"A\",le=\"1\"} 4\n\
        callgate_effect_seconds_bucket{business=\"A\",le=\"+Inf\"} 5\n\
        callgate_effect_seconds_sum{business=\"A\"} 3.5\n\
        callgate_effect_seconds_count{business=\"A\"} 5\n\
        callgate_effect_seconds_bucket{business=\"B\",le=\"0.0025\"} 2\n\
        callgate_effect_seconds_bucket{business=\"B\",le=\"1\"} 5\n\
        callgate_effect_seconds_count{business=\"B\"} 5\n\
        callgate_answer_seconds_count{} 9\n";

    #[test]
    fn a_histogram_is_added_up_over_its_labels() {
        let effects = Effects::parse(TEXT);
        assert_eq!(effects.count, 10);
        let buckets: Vec<_> = effects.buckets.iter().map(|(a, b)| (*a, *b)).collect();
        assert_eq!(buckets, [(2500, 3), (1_000_000, 9)]);
        assert_eq!(effects.bound_us(300), Some(2500));
        assert_eq!(effects.bound_us(301), Some(1_000_000));
        assert_eq!(effects.bound_us(990), None);
        assert_eq!(effects.since(&effects).count, 0);
        assert_eq!(effects.clone().and(&effects).count, 20);
    }

    #[test]
    fn a_process_is_read_whatever_its_name_is() {
        let stat = "7 (a ) b) S 3 7 7 0 -1 4 1 2 3 4 120 30 0 0 20 0 1 0 99 1 2";
        let read = Stat::parse(stat).unwrap();
        assert_eq!((read.parent, read.cpu_us), (3, 1_500_000));
        let own = Processes::read(&[std::process::id()]);
        assert!(own.rss_kib > 0 && own.peak_kib >= own.rss_kib, "{own:?}");
    }
}
