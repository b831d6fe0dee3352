//! A probe: a row that is written and committed, to know whether a callback could be.
//!
//! Reading says nothing of a disk that is full, of a server that has become a read-only replica,
//! or of a writer that waits for a lock.

use callgate_core::time::Timestamp;

use crate::batch;
use crate::error::Fault;
use crate::sql::{Connection, query};

/// Asks for a commit.
#[derive(Debug)]
pub(crate) struct Probe {
    /// Who asks: it makes the row another one each time.
    pub(crate) id: String,
    pub(crate) now: Timestamp,
}

/// Writes one row for all probes of a group. All hosts share it: who has it locked is gone in the
/// time of a commit.
pub(crate) async fn run(connection: &mut Connection, probes: &[Probe]) -> Result<(), Fault> {
    let Some(probe) = probes.last() else { return Ok(()) };
    batch::count();
    query(
        "insert into leases (name, owner, until_ms) values ('probe', $1, $2) \
         on conflict (name) do update set owner = excluded.owner, until_ms = excluded.until_ms",
    )
    .bind(probe.id.as_str())
    .bind(probe.now.as_ms())
    .execute(connection)
    .await?;
    Ok(())
}
