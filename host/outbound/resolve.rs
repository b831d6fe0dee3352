//! Names become addresses, and the addresses that were checked are those that are connected to:
//! there is no second look-up in between that could answer something else.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::address::Reach;
use super::client::NotReachable;

/// Who is asked for the addresses of a name.
#[derive(Clone, Default)]
pub(super) enum Names {
    /// The machine.
    #[default]
    Machine,
    /// A test, which says something else each time.
    #[cfg(test)]
    Told(std::sync::Arc<Telling>),
}

/// What a test says of a name.
#[cfg(test)]
pub(super) type Telling = dyn Fn(&str) -> Vec<SocketAddr> + Send + Sync;

impl Names {
    async fn of(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        match self {
            Self::Machine => Ok(tokio::net::lookup_host((host, port)).await?.collect()),
            #[cfg(test)]
            Self::Told(told) => Ok(told(host)),
        }
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Names")
    }
}

/// Resolves, and refuses what must not be reached.
#[derive(Debug, Clone)]
pub(super) struct Checked {
    pub(super) reach: Reach,
    pub(super) names: Names,
}

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let checked = self.clone();
        Box::pin(async move {
            let found = checked.look_up(name.as_str(), 0).await?;
            let addresses: Addrs = Box::new(found.into_iter());
            Ok(addresses)
        })
    }
}

impl Checked {
    /// All addresses of a name; refused where only one of them must not be reached, for whoever
    /// mixes them wants one of them to slip through.
    pub(super) async fn look_up(
        &self,
        host: &str,
        port: u16,
    ) -> Result<Vec<SocketAddr>, NotReachable> {
        let found = self.names.of(host, port).await.map_err(|error| NotReachable::Unknown {
            host: host.to_owned(),
            error: error.to_string(),
        })?;
        match found.iter().find(|address| !self.reach.admits(address.ip())) {
            None => Ok(found),
            Some(address) => {
                Err(NotReachable::Private { host: host.to_owned(), address: address.ip() })
            }
        }
    }
}
