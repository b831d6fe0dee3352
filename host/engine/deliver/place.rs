//! Where a sink is and what signs there: the part of a sink that another configuration can change
//! while the sink runs. An attempt that is under way ends where it began.

use std::sync::{Arc, PoisonError, RwLock};

use callgate_store::StoredEvent;

use super::{Attempt, SinkError, SinkSettings, TargetSettings, http, nats};
use crate::clock::Clock;
use crate::outbound::client::NotReachable;

/// Where a sink is now. Clones are the same place.
#[derive(Debug, Clone)]
pub(super) struct Place(Arc<RwLock<Current>>);

#[derive(Debug, Clone)]
struct Current {
    settings: TargetSettings,
    target: Arc<Target>,
}

#[derive(Debug)]
enum Target {
    Http(http::Endpoint),
    Nats(Box<nats::Stream>),
}

/// A change of a sink's place that is ready to be made.
#[derive(Debug)]
pub struct Move {
    place: Place,
    next: Current,
}

impl Move {
    /// Makes it. Cannot fail, and takes no time.
    pub fn enforce(self) {
        *self.place.0.write().unwrap_or_else(PoisonError::into_inner) = self.next;
    }
}

impl Place {
    pub(super) async fn open(settings: &SinkSettings) -> Result<Self, SinkError> {
        let target = Arc::new(open(settings).await?);
        let current = Current { settings: settings.target.clone(), target };
        Ok(Self(Arc::new(RwLock::new(current))))
    }

    pub(super) async fn ready(&self, settings: SinkSettings) -> Result<Move, SinkError> {
        let now = self.current();
        let target = if is_same_connection(&now.settings, &settings.target) {
            now.target
        } else {
            Arc::new(open(&settings).await?)
        };
        let next = Current { settings: settings.target, target };
        Ok(Move { place: self.clone(), next })
    }

    pub(super) async fn attempt(&self, event: &StoredEvent, clock: &Clock) -> Attempt {
        match &*self.current().target {
            Target::Http(endpoint) => endpoint.deliver(event, clock).await,
            Target::Nats(stream) => stream.deliver(event).await,
        }
    }

    fn current(&self) -> Current {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn open(settings: &SinkSettings) -> Result<Target, SinkError> {
    let wrong = |problem: String| SinkError { name: settings.name.clone(), problem };
    match &settings.target {
        TargetSettings::Http { url, secrets, reach, roots } => {
            let place = (url.clone(), *reach, roots.clone());
            let endpoint = http::Endpoint::new(place, secrets, settings);
            let endpoint = endpoint.map_err(|error| wrong(error.to_string()))?;
            match endpoint.probe().await {
                Ok(()) => {}
                Err(error @ NotReachable::Unknown { .. }) => {
                    tracing::warn!(sink = %settings.name, %error,
                        "a sink's name cannot be resolved now; its events wait");
                }
                Err(error) => return Err(wrong(error.to_string())),
            }
            Ok(Target::Http(endpoint))
        }
        TargetSettings::Nats { url, subject, login } => {
            let stream = nats::Stream::open(url, (subject, login), settings).await;
            Ok(Target::Nats(Box::new(stream.map_err(wrong)?)))
        }
    }
}

/// Whether a connection that stands will do: one to NATS is not cut for a change elsewhere in the
/// configuration. HTTP has none that would be missed.
fn is_same_connection(old: &TargetSettings, new: &TargetSettings) -> bool {
    match (old, new) {
        (
            TargetSettings::Nats { url, subject, login },
            TargetSettings::Nats { url: other_url, subject: other_subject, login: other_login },
        ) => (url, subject, login) == (other_url, other_subject, other_login),
        (TargetSettings::Http { .. } | TargetSettings::Nats { .. }, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use callgate_core::secret::Secret;

    use super::super::NatsLogin;
    use super::{TargetSettings, is_same_connection};

    fn stream(token: &str) -> TargetSettings {
        let login = NatsLogin::Token(Secret::new(token.to_owned()));
        let (url, subject) = ("nats://127.0.0.1:4222".to_owned(), "a.{topic}".to_owned());
        TargetSettings::Nats { url, subject, login }
    }

    #[test]
    fn a_connection_to_nats_is_kept_unless_it_is_another() {
        assert!(is_same_connection(&stream("old"), &stream("old")));
        assert!(!is_same_connection(&stream("old"), &stream("new")));
    }
}
