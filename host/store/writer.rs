//! The one writer: takes what waits, runs it as one transaction, commits, answers everybody.
//!
//! Where a group fails as a whole, its operations are run one by one: one of them is to blame, or
//! another host was faster. Where the database itself fails, everybody gets the fault, and nobody
//! was told that anything is stored.

use std::cell::Cell;
use std::sync::Arc;

use metrics::{counter, gauge, histogram};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use crate::batch::STATEMENTS;
use crate::bell::Rope;
use crate::checkpoint::Checkpoints;
use crate::dialect::{Dialect, Pools};
use crate::error::{Blame, Fault, StoreError};
use crate::group::{Answers, Group, Work};
use crate::lite::Lite;
use crate::queue::Line;
use crate::sql::Connection;
use crate::tally::Counts;

/// What the writer works with.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) pools: Arc<Pools>,
    /// With SQLite.
    pub(crate) checkpoints: Option<Checkpoints>,
    pub(crate) order_block_ms: i64,
    /// Rung when there may be something to claim.
    pub(crate) work: Arc<Rope>,
    /// Rung when something was settled.
    pub(crate) settled: Arc<Rope>,
    pub(crate) tally: Arc<Counts>,
}

/// Comes when the writer has ended; fails where it ended badly.
pub(crate) type Ending = oneshot::Receiver<()>;

impl Writer {
    /// Begins to work: on SQLite on a thread of its own, where statements wait for the disk; else
    /// on the runtime that this is called on.
    pub(crate) fn start(
        self,
        line: Line,
        stop: watch::Receiver<bool>,
    ) -> Result<Ending, StoreError> {
        let (ended, ending) = oneshot::channel();
        let dialect = self.pools.dialect;
        let work = async move {
            self.work(line, stop).await;
            // Nobody may wait for it.
            let _ = ended.send(());
        };
        match dialect {
            Dialect::Postgres => drop(tokio::spawn(work)),
            Dialect::Sqlite => {
                let none =
                    |error| StoreError::Unavailable { source: Arc::new(sqlx::Error::Io(error)) };
                let mut runtime = tokio::runtime::Builder::new_current_thread();
                let runtime = runtime.enable_time().build().map_err(none)?;
                let thread = std::thread::Builder::new().name("store-writer".to_owned());
                thread.spawn(move || runtime.block_on(work)).map_err(none)?;
            }
        }
        Ok(ending)
    }

    /// Works until nobody can ask any more, or until `stop` says so; then ends what waits.
    pub(crate) async fn work(self, mut line: Line, mut stop: watch::Receiver<bool>) {
        loop {
            let taken = tokio::select! {
                biased;
                // After this nobody can ask; what waits is still taken, until nothing is left.
                _ = stop.wait_for(|stop| *stop), if !line.is_closed() => {
                    line.close();
                    continue;
                }
                taken = line.take() => taken,
            };
            if taken.operations.is_empty() {
                return;
            }
            gauge!("callgate_store_queue_length").set(small(line.len()));
            gauge!("callgate_store_queue_bytes").set(small(line.bytes()));
            for part in Group::of(taken.operations).parts(self.pools.dialect) {
                self.run(part).await;
            }
            // The room is free when nothing of it is in memory any more.
            drop(taken.rooms);
        }
    }

    async fn run(&self, group: Group) {
        if group.len() == 0 {
            return;
        }
        match self.attempt(&group).await {
            Ok(answers) => self.finish(group, answers),
            Err(Fault::Everybody(error)) => fail(group, &error),
            Err(Fault::Group(blame)) => {
                counter!("callgate_store_groups_split_total").increment(1);
                let alone = group.len() == 1;
                tracing::debug!(operations = group.len(), blame = blame.code(), "group failed");
                match blame {
                    Blame::Operation(error) if alone => fail(group, &error),
                    Blame::Operation(_) | Blame::Race => {
                        for single in group.split() {
                            self.run_single(single).await;
                        }
                    }
                }
            }
        }
    }

    /// Runs one operation by itself, again where another host was faster.
    async fn run_single(&self, single: Group) {
        for _ in 0..TRIES {
            match self.attempt(&single).await {
                Ok(answers) => return self.finish(single, answers),
                Err(Fault::Everybody(error) | Fault::Group(Blame::Operation(error))) => {
                    return fail(single, &error);
                }
                Err(Fault::Group(Blame::Race)) => {}
            }
        }
        fail(single, &StoreError::Conflict { tries: TRIES });
    }

    async fn attempt(&self, group: &Group) -> Result<Answers, Fault> {
        let mut connection = self.pools.writing().await?;
        let ended = self.transact(&mut connection, group).await;
        match &ended {
            Ok(_) | Err(Ended { connection: Usable::Yes, .. }) => self.pools.keep(connection).await,
            // A database that failed may have ended the transaction by itself, which the
            // connection does not know: it would refuse every further one.
            Err(Ended { connection: Usable::No, .. }) => connection.close(),
        }
        ended.map_err(|ended| ended.fault)
    }

    async fn transact(&self, connection: &mut Connection, group: &Group) -> Result<Answers, Ended> {
        let dialect = self.pools.dialect;
        let started = Instant::now();
        let broken = |fault| Ended { fault, connection: Usable::No };
        if let (Some(checkpoints), Connection::Lite(lite)) = (&self.checkpoints, &mut *connection) {
            checkpoints.finish(lite);
        }
        connection.begin(dialect.begin()).await.map_err(|error| broken(Fault::from(error)))?;
        let counted = async {
            let answers = group.run(connection, dialect, self.order_block_ms).await;
            (answers, STATEMENTS.with(Cell::get))
        };
        let (answers, statements) = STATEMENTS.scope(Cell::new(0), counted).await;
        let answers = match answers {
            Ok(answers) => answers,
            Err(fault) => {
                let rolled_back = connection.rollback().await.is_ok();
                let usable = rolled_back && matches!(fault, Fault::Group(_));
                let connection = if usable { Usable::Yes } else { Usable::No };
                return Err(Ended { fault, connection });
            }
        };
        let ran = Instant::now();
        connection.commit().await.map_err(|error| broken(commit_fault(error)))?;
        if let Some(checkpoints) = &self.checkpoints {
            checkpoints.committed(Lite::log_pages());
        }
        // Its beginning and its end are statements too.
        self.tally.add(group.len(), statements.saturating_add(2));
        histogram!("callgate_store_group_size").record(small(group.len()));
        histogram!("callgate_store_run_seconds").record(ran.duration_since(started).as_secs_f64());
        histogram!("callgate_store_commit_seconds").record(ran.elapsed().as_secs_f64());
        Ok(answers)
    }

    fn finish(&self, group: Group, answers: Answers) {
        let (work, settled) = (answers.work, answers.settled);
        for contradiction in &answers.contradictions {
            contradiction.report();
        }
        for set_aside in &answers.set_aside {
            set_aside.report();
        }
        group.answer(answers);
        if work == Work::New {
            self.work.ring();
        }
        if settled == Work::New {
            self.settled.ring();
        }
    }
}

/// A transaction that failed.
#[derive(Debug)]
struct Ended {
    fault: Fault,
    connection: Usable,
}

/// Whether a connection may run another transaction.
#[derive(Debug, Clone, Copy)]
enum Usable {
    Yes,
    No,
}

/// A commit that failed is nobody's fault in particular.
fn commit_fault(error: sqlx::Error) -> Fault {
    match Fault::from(error) {
        Fault::Group(Blame::Race) => Fault::Group(Blame::Race),
        Fault::Group(Blame::Operation(error)) | Fault::Everybody(error) => Fault::Everybody(error),
    }
}

fn fail(group: Group, error: &StoreError) {
    counter!("callgate_store_faults_total", "code" => error.code()).increment(1);
    group.fail(error);
}

fn small(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// How often an operation is tried when other hosts are faster every time.
const TRIES: u32 = 5;
