//! What is told is sent: each webhook by itself, again with growing pauses where it fails, never
//! more in a minute than it may hear. Nothing waits for any of them.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};

use callgate_core::outcome::Reason;
use callgate_core::retry::Backoff;
use callgate_core::time::Timestamp;
use callgate_store::{DueNotice, NoticeClaim, NoticeEnd, Severity, Store, StoreError};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::robot::{NotTold, Robot, Said, Sender, WebhookSettings};
use crate::clock::Clock;
use crate::inbound::alerts::AskRobots;

/// Everybody who is told. Clones are the same list, which can change while the server runs.
#[derive(Debug, Clone, Default)]
pub struct Robots(Arc<RwLock<Arc<Named>>>);

type Named = BTreeMap<String, Arc<Robot>>;

impl Robots {
    /// The webhooks that the settings describe.
    ///
    /// # Errors
    /// The webhook, the field that is wrong, and what was expected.
    pub fn new(settings: &[WebhookSettings]) -> Result<Self, (String, &'static str, String)> {
        let mut robots = BTreeMap::new();
        for one in settings {
            let robot = Robot::new(one.clone())
                .map_err(|(field, problem)| (one.name.clone(), field, problem))?;
            robots.insert(one.name.clone(), Arc::new(robot));
        }
        Ok(Self(Arc::new(RwLock::new(Arc::new(robots)))))
    }

    /// Takes the webhooks of another list in place of its own.
    pub fn take_over(&self, other: &Self) {
        let robots = other.current();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = robots;
    }

    /// Who is told of what.
    pub(super) fn listeners(&self) -> Vec<(String, Severity)> {
        let robots = self.current();
        robots.iter().map(|(name, robot)| (name.clone(), robot.settings().least)).collect()
    }

    fn current(&self) -> Arc<BTreeMap<String, Arc<Robot>>> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl AskRobots for Robots {
    fn names(&self) -> Vec<String> {
        self.current().keys().cloned().collect()
    }

    fn test<'a>(
        &'a self,
        name: &'a str,
        (id, now): (&'a str, Timestamp),
    ) -> Pin<Box<dyn Future<Output = Option<Result<(), Reason>>> + Send + 'a>> {
        Box::pin(async move {
            let robot = self.current().get(name).cloned()?;
            let host = callgate_store::machine_name();
            let told = robot.say(Said::Test, Sender { host: &host, id, now }).await;
            Some(told.map_err(|error| error.reason))
        })
    }
}

/// What sending needs.
#[derive(Debug, Clone)]
struct Telling {
    store: Store,
    clock: Clock,
    owner: String,
    host: String,
}

/// Sends what is to be told, until `shutdown` says so. A message on its way then is left to the
/// next start: it has a lease.
pub async fn tell(
    (store, clock, owner): (Store, Clock, String),
    (robots, look_ms): (Robots, u32),
    mut shutdown: watch::Receiver<bool>,
) {
    let telling = Telling { store, clock, owner, host: callgate_store::machine_name() };
    let mut busy: BTreeMap<String, JoinHandle<()>> = BTreeMap::new();
    while !*shutdown.borrow() {
        let now = telling.clock.now();
        busy.retain(|_, task| !task.is_finished());
        for (name, robot) in robots.current().iter() {
            if busy.contains_key(name) {
                continue;
            }
            match telling.store.next_notice_at(name).await {
                Ok(Some(at)) if at <= now => {
                    let (telling, robot) = (telling.clone(), Arc::clone(robot));
                    let task = async move { telling.send_all(&robot).await };
                    busy.insert(name.clone(), tokio::spawn(task));
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, code = error.code(), webhook = name.as_str(),
                        "notices of alerts cannot be looked for now");
                }
            }
        }
        let next = now.plus_ms(i64::from(look_ms));
        tokio::select! {
            () = telling.clock.wait_until(next) => {}
            _ = shutdown.wait_for(|stop| *stop) => break,
        }
    }
    for task in busy.into_values() {
        task.abort();
    }
}

impl Telling {
    /// Sends what is due until there is no more, the webhook has heard enough, or one fails.
    async fn send_all(&self, robot: &Robot) {
        loop {
            match self.send_one(robot).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    let webhook = robot.settings().name.as_str();
                    tracing::warn!(%error, code = error.code(), webhook,
                        "a notice of an alert cannot be taken or ended now");
                    return;
                }
            }
        }
    }

    /// Sends one; tells whether to go on.
    async fn send_one(&self, robot: &Robot) -> Result<bool, StoreError> {
        let settings = robot.settings();
        let claim = NoticeClaim {
            webhook: settings.name.clone(),
            owner: self.owner.clone(),
            lease_ms: i64::from(settings.timeout_ms).saturating_mul(2).saturating_add(LEASE_MS),
            per_minute: settings.per_minute,
        };
        let taken = self.store.take_notice(claim, self.clock.now()).await?;
        let Some(due) = taken else { return Ok(false) };
        let now = self.clock.now();
        let sender = Sender { host: &self.host, id: &due.id, now };
        let told = robot.say(Said::Notice(&due.notice), sender).await;
        let (webhook, now) = (settings.name.as_str(), self.clock.now());
        let (outcome, end) = match &told {
            Ok(()) => ("sent", NoticeEnd::Sent),
            Err(error) => {
                let again = again(&due, error, now);
                let outcome = if again.is_some() { "failed" } else { "dropped" };
                tracing::warn!(webhook, condition = due.notice.condition.as_str(),
                    attempt = due.attempt, code = %error.reason.code,
                    reason = error.reason.text.as_str(), outcome, "an alert was not told");
                (outcome, NoticeEnd::Failed(error.reason.clone(), again))
            }
        };
        metrics::counter!("callgate_alert_notices_total",
            "webhook" => webhook.to_owned(), "outcome" => outcome)
        .increment(1);
        self.store.end_notice((&due, &self.owner), end, now).await?;
        Ok(told.is_ok())
    }
}

/// When a notice is sent again; never where it is too old to be of use to anybody.
fn again(due: &DueNotice, error: &NotTold, now: Timestamp) -> Option<Timestamp> {
    if now.ms_since(due.notice.at) >= GIVE_UP_MS {
        return None;
    }
    let attempt = u32::try_from(due.attempt).unwrap_or(u32::MAX);
    // The id is random at its end: what failed together does not come back together.
    let seed = due
        .id
        .bytes()
        .rev()
        .take(8)
        .fold(0_u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let delay_ms = BACKOFF.delay_ms(attempt, error.wait_ms, seed)?;
    Some(now.plus_ms(delay_ms))
}

/// Attempts end with the age of a notice, not with their number.
const BACKOFF: Backoff = Backoff { first_ms: 1_000, max_ms: 300_000, attempts_max: u32::MAX };

/// A day: what was to be told then is history.
const GIVE_UP_MS: i64 = 86_400_000;

/// Beyond twice the time of an attempt.
const LEASE_MS: i64 = 5_000;
