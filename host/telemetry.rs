//! Logs and metrics: what goes to people and to their machines.
//!
//! Logs go to the standard error stream; the standard output belongs to commands. Never logged:
//! bodies, signatures, keys, personal data.

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use serde::Deserialize;
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::EnvFilter;

mod lines;

pub mod pulse;

pub use lines::LineBudget;

/// How the log is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The form of a line.
    pub format: Format,
    /// What is logged, such as `info` or `info,callgate=debug`.
    pub filter: String,
    /// Lines a second about refused callbacks; more are counted and summed up.
    pub refused_lines_per_s: u32,
    /// Of those about clients of one network.
    pub refused_lines_per_network_per_s: u32,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line, for machines.
    Json,
}

/// Starts logging for the whole process. A second call changes nothing.
///
/// Lines are written by a thread of their own, so that a log nobody reads stops no answer; what
/// cannot be written is dropped. The guard writes out what is left when it is dropped.
///
/// # Errors
/// Where the filter cannot be read.
pub fn start_log(settings: &Settings) -> anyhow::Result<WorkerGuard> {
    let filter = EnvFilter::builder().parse(&settings.filter).map_err(|error| {
        anyhow::anyhow!("log.filter: {error}, expected a filter such as `info`")
    })?;
    // The thread flushes when nothing more waits: lines that come together are written together.
    let lines = std::io::BufWriter::with_capacity(LINES_BYTES, std::io::stderr());
    let (writer, guard) = tracing_appender::non_blocking(lines);
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    let started = match settings.format {
        Format::Text => builder.with_ansi(false).try_init(),
        Format::Json => builder.json().flatten_event(true).with_current_span(false).try_init(),
    };
    if started.is_err() {
        tracing::debug!("logging was started before");
    }
    Ok(guard)
}

/// Starts collecting metrics for the whole process; the handle renders them.
///
/// # Errors
/// Where another recorder is installed already or the buckets are refused.
pub fn start_metrics() -> anyhow::Result<PrometheusHandle> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)?
        .set_buckets_for_metric(Matcher::Full("callgate_effect_seconds".to_owned()), EFFECTS)?
        .set_buckets_for_metric(Matcher::Suffix("_size".to_owned()), SIZES)?
        .install_recorder()?;
    describe();
    Ok(handle)
}

/// The help text of each metric stands here, so that one list documents them all.
fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};

    describe_counter!(
        "callgate_callbacks_total",
        "Callbacks by channel, outcome (new, seen, refused, unavailable) and reason code."
    );
    describe_histogram!(
        "callgate_answer_seconds",
        "Time from the whole request read to the answer handed out, by channel."
    );
    describe_histogram!(
        "callgate_effect_seconds",
        "Time from a callback received to its step committed, by business; retries and parking \
         included."
    );
    describe_counter!(
        "callgate_direct_total",
        "Tries to decide callbacks before they are stored, by business and way (decided, overtaken \
         by patience and stored first, unbegun within it)."
    );
    describe_counter!(
        "callgate_outcomes_total",
        "Decided notifications by business, outcome and reason code."
    );
    describe_counter!(
        "callgate_attempts_total",
        "Ended attempts by step (run, after) and class (advance, keep, ignore, park, retry, fault, \
         reject, review, held, repeated, conflict, released, lost-lease, unsettled, done)."
    );
    describe_counter!("callgate_replayed_total", "Notifications replayed by replays of many.");
    describe_gauge!("callgate_review", "Notifications that wait for a person, by reason code.");
    describe_histogram!("callgate_run_seconds", "Duration of runs by plugin.");
    describe_counter!("callgate_faults_total", "Faults of plugins by plugin, kind and phase.");
    describe_gauge!("callgate_notifications", "Stored notifications that are not done, by state.");
    describe_gauge!(
        "callgate_oldest_open_seconds",
        "Age of the oldest notification that is due and not done."
    );
    describe_sinks();
    describe_status();
    describe_keys();
    describe_calls();
    describe_retention();
    describe_counter!(
        "callgate_store_contradictions_total",
        "Messages with a known delivery key that say something else than the first, by channel."
    );
    describe_gauge!(
        "callgate_plugin_behind",
        "1 while this host does not have in force what it should, by plugin."
    );
    describe_counter!(
        "callgate_canary_rollbacks_total",
        "Canaries that were rolled back because they failed too often, by plugin."
    );
    describe_counter!("callgate_connections_refused_total", "Connections over the limit.");
    describe_listeners();
    describe_bulkheads();
    describe_alerts();
}

/// What is moved away when it is old.
fn describe_retention() {
    use metrics::{describe_counter, describe_histogram};

    describe_counter!(
        "callgate_retention_rows_total",
        "Rows that retention copied to files, emptied and forgot, by act."
    );
    describe_histogram!(
        "callgate_retention_step_seconds",
        "Duration of retention's steps by act, waiting for the writer included."
    );
}

/// Front ends that wait.
fn describe_status() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};

    describe_counter!(
        "callgate_status_requests_total",
        "Looks of front ends by how (plain, wait, stream) and reason code, empty where answered."
    );
    describe_gauge!("callgate_status_waiting", "Front ends that wait for a change.");
    describe_counter!(
        "callgate_status_woken_total",
        "Waiting front ends that were told a change, by how (wait, stream)."
    );
    describe_counter!(
        "callgate_status_looks_total",
        "Statements that look for changes of orders that somebody waits for."
    );
    describe_histogram!(
        "callgate_status_look_seconds",
        "Duration of a look at all orders that somebody waits for."
    );
    describe_counter!(
        "callgate_status_repairs_total",
        "Orders that stood too long when somebody looked, by class (asked, skipped)."
    );
}

fn describe_keys() {
    use metrics::{describe_counter, describe_gauge};

    describe_gauge!(
        "callgate_key_expires_seconds",
        "When a key ends, in seconds since 1970, by channel and key; NaN once it is not in force."
    );
    describe_counter!("callgate_reloads_total", "Reloads of the configuration by outcome.");
    describe_gauge!("callgate_reload_refused", "1 while the configuration is wrong, else 0.");
    describe_counter!(
        "callgate_certificates_asked_total",
        "Questions for a gateway's certificates by channel and outcome (answered, or a code)."
    );
    describe_counter!(
        "callgate_certificates_refused_total",
        "Certificates that were handed out and failed a check, by channel and code."
    );
}

fn describe_listeners() {
    use metrics::{describe_counter, describe_gauge};

    describe_counter!(
        "callgate_tls_handshakes_total",
        "Ended handshakes by listener and outcome (tls-1.2, tls-1.3, timeout, closed, busy, \
         plain-http, incompatible, no-common-protocol, client-certificate, refused-by-peer, \
         malformed)."
    );
    describe_gauge!(
        "callgate_tls_certificate_not_after_seconds",
        "When the first certificate of a listener ends, in seconds since 1970, by listener."
    );
    describe_counter!(
        "callgate_http2_cut_off_total",
        "HTTP/2 connections that were ended by us, by why: resets (too many requests taken back), \
         deaf (answers are not taken)."
    );
}

fn describe_sinks() {
    use metrics::{describe_counter, describe_gauge};

    describe_counter!("callgate_sink_delivered_total", "Events that a sink took, by sink.");
    describe_counter!(
        "callgate_sink_failed_total",
        "Attempts that failed, by sink and reason code."
    );
    describe_counter!("callgate_sink_dead_total", "Events given up, by sink and reason code.");
    describe_gauge!(
        "callgate_sink_lag_seconds",
        "Age of the oldest event that a sink did not take; shown by the host that delivers to it."
    );
    describe_gauge!("callgate_sink_circuit_open", "1 while a sink is left in peace.");
    describe_gauge!("callgate_sink_held", "Events that failed or wait behind one that did.");
}

fn describe_alerts() {
    use metrics::{describe_counter, describe_gauge};

    describe_counter!(
        "callgate_signature_failures_total",
        "Callbacks whose signature, key or encryption is wrong, by channel; the gateways' own probes \
         are counted apart."
    );
    describe_counter!(
        "callgate_signature_probes_total",
        "Deliberate probes of gateways with a wrong signature, by channel."
    );
    describe_counter!(
        "callgate_untimely_total",
        "Callbacks refused because their signed time is too far from ours, by channel."
    );
    describe_gauge!(
        "callgate_clock_offset_seconds",
        "Median of the gateway's signed times minus our clock, by channel; positive where ours is \
         behind."
    );
    describe_gauge!(
        "callgate_oldest_unprocessed_seconds",
        "Age of the oldest notification that is neither finished nor parked."
    );
    describe_gauge!("callgate_sink_dead", "Events that a sink was given up for, in the store.");
    describe_gauge!(
        "callgate_sink_backlog_seconds",
        "Age of the oldest event that a sink has not taken, in the store: also where no host \
         delivers to it."
    );
    describe_gauge!(
        "callgate_silent_orders",
        "Orders whose time has just passed and that never moved, by business."
    );
    describe_gauge!(
        "callgate_silent_orders_percent",
        "The same in percent of the orders whose time has just passed, by business."
    );
    describe_gauge!(
        "callgate_callbacks_recent",
        "Callbacks stored in the last counted minutes, by channel; see alerts.callbacks_away."
    );
    describe_gauge!(
        "callgate_callbacks_expected",
        "Callbacks in as much time at the same hour of the day and of the week before, the lower of \
         the two, by channel."
    );
    describe_gauge!("callgate_alert_raised", "1 while a condition is raised, by condition.");
    describe_counter!(
        "callgate_alert_notices_total",
        "Attempts to tell a webhook of an alert, by webhook and outcome (sent, failed, dropped)."
    );
    describe_counter!(
        "callgate_alert_faults_total",
        "Looks at conditions that failed, by what could not be read or written."
    );
}

fn describe_bulkheads() {
    use metrics::{describe_counter, describe_gauge};

    describe_gauge!(
        "callgate_plugin_circuit",
        "1 for the state that a plugin is in on this host: closed, restricted, open, half-open."
    );
    describe_counter!(
        "callgate_plugin_circuit_changes_total",
        "Changes of that state by plugin and new state."
    );
    describe_gauge!("callgate_plugin_held", "Notifications that wait for a plugin, in the store.");
    describe_counter!(
        "callgate_plugin_held_total",
        "Notifications put back by plugin and why: full, open."
    );
    describe_gauge!("callgate_plugin_running", "Runs of a plugin that are under way.");
}

/// Outgoing calls of processors.
fn describe_calls() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};

    describe_counter!(
        "callgate_calls_total",
        "Outgoing calls by endpoint and class (2xx, 3xx, 4xx, 5xx, too-large, timeout, unreachable, \
         address, busy, circuit, unsendable, recorded, differs)."
    );
    describe_histogram!(
        "callgate_call_seconds",
        "Duration of outgoing calls by endpoint, waiting for a place included."
    );
    describe_gauge!("callgate_endpoint_circuit_open", "1 while an endpoint is left in peace.");
}

/// Log lines that are written together at most, in bytes.
const LINES_BYTES: usize = 65_536;

/// From a tenth of a millisecond to the gateways' five seconds and past it.
const SECONDS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

/// Closer where an effect is expected; past that a retry, or an order that came late.
const EFFECTS: &[f64] = &[
    0.001, 0.002, 0.003, 0.004, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.075,
    0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0, 3600.0,
];

/// Group sizes.
const SIZES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];
