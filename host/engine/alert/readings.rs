//! Where values come from: the store, the pulse of the channels, and what others measure. What
//! cannot be read is left out, and its condition stays as it is.

use callgate_core::time::Timestamp;
use callgate_store::StoreError;

use super::away::{Windows, compare};
use super::condition::{Kind, Reading};
use super::watch::Watched;
use crate::telemetry::pulse::CLOCK_OFFSET;

/// Reads every value once, and shows each to the machines as a metric.
pub(super) async fn read(watched: &Watched, now: Timestamp) -> Vec<Reading> {
    let mut readings = Vec::new();
    for (what, found) in [
        ("notifications", notifications(watched, now).await),
        ("sinks", sinks(watched, now).await),
        ("orders", orders(watched, now).await),
        ("callbacks", callbacks(watched, now).await),
    ] {
        match found {
            Ok(found) => readings.extend(found),
            Err(error) => {
                metrics::counter!("callgate_alert_faults_total", "what" => what).increment(1);
                tracing::warn!(%error, code = error.code(), what, "alerts: a value cannot be read");
            }
        }
    }
    readings.extend(channels(watched, now));
    readings.extend(shown(watched, now));
    readings
}

fn one(kind: Kind, value: i64) -> Reading {
    Reading { kind, subject: String::new(), value }
}

async fn notifications(watched: &Watched, now: Timestamp) -> Result<Vec<Reading>, StoreError> {
    let counts = watched.store.counts().await?;
    let oldest_ms = watched.store.oldest_unprocessed_ms(now).await?.unwrap_or(0).max(0);
    metrics::gauge!("callgate_oldest_unprocessed_seconds").set(seconds(oldest_ms));
    for (state, count) in [("parked", counts.parked), ("review", counts.review)] {
        metrics::gauge!("callgate_notifications", "state" => state).set(whole(count));
    }
    Ok(vec![
        one(Kind::Oldest, oldest_ms / 1000),
        one(Kind::Parked, counts.parked),
        one(Kind::Review, counts.review),
    ])
}

/// Of the sinks that are configured here: one that was taken out of the configuration is nobody's.
async fn sinks(watched: &Watched, now: Timestamp) -> Result<Vec<Reading>, StoreError> {
    if watched.sinks.is_empty() {
        return Ok(Vec::new());
    }
    let mut readings = Vec::new();
    for backlog in watched.store.sink_backlogs().await? {
        if !watched.sinks.contains(&backlog.sink) {
            continue;
        }
        let lag_ms = backlog.oldest.map_or(0, |oldest| now.ms_since(oldest)).max(0);
        let sink = backlog.sink;
        metrics::gauge!("callgate_sink_backlog_seconds", "sink" => sink.clone())
            .set(seconds(lag_ms));
        metrics::gauge!("callgate_sink_dead", "sink" => sink.clone()).set(whole(backlog.dead));
        let (subject, value) = (sink.clone(), lag_ms / 1000);
        readings.push(Reading { kind: Kind::SinkLag, subject, value });
        readings.push(Reading { kind: Kind::DeadLetters, subject: sink, value: backlog.dead });
    }
    Ok(readings)
}

async fn orders(watched: &Watched, now: Timestamp) -> Result<Vec<Reading>, StoreError> {
    let silent = watched.settings.silent;
    let to = now.plus_ms(i64::from(silent.after_ms).saturating_neg());
    let from = to.plus_ms(i64::from(silent.window_ms).saturating_neg());
    let found = watched.store.silent_orders(from, to).await?;
    let mut readings = Vec::new();
    for business in &watched.businesses {
        let one = found.iter().find(|one| one.business == *business);
        let (orders, silent_orders) = one.map_or((0, 0), |one| (one.orders, one.silent));
        let percent = silent_orders.saturating_mul(100).checked_div(orders).unwrap_or(0);
        // Of few orders nobody can tell; that is well, so that what was raised is over at last.
        let value = if orders >= i64::from(silent.orders_min) { percent } else { 0 };
        metrics::gauge!("callgate_silent_orders", "business" => business.clone())
            .set(whole(silent_orders));
        metrics::gauge!("callgate_silent_orders_percent", "business" => business.clone())
            .set(whole(percent));
        readings.push(Reading { kind: Kind::SilentOrders, subject: business.clone(), value });
    }
    Ok(readings)
}

async fn callbacks(watched: &Watched, now: Timestamp) -> Result<Vec<Reading>, StoreError> {
    let away = watched.settings.away;
    let windows = Windows::at(now, away);
    let store = &watched.store;
    let between = |(from, to)| store.callbacks_between(from, to);
    let recent = between(windows.recent).await?;
    let (day, week) = (between(windows.day).await?, between(windows.week).await?);
    let compared = compare(windows, (&recent, &day, &week), away);
    let mut readings = Vec::new();
    let channels = (watched.channels)();
    // What was expected of a channel that is gone is expected no more.
    for gone in compared.iter().filter(|one| !channels.contains(&one.channel)) {
        for name in [RECENT, EXPECTED] {
            metrics::gauge!(name, "channel" => gone.channel.clone()).set(0.0);
        }
    }
    for channel in &channels {
        let one = compared.iter().find(|one| one.channel == *channel);
        let came = recent.by_channel.get(channel).copied().unwrap_or(0);
        metrics::gauge!(RECENT, "channel" => channel.clone())
            .set(whole(one.map_or(came, |one| one.came)));
        metrics::gauge!(EXPECTED, "channel" => channel.clone())
            .set(whole(one.map_or(0, |one| one.expected)));
        let value = one.and_then(|one| one.away_percent).unwrap_or(0);
        readings.push(Reading { kind: Kind::CallbacksAway, subject: channel.clone(), value });
    }
    Ok(readings)
}

/// What this host alone knows.
fn channels(watched: &Watched, now: Timestamp) -> Vec<Reading> {
    let mut readings = Vec::new();
    for beat in watched.pulse.look(now) {
        let reading = |kind, value| Reading { kind, subject: beat.channel.clone(), value };
        readings.push(reading(Kind::Signatures, beat.failures));
        readings.push(reading(Kind::Untimely, beat.untimely));
        if let Some(offset_ms) = beat.offset_ms {
            let apart = seconds(offset_ms.saturating_abs());
            let signed = if offset_ms < 0 { apart.copysign(-1.0) } else { apart };
            metrics::gauge!(CLOCK_OFFSET, "channel" => beat.channel.clone()).set(signed);
            readings.push(reading(Kind::Clock, offset_ms.saturating_abs() / 1000));
        }
    }
    readings
}

/// What others show among the metrics: until when each key can be used, and whether the
/// configuration is refused.
fn shown(watched: &Watched, now: Timestamp) -> Vec<Reading> {
    let text = (watched.metrics)();
    text.lines().filter_map(|line| reading_of(line, now)).collect()
}

fn reading_of(line: &str, now: Timestamp) -> Option<Reading> {
    let value = |text: &str| {
        // Whole numbers are enough; a fraction is cut off, and what is none is no reading.
        text.trim().split('.').next().and_then(|whole| whole.parse::<i64>().ok())
    };
    if let Some(rest) = line.strip_prefix(RELOAD_REFUSED) {
        return Some(one(Kind::ReloadRefused, value(rest)?));
    }
    let (labels, ends) = line.strip_prefix(KEY_EXPIRES)?.rsplit_once(' ')?;
    let left = value(ends)?.saturating_sub(now.as_ms().div_euclid(1000));
    let subject = subject_of(labels);
    Some(Reading { kind: Kind::KeyExpiry, subject, value: left.div_euclid(86_400) })
}

/// The values of the labels, joined: `{channel="a",key="b"}` is `a/b`.
fn subject_of(labels: &str) -> String {
    let values = labels.split('"').skip(1).step_by(2);
    values.collect::<Vec<_>>().join("/")
}

fn whole(count: i64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(if count < 0 { 0 } else { u32::MAX }))
}

fn seconds(ms: i64) -> f64 {
    std::time::Duration::from_millis(u64::try_from(ms).unwrap_or(0)).as_secs_f64()
}

/// Callbacks of the last counted minutes, and as many as there should be.
const RECENT: &str = "callgate_callbacks_recent";
const EXPECTED: &str = "callgate_callbacks_expected";

/// Shown by whoever keeps keys: the moment in seconds since 1970.
const KEY_EXPIRES: &str = "callgate_key_expires_seconds{";

/// Shown by whoever reloads.
const RELOAD_REFUSED: &str = "callgate_reload_refused ";

#[cfg(test)]
mod tests {
    use callgate_core::time::Timestamp;

    use super::{reading_of, subject_of};

    #[test]
    fn what_others_show_is_read() {
        let now = Timestamp::from_ms(1_795_226_405_000);
        let found = |line: &str| reading_of(line, now).map(|one| (one.condition(), one.value));
        let key = "callgate_key_expires_seconds{channel=\"a\",key=\"b\"}";
        let days = |days: i64| format!("{key} {}", 1_795_226_405 + days * 86_400 + 5);
        assert_eq!(found(&days(13)), Some(("key-expiry:a/b".to_owned(), 13)));
        assert_eq!(found(&days(-2)), Some(("key-expiry:a/b".to_owned(), -2)));
        assert_eq!(found(&format!("{key} NaN")), None);
        assert_eq!(found("callgate_reload_refused 1"), Some(("reload-refused".to_owned(), 1)));
        assert_eq!(found("callgate_oldest_open_seconds 1"), None);
    }

    #[test]
    fn labels_name_whose_key_it_is() {
        assert_eq!(subject_of(r#"{channel="wechat",key="5157F0"}"#), "wechat/5157F0");
        assert_eq!(subject_of("{}"), "");
    }
}
