//! The configuration, read again while the server runs: on SIGHUP, when one of its files changes,
//! and when an operator asks.
//!
//! It is read as a whole and checked as at the start. Then every part makes ready what it would
//! take over, and only where all could, all take over. Where anything is wrong, everything stays as
//! it is. What no part can take over is named, and keeps its value until the next start.
//!
//! A part is a function: given the new configuration it answers with what makes it true. Add one
//! to the list in `server.rs`, and the keys it answers for to [`LIVE`].

use std::sync::{Arc, Mutex, PoisonError};

use callgate_core::time::Timestamp;
use serde_json::{Value, json};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};

use crate::clock::Clock;
use crate::config::{Config, ConfigError, Files, Layers, Shape};

/// Makes what was made ready true. Cannot fail, and takes no time.
pub type Swap = Box<dyn FnOnce() + Send>;

/// A part of the server that can take over a new configuration. Makes everything ready, which may
/// fail, and changes nothing.
pub type Part = Box<dyn Fn(&Config) -> Result<Swap, ConfigError> + Send + Sync>;

/// Begin of the keys that some part takes over. `*` stands for one name; `x` is also `x_file`,
/// `x_files` and `x_env`.
pub const LIVE: &[&str] = &[
    "channels.*",
    "operators.*",
    "operator",
    "businesses.*.token_sha256",
    "businesses.*.status",
    "alerts.webhooks.*",
    "sinks.*.kind",
    "sinks.*.url",
    "sinks.*.allow_private",
    "sinks.*.secret",
    "sinks.*.secrets",
    "sinks.*.ca",
    "sinks.*.cas",
    "sinks.*.subject",
    "sinks.*.token",
    "sinks.*.user",
    "sinks.*.password",
    "endpoints.*.base_url",
    "endpoints.*.allow_private",
    "endpoints.*.headers",
    "endpoints.*.ca",
    "endpoints.*.cas",
    "public.tls.certificate_file",
    "public.tls.key_file",
    "public.tls.also",
    "public.tls.client_ca_file",
    "private.tls.certificate_file",
    "private.tls.key_file",
    "private.tls.also",
    "private.tls.client_ca_file",
    "status.listener.tls.certificate_file",
    "status.listener.tls.key_file",
    "status.listener.tls.also",
    "status.listener.tls.client_ca_file",
];

/// What became of reading the configuration again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is in force.
    Done {
        /// Keys that changed and wait for the next start.
        waiting: Vec<String>,
    },
    /// It was wrong; what was in force still is.
    Refused(ConfigError),
}

/// Asks for a reload and answers what became of it. Clones ask the same.
#[derive(Debug, Clone)]
pub struct Reloads {
    asks: mpsc::Sender<oneshot::Sender<Outcome>>,
    last: Arc<Mutex<Option<(Timestamp, Outcome)>>>,
}

impl Reloads {
    /// Reads the configuration again, now; `None` while the server stops.
    pub async fn ask(&self) -> Option<Outcome> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(reply).await.ok()?;
        answer.await.ok()
    }

    /// The last reload, for people; `null` before the first.
    #[must_use]
    pub fn last(&self) -> Value {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().map_or(Value::Null, |(at, outcome)| {
            let mut view = view(outcome);
            if let Some(view) = view.as_object_mut() {
                view.insert("at_ms".to_owned(), at.as_ms().into());
            }
            view
        })
    }
}

/// An outcome as operators see it.
#[must_use]
pub fn view(outcome: &Outcome) -> Value {
    match outcome {
        Outcome::Done { waiting } => json!({ "outcome": "done", "waits_for_restart": waiting }),
        Outcome::Refused(error) => json!({
            "outcome": "refused", "code": error.code, "key": error.key, "problem": error.problem,
        }),
    }
}

/// Reads the configuration again.
pub struct Reload {
    layers: Layers,
    /// What the server was started with: what no part takes over is still as it was then.
    started: (Shape, Files),
    /// The files as they were when they were read last.
    files: Files,
    watch_ms: u64,
    parts: Arc<Vec<Part>>,
    clock: Clock,
    asks: mpsc::Receiver<oneshot::Sender<Outcome>>,
    last: Arc<Mutex<Option<(Timestamp, Outcome)>>>,
    /// None where the system does not let us listen.
    hangup: Option<Signal>,
}

impl Reload {
    /// For the configuration that the server was started with. From now on SIGHUP does not end the
    /// process.
    #[must_use]
    pub fn new(config: &Config, clock: Clock, parts: Vec<Part>) -> (Self, Reloads) {
        let (sender, asks) = mpsc::channel(1);
        let last = Arc::default();
        let reloads = Reloads { asks: sender, last: Arc::clone(&last) };
        let reload = Self {
            layers: config.layers.clone(),
            started: (config.shape.clone(), config.files.clone()),
            files: config.files.clone(),
            watch_ms: config.reload.watch_ms,
            parts: Arc::new(parts),
            clock,
            asks,
            last,
            hangup: signal(SignalKind::hangup())
                .inspect_err(|error| tracing::warn!(%error, "SIGHUP cannot be watched"))
                .ok(),
        };
        (reload, reloads)
    }

    /// Reads it again whenever there is a reason to, until the server stops.
    pub async fn follow(mut self, mut stopped: watch::Receiver<bool>) {
        let watched = self.watch_ms > 0 && !self.files.is_empty();
        // What the files were at the last look, where that is not what was read.
        let mut moving: Option<Files> = None;
        loop {
            let wait_ms = i64::try_from(self.watch_ms).unwrap_or(i64::MAX);
            let next = self.clock.now().plus_ms(wait_ms);
            let reason = tokio::select! {
                _ = stopped.wait_for(|stop| *stop) => return,
                () = hung_up(&mut self.hangup) => Reason::Signal,
                Some(reply) = self.asks.recv() => Reason::Operator(reply),
                () = self.clock.wait_until(next), if watched => Reason::Look,
            };
            match reason {
                Reason::Signal => drop(self.run("signal").await),
                Reason::Operator(reply) => drop(reply.send(self.run("operator").await)),
                Reason::Look => {
                    let found = look(&self.files).await;
                    if found == self.files {
                        moving = None;
                    } else if moving.as_ref() == Some(&found) {
                        // The same at two looks: whoever writes has written all of it.
                        moving = None;
                        drop(self.run("file").await);
                    } else {
                        moving = Some(found);
                    }
                }
            }
        }
    }

    async fn run(&mut self, why: &'static str) -> Outcome {
        // What is not read, because something before it is wrong, is as it is now.
        let before = look(&self.files).await;
        let (layers, parts) = (self.layers.clone(), Arc::clone(&self.parts));
        let loading = tokio::task::spawn_blocking(move || {
            let (loaded, files) = Config::load_watched(&layers);
            let ready = loaded.and_then(|config| {
                let swaps: Result<Vec<Swap>, _> = parts.iter().map(|part| part(&config)).collect();
                Ok((swaps?, config.shape, files.clone()))
            });
            (ready, files)
        });
        let outcome = match loading.await {
            Ok((ready, files)) => {
                self.files = before.and(files);
                self.finish(ready)
            }
            Err(error) => {
                self.files = before;
                Outcome::Refused(ConfigError::new("configuration", error.to_string()))
            }
        };
        report(why, &outcome);
        let last = Some((self.clock.now(), outcome.clone()));
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = last;
        outcome
    }

    fn finish(&self, ready: Result<(Vec<Swap>, Shape, Files), ConfigError>) -> Outcome {
        match ready {
            Err(error) => Outcome::Refused(error),
            // Somebody wrote while it was read: half of it may be of then and half of now.
            Ok((_, _, files)) if files.again() != files => {
                let problem = "a file changed while it was read; it is read again";
                Outcome::Refused(ConfigError::new("configuration", problem))
            }
            Ok((swaps, shape, files)) => {
                for swap in swaps {
                    swap();
                }
                let keys = self.started.0.differing(&shape).into_iter();
                let named = files.differing(&self.started.1).into_iter().map(str::to_owned);
                let mut waiting: Vec<_> = keys.chain(named).filter(|key| !is_live(key)).collect();
                waiting.sort();
                waiting.dedup();
                Outcome::Done { waiting }
            }
        }
    }
}

fn report(why: &'static str, outcome: &Outcome) {
    let (word, refused) = match outcome {
        Outcome::Done { waiting } => {
            tracing::info!(why, "configuration read again and in force");
            if !waiting.is_empty() {
                let keys = waiting.join(", ");
                tracing::warn!(keys, "these changed, but hold only after the next start");
            }
            ("done", 0.0)
        }
        Outcome::Refused(error) => {
            let ConfigError { key, problem, code } = error;
            tracing::error!(
                why,
                code,
                key,
                problem,
                "configuration not taken: what was in force still is; mend it and it is read again"
            );
            ("refused", 1.0)
        }
    };
    metrics::counter!("callgate_reloads_total", "outcome" => word).increment(1);
    metrics::gauge!("callgate_reload_refused").set(refused);
}

/// Whether a key is taken over without a restart. The configuration file itself has no key: what
/// changed in it is named key by key.
fn is_live(key: &str) -> bool {
    let is = |want: &str, part: &str| {
        let part = part.split('[').next().unwrap_or(part);
        let source = part.strip_prefix(want);
        want == "*" || source.is_some_and(|rest| SOURCES.contains(&rest))
    };
    let begins = |pattern: &&str| {
        let mut parts = key.split('.');
        pattern.split('.').all(|want| parts.next().is_some_and(|part| is(want, part)))
    };
    key.is_empty() || LIVE.iter().any(begins)
}

/// What may stand behind a key: nothing, or where its text is found.
const SOURCES: [&str; 4] = ["", "_file", "_files", "_env"];

/// What the files are now. Asking the file system may take its time.
async fn look(files: &Files) -> Files {
    let known = files.clone();
    tokio::task::spawn_blocking(move || known.again()).await.unwrap_or_default()
}

async fn hung_up(hangup: &mut Option<Signal>) {
    let heard = match hangup {
        Some(hangup) => hangup.recv().await,
        None => None,
    };
    if heard.is_none() {
        std::future::pending::<()>().await;
    }
}

/// Why to look or to read.
enum Reason {
    Signal,
    Operator(oneshot::Sender<Outcome>),
    Look,
}

#[cfg(test)]
mod tests {
    use super::is_live;

    #[test]
    fn a_key_is_live_where_a_part_answers_for_it() {
        for key in [
            "",
            "channels.main.api_v3_key_file",
            "channels.main.public_keys[0].key_file",
            "operators.ada.token_sha256",
            "operator.token_sha256",
            "businesses.MALL.token_sha256",
            "sinks.erp.secret_files",
            "endpoints.crm.headers.authorization_file",
            "endpoints.crm.ca_files",
        ] {
            assert!(is_live(key), "{key}");
        }
        for key in [
            "store.url",
            "public.listen",
            "businesses.MALL.policy.read",
            "channels",
            "sinks.erp.topics",
            "sinks.erp.secretive",
            "endpoints.crm.timeout_ms",
        ] {
            assert!(!is_live(key), "{key}");
        }
    }
}
