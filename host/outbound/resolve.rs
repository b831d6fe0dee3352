//! Names become addresses, and the addresses that were checked are those that are connected to:
//! there is no second look-up in between that could answer something else.

use std::net::SocketAddr;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::address::Reach;
use super::client::NotReachable;

/// Resolves by the machine's means, and refuses what must not be reached.
#[derive(Debug)]
pub(super) struct Checked(pub(super) Reach);

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0;
        Box::pin(async move {
            let found = look_up(name.as_str(), 0, reach).await?;
            let addresses: Addrs = Box::new(found.into_iter());
            Ok(addresses)
        })
    }
}

/// All addresses of a name; refused where only one of them must not be reached, for whoever mixes
/// them wants one of them to slip through.
pub(super) async fn look_up(
    host: &str,
    port: u16,
    reach: Reach,
) -> Result<Vec<SocketAddr>, NotReachable> {
    let found = tokio::net::lookup_host((host, port)).await;
    let found: Vec<SocketAddr> = found
        .map_err(|error| NotReachable::Unknown { host: host.to_owned(), error: error.to_string() })?
        .collect();
    match found.iter().find(|address| !reach.admits(address.ip())) {
        None => Ok(found),
        Some(address) => {
            Err(NotReachable::Private { host: host.to_owned(), address: address.ip() })
        }
    }
}
