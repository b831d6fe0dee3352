//! The load tool beside the server: `callgate trigger load`, and its figures.

use std::process::Command;

use serde_json::Value;

use crate::house::{Ground, Place, Served, TOKEN, binary};

/// What is posted, and how.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shot {
    pub(crate) callbacks: u64,
    /// Callbacks a second; as fast as answers come where there is none.
    pub(crate) rate: Option<u64>,
    /// Further arguments, such as `--forged 100`.
    pub(crate) more: Vec<String>,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hit {
    /// A second, up to the last answer.
    pub(crate) answers: f64,
    /// A second, up to the last effect.
    pub(crate) whole: f64,
    /// Of the answer, in milliseconds: median, p99, p99.9.
    pub(crate) latency_ms: [f64; 3],
    /// Of the effect, at most, in milliseconds: median and p99.
    pub(crate) effect_ms: [Option<f64>; 2],
    /// Of the server, in microseconds for each callback: to the answers, to the effects.
    pub(crate) cpu_us: [f64; 2],
    pub(crate) rss_mib: f64,
}

impl Ground {
    /// Posts at one server or at several of one database.
    pub(crate) fn shoot(&self, served: &[&Served], place: &Place, shot: &Shot) -> Hit {
        let mut command = Command::new(binary());
        command.args(["trigger", "load", "--json", "--keys"]).arg(self.keys());
        command.args(["--callbacks", &shot.callbacks.to_string()]);
        for one in served {
            command.args(["--url", &one.public, "--orders-url", &one.private]);
            command.args(["--pid", &one.pid().to_string()]);
        }
        if let Some(pid) = place.pid {
            command.args(["--pid", &pid.to_string()]);
        }
        if let Some(rate) = shot.rate {
            command.args(["--rate", &rate.to_string()]);
        }
        command.args(&shot.more);
        command.env("CALLGATE_TOKEN", TOKEN).env("CALLGATE_OPERATOR_TOKEN", TOKEN);
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        let log = || served.iter().map(|one| one.log()).collect::<String>();
        let told: Value = serde_json::from_str(text.trim())
            .unwrap_or_else(|error| panic!("{error}: {text} {errors}\n{}", log()));
        assert!(output.status.success(), "{told:#}\n{}", log());
        let number = |value: &Value| value.as_f64().unwrap_or_default();
        let ms = |value: &Value| value.as_f64().map(|us| us / 1000.0);
        let latency = &told["latency_us"];
        let effect = &told["effect_us_at_most"];
        Hit {
            answers: number(&told["answers_per_s"]),
            whole: number(&told["whole_per_s"]),
            latency_ms: ["p50", "p99", "p999"].map(|name| number(&latency[name]) / 1000.0),
            effect_ms: ["p50", "p99"].map(|name| ms(&effect[name])),
            cpu_us: ["cpu_ns_to_answers", "cpu_ns_to_effects"]
                .map(|name| number(&told[name]) / 1000.0),
            rss_mib: number(&told["rss_kib"]) / 1024.0,
        }
    }
}

/// The middle one, by a measure.
pub(crate) fn median(hits: &[Hit], measure: impl Fn(&Hit) -> f64) -> f64 {
    let mut values: Vec<f64> = hits.iter().map(measure).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
