//! How many files this process may have open: each connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// Raises the limit as far as the system lets us, and says so where that is not far enough.
pub fn raise_limit(config: &Config) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
    let wanted = wanted(config);
    if let Some(limit) = getrlimit(Resource::Nofile).current
        && limit < wanted
    {
        tracing::warn!(
            limit,
            wanted,
            "fewer files may be open than there may be connections: raise the hard limit \
             (systemd: LimitNOFILE=, shell: ulimit -Hn), or lower public.connections_max"
        );
    }
}

fn wanted(config: &Config) -> u64 {
    let fronts = if config.status.enabled { config.status.listener.connections_max } else { 0 };
    let own = config.public.connections_max.saturating_add(config.private.connections_max);
    let connections = own.saturating_add(fronts);
    u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(OTHERS)
}

/// The database, calls to the world, the log.
const OTHERS: u64 = 512;
