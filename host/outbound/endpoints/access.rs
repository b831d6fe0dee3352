//! The way in to an endpoint: its address, whom we trust there and who we are. Another configuration
//! can change it while the server runs; a call that is under way ends as it began.

use std::sync::{Arc, PoisonError, RwLock};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{EndpointError, EndpointSettings};
use crate::outbound::client::{self, Caller, NotReachable};

/// How an endpoint is called.
#[derive(Debug)]
pub(super) struct Access {
    pub(super) caller: Caller,
    /// Those that the host adds.
    pub(super) headers: HeaderMap,
}

/// Changes of endpoints that are ready to be made.
#[derive(Debug)]
pub struct Moves(pub(super) Vec<(Door, Arc<Access>)>);

/// Where the way in stands.
pub(super) type Door = Arc<RwLock<Arc<Access>>>;

impl Moves {
    /// Makes them. Cannot fail, and takes no time.
    pub fn enforce(self) {
        for (door, next) in self.0 {
            *door.write().unwrap_or_else(PoisonError::into_inner) = next;
        }
    }
}

impl Access {
    /// Makes it and looks whether the address may be reached. That it cannot be resolved at the
    /// moment is no error.
    pub(super) async fn open(settings: &EndpointSettings) -> Result<Self, EndpointError> {
        let endpoint = client::Endpoint {
            url: settings.base_url.clone(),
            reach: settings.reach,
            timeout_ms: settings.timeout_ms,
        };
        let caller = Caller::trusting(endpoint, settings.roots.clone())
            .map_err(|error| settings.wrong("base_url", error.to_string()))?;
        let access = Self { caller, headers: settings.own_headers()? };
        match access.caller.probe().await {
            Ok(()) => Ok(access),
            Err(error @ NotReachable::Unknown { .. }) => {
                tracing::warn!(endpoint = %settings.name, %error,
                    "an endpoint's name cannot be resolved now");
                Ok(access)
            }
            Err(error) => Err(settings.wrong("base_url", error.to_string())),
        }
    }
}

impl EndpointSettings {
    fn wrong(&self, field: &'static str, problem: String) -> EndpointError {
        EndpointError { name: self.name.clone(), field, problem }
    }

    /// The headers that the host adds. Their values show in no log.
    fn own_headers(&self) -> Result<HeaderMap, EndpointError> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let bad = || {
                let problem = format!("`{name}` is no header that can be sent");
                self.wrong("headers", problem)
            };
            let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
            let mut value = HeaderValue::from_str(value.expose()).map_err(|_| bad())?;
            value.set_sensitive(true);
            headers.insert(header, value);
        }
        Ok(headers)
    }
}
