//! What machines hear of a sink; `telemetry` says what each name means.

use std::time::Duration;

/// How a sink is at the moment.
#[derive(Debug)]
pub(super) struct Gauges {
    /// Whether it is left in peace.
    pub(super) circuit_open: bool,
    /// Events that failed or wait behind one that did.
    pub(super) held: usize,
    /// Age of the oldest event that it did not take.
    pub(super) lag_ms: i64,
}

impl Gauges {
    pub(super) fn show(&self, sink: &str) {
        let sink = sink.to_owned();
        let held = u32::try_from(self.held).unwrap_or(u32::MAX);
        let lag = Duration::from_millis(u64::try_from(self.lag_ms).unwrap_or(0)).as_secs_f64();
        let open = u32::from(self.circuit_open);
        metrics::gauge!("callgate_sink_circuit_open", "sink" => sink.clone()).set(open);
        metrics::gauge!("callgate_sink_held", "sink" => sink.clone()).set(held);
        metrics::gauge!("callgate_sink_lag_seconds", "sink" => sink).set(lag);
    }
}

pub(super) fn delivered(sink: String) {
    metrics::counter!("callgate_sink_delivered_total", "sink" => sink).increment(1);
}

pub(super) fn failed(sink: String, code: &'static str) {
    metrics::counter!("callgate_sink_failed_total", "sink" => sink, "code" => code).increment(1);
}

pub(super) fn dead(sink: String, code: String) {
    metrics::counter!("callgate_sink_dead_total", "sink" => sink, "code" => code).increment(1);
}
