//! Where values come from: the store, the pulse of the channels, and what others measure. What
//! cannot be read is left out, and its condition stays as it is.

use callgate_core::time::Timestamp;
use callgate_store::StoreError;

use super::away::{Windows, compare};
use super::condition::{Kind, Reading};
use super::watch::Watched;

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
    readings.extend(keys(watched, now));
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
    for channel in &(watched.channels)() {
        let one = compared.iter().find(|one| one.channel == *channel);
        let came = recent.by_channel.get(channel).copied().unwrap_or(0);
        metrics::gauge!("callgate_callbacks_recent", "channel" => channel.clone())
            .set(whole(one.map_or(came, |one| one.came)));
        metrics::gauge!("callgate_callbacks_expected", "channel" => channel.clone())
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
            metrics::gauge!("callgate_clock_offset_seconds", "channel" => beat.channel.clone())
                .set(signed);
            readings.push(reading(Kind::Clock, offset_ms.saturating_abs() / 1000));
        }
    }
    readings
}

/// Whoever keeps keys shows until when each can be used; this is where it is heard.
fn keys(watched: &Watched, now: Timestamp) -> Vec<Reading> {
    let text = (watched.metrics)();
    let mut readings = Vec::new();
    for line in text.lines().filter_map(|line| line.strip_prefix(KEY_EXPIRES)) {
        let Some((labels, value)) = line.rsplit_once(' ') else { continue };
        // Whole seconds are enough; a fraction is cut off.
        let value = value.split('.').next().unwrap_or_default();
        let Ok(seconds) = value.parse::<i64>() else { continue };
        let left = if seconds > MOMENT_MIN {
            seconds.saturating_sub(now.as_ms().div_euclid(1000))
        } else {
            seconds
        };
        let subject = subject_of(labels);
        readings.push(Reading { kind: Kind::KeyExpiry, subject, value: left.div_euclid(86_400) });
    }
    readings
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

/// Shown by whoever keeps keys: seconds that are left, or the moment in seconds since 1970.
const KEY_EXPIRES: &str = "callgate_key_expires_seconds{";

/// Thirty years: less is time that is left, more is a moment.
const MOMENT_MIN: i64 = 946_080_000;

#[cfg(test)]
mod tests {
    use super::subject_of;

    #[test]
    fn labels_name_whose_key_it_is() {
        assert_eq!(subject_of(r#"{channel="wechat",key="5157F0"}"#), "wechat/5157F0");
        assert_eq!(subject_of("{}"), "");
    }
}
