//! What a load came to, in whole numbers.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use callgate_trigger::load::Kind;
use serde_json::json;

use super::fire::{Hit, Wrong};
use super::seen::{Effects, Processes};

/// Everything that was measured.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) seed: u64,
    pub(super) kinds: BTreeMap<Kind, u64>,
    /// From the first moment to the last answer.
    pub(super) took: Duration,
    /// From the first moment to the last effect; `None` where effects were not looked for.
    pub(super) whole: Option<Duration>,
    pub(super) effects: Option<Effects>,
    /// Before the load, after the last answer, after the last effect.
    pub(super) processes: [Processes; 3],
    callbacks: u64,
    /// In ascending order, in microseconds.
    latencies: Vec<u64>,
    /// The same of the time before a callback was sent.
    late: Vec<u64>,
    failed: BTreeMap<String, u64>,
    unexpected: BTreeMap<String, u64>,
}

impl Figures {
    /// Sorts what came back.
    pub(super) fn of(hits: Vec<Hit>) -> Self {
        let mut figures = Self { callbacks: count(hits.len()), ..Self::default() };
        for hit in hits {
            figures.latencies.push(micros(hit.latency));
            figures.late.push(micros(hit.late));
            let (list, words) = match hit.wrong {
                None => continue,
                Some(Wrong::Failed(words)) => (&mut figures.failed, words),
                Some(Wrong::Unexpected(words)) => (&mut figures.unexpected, words),
            };
            let seen = list.entry(words).or_default();
            *seen = seen.saturating_add(1);
        }
        figures.latencies.sort_unstable();
        figures.late.sort_unstable();
        figures
    }

    /// Whether every answer was as expected, and every effect came.
    pub(super) fn is_clean(&self) -> bool {
        self.failed.is_empty() && self.unexpected.is_empty() && self.missing() == 0
    }

    /// Genuine callbacks whose effect did not come in time.
    fn missing(&self) -> u64 {
        let genuine = self.kinds.get(&Kind::Genuine).copied().unwrap_or(0);
        self.effects.as_ref().map_or(0, |effects| genuine.saturating_sub(effects.count))
    }

    fn answers_per_s(&self) -> u64 {
        per_second(self.callbacks, self.took)
    }

    fn whole_per_s(&self) -> Option<u64> {
        self.whole.map(|whole| per_second(self.callbacks, whole))
    }

    /// Processor time for each callback up to the last answer, and up to the last effect.
    fn cpu_ns(&self) -> [u64; 2] {
        let [before, answered, settled] = self.processes;
        [answered, settled].map(|after| {
            let spent = after.cpu_us.saturating_sub(before.cpu_us).saturating_mul(1000);
            spent.checked_div(self.callbacks).unwrap_or(0)
        })
    }

    /// One JSON object.
    pub(super) fn json(&self) -> String {
        let quantiles = |list: &[u64]| {
            let names = ["p50", "p90", "p99", "p999", "max"];
            let values = QUANTILES.map(|thousandths| quantile(list, thousandths));
            names.into_iter().zip(values).collect::<BTreeMap<_, _>>()
        };
        let effect = self.effects.as_ref().map(|effects| {
            let ends = [500, 990, 999].map(|thousandths| effects.bound_us(thousandths));
            json!({ "count": effects.count, "p50": ends[0], "p99": ends[1], "p999": ends[2] })
        });
        let kinds: BTreeMap<_, _> = self.kinds.iter().map(|(a, b)| (a.name(), b)).collect();
        let [cpu_answers, cpu_whole] = self.cpu_ns();
        let [_, _, settled] = self.processes;
        let told = json!({
            "seed": self.seed,
            "callbacks": self.callbacks,
            "kinds": kinds,
            "took_us": micros(self.took),
            "whole_us": self.whole.map(micros),
            "answers_per_s": self.answers_per_s(),
            "whole_per_s": self.whole_per_s(),
            "latency_us": quantiles(&self.latencies),
            "late_us": quantiles(&self.late),
            "effect_us_at_most": effect,
            "missing": self.missing(),
            "failed": self.failed,
            "unexpected": self.unexpected,
            "cpu_ns_to_answers": cpu_answers,
            "cpu_ns_to_effects": cpu_whole,
            "rss_kib": settled.rss_kib,
            "rss_peak_kib": settled.peak_kib,
        });
        format!("{told}\n")
    }

    /// Lines for people.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let kinds: Vec<_> =
            self.kinds.iter().map(|(kind, count)| format!("{count} {}", kind.name())).collect();
        let mut line = |name: &str, value: String| {
            let _ = writeln!(text, "{name:<20}{value}");
        };
        line("callbacks", kinds.join(", "));
        let answers = format!("{}/s, {} in all", self.answers_per_s(), shown(micros(self.took)));
        line("answers", answers);
        if let (Some(rate), Some(whole)) = (self.whole_per_s(), self.whole) {
            line("whole path", format!("{rate}/s, {} in all", shown(micros(whole))));
        }
        line("answer", listed(&self.latencies));
        line("sent late", listed(&self.late));
        match &self.effects {
            Some(effects) => {
                let bound = |thousandths| match effects.bound_us(thousandths) {
                    Some(bound) => format!("at most {}", shown(bound)),
                    None => "above every bucket".to_owned(),
                };
                let (p50, p99) = (bound(500), bound(990));
                line("answer to effect", format!("p50 {p50}, p99 {p99}, by the server's metrics"));
            }
            None => line("answer to effect", "not looked for".to_owned()),
        }
        let [answers, whole] = self.cpu_ns();
        let [_, _, settled] = self.processes;
        if settled.rss_kib > 0 {
            let cpu = |ns: u64| shown_ns(ns);
            line("server cpu", format!("{} to answers, {} in all", cpu(answers), cpu(whole)));
            let (now, peak) = (settled.rss_kib / 1024, settled.peak_kib / 1024);
            line("server memory", format!("{now} MiB, most {peak} MiB"));
        }
        for (what, list) in [("no answer", &self.failed), ("wrong answer", &self.unexpected)] {
            for (words, count) in list {
                line(what, format!("{count} × {words}"));
            }
        }
        if self.missing() > 0 {
            line("no effect", format!("{} genuine callbacks", self.missing()));
        }
        text
    }
}

/// The value that so many thousandths of a sorted list are at or below.
fn quantile(sorted: &[u64], thousandths: usize) -> u64 {
    let rank = sorted.len().saturating_mul(thousandths).div_ceil(1000).max(1);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

fn listed(sorted: &[u64]) -> String {
    let [p50, p90, p99, p999, max] =
        QUANTILES.map(|thousandths| shown(quantile(sorted, thousandths)));
    format!("p50 {p50}, p90 {p90}, p99 {p99}, p99.9 {p999}, most {max}")
}

fn per_second(count: u64, time: Duration) -> u64 {
    let per = count.saturating_mul(1_000_000).checked_div(micros(time));
    per.unwrap_or(0)
}

/// Microseconds as milliseconds with two places.
fn shown(us: u64) -> String {
    format!("{}.{:02} ms", us / 1000, us.rem_euclid(1000) / 10)
}

fn shown_ns(ns: u64) -> String {
    format!("{}.{} µs", ns / 1000, ns.rem_euclid(1000) / 100)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// Thousandths.
const QUANTILES: [usize; 5] = [500, 900, 990, 999, 1000];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Figures, Hit, Wrong, quantile};

    #[test]
    fn quantiles_are_values_that_were_seen() {
        let thousand: Vec<u64> = (1..=1000).collect();
        let found = [1, 500, 990, 999, 1000].map(|part| quantile(&thousand, part));
        assert_eq!(found, [1, 500, 990, 999, 1000]);
        assert_eq!(quantile(&[7], 1), 7);
        assert_eq!(quantile(&[], 990), 0);
    }

    #[test]
    fn what_went_wrong_is_counted_by_its_words() {
        let hit = |wrong| Hit { latency: Duration::ZERO, late: Duration::ZERO, wrong };
        let failed = || Some(Wrong::Failed("gone".to_owned()));
        let figures = Figures::of(vec![hit(None), hit(failed()), hit(failed())]);
        assert!(!figures.is_clean());
        assert!(figures.text().contains("2 × gone"), "{}", figures.text());
        assert!(Figures::of(vec![hit(None)]).is_clean());
    }
}
