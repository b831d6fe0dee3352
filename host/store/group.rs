//! A group: what waited for the writer, sorted by act, to be run as one transaction.

use tokio::sync::oneshot;

use crate::accept::{self, Accepted, Incoming};
use crate::callback::{Arrival, Receipt};
use crate::calls::log::{self, Called, Calling};
use crate::deliveries::{self, Redelivery};
use crate::dialect::Dialect;
use crate::direct::{self, Arrived, Arriving};
use crate::ending::RowChange;
use crate::error::{Fault, StoreError};
use crate::held::{self, Recalling};
use crate::inquiries::{self, Inquired, Inquiring};
use crate::lease::{self, Claim, Handed, Job};
use crate::operate::{self, Done, Operating};
use crate::outbox;
use crate::plain::SetAside;
use crate::probe::{self, Probe};
use crate::register::{self, Registered, Registration};
use crate::repeat::Contradiction;
use crate::retention::removal::{self, Removal, Removed};
use crate::settle::{self, Finishing};
use crate::settlement::{Settled, Settling};
use crate::sinks::{self, SinkHold, Stepping};
use crate::sql::Connection;

/// Something for the writer to do, and who waits for it.
#[derive(Debug)]
pub(crate) enum Operation {
    Accept(Arrival, Reply<Receipt>),
    Arrive(Box<Arriving>, Reply<Arrived>),
    Register(Box<Registration>, Reply<Registered>),
    Settle(Box<Settling>, Reply<Settled>),
    Finish(Box<Finishing>, Reply<Settled>),
    Claim(Claim, Reply<Vec<Job>>),
    Step(Box<Stepping>, Reply<SinkHold>),
    Redeliver(Box<Redelivery>, Reply<i64>),
    Operate(Box<Operating>, Reply<Done>),
    Remove(Removal, Reply<Removed>),
    Probe(Probe, Reply<()>),
    Call(Calling, Reply<Called>),
    Recall(Recalling, Reply<u64>),
    Inquire(Box<Inquiring>, Reply<Inquired>),
}

/// Where an answer goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// Operations of one kind.
#[derive(Debug)]
struct Lane<Input, Output> {
    inputs: Vec<Input>,
    replies: Vec<Reply<Output>>,
}

impl<Input, Output> Default for Lane<Input, Output> {
    fn default() -> Self {
        Self { inputs: Vec::new(), replies: Vec::new() }
    }
}

impl<Input, Output> Lane<Input, Output> {
    fn push(&mut self, input: Input, reply: Reply<Output>) {
        self.inputs.push(input);
        self.replies.push(reply);
    }

    fn answer(self, answers: impl IntoIterator<Item = Result<Output, StoreError>>) {
        for (reply, answer) in self.replies.into_iter().zip(answers) {
            // Whoever asked may have gone; what was done stays done.
            drop(reply.send(answer));
        }
    }

    fn fail(self, error: &StoreError) {
        self.answer(std::iter::repeat_with(|| Err(error.clone())));
    }
}

/// What waited.
#[derive(Debug, Default)]
pub(crate) struct Group {
    accepts: Lane<Arrival, Receipt>,
    arrives: Lane<Arriving, Arrived>,
    registers: Lane<Registration, Registered>,
    settles: Lane<Settling, Settled>,
    finishes: Lane<Finishing, Settled>,
    claims: Lane<Claim, Vec<Job>>,
    steps: Lane<Stepping, SinkHold>,
    redeliveries: Lane<Redelivery, i64>,
    operates: Lane<Operating, Done>,
    removals: Lane<Removal, Removed>,
    probes: Lane<Probe, ()>,
    calls: Lane<Calling, Called>,
    recalls: Lane<Recalling, u64>,
    inquiries: Lane<Inquiring, Inquired>,
}

/// The answers of a group that ran, not to be given before the commit.
#[derive(Debug)]
pub(crate) struct Answers {
    accepts: Vec<Receipt>,
    arrives: Vec<Result<Arrived, StoreError>>,
    registers: Vec<Registered>,
    settles: Vec<Result<Settled, StoreError>>,
    finishes: Vec<Result<Settled, StoreError>>,
    claims: Vec<Vec<Job>>,
    steps: Vec<SinkHold>,
    redeliveries: Vec<i64>,
    operates: Vec<Done>,
    removals: Vec<Removed>,
    calls: Vec<Called>,
    recalls: Vec<u64>,
    inquiries: Vec<Inquired>,
    /// Repeats that say something else than the first message did.
    pub(crate) contradictions: Vec<Contradiction>,
    /// What was due and cannot be read.
    pub(crate) set_aside: Vec<SetAside>,
    /// Whether there may be something to claim that was not there before.
    pub(crate) work: Work,
    /// Whether something was settled.
    pub(crate) settled: Work,
}

/// Whether it is worth ringing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// It is.
    New,
    /// Nothing happened.
    None,
}

impl Work {
    fn when(found: bool) -> Self {
        if found { Self::New } else { Self::None }
    }
}

impl Group {
    /// Sorts operations. The order between those that wait at the same time is free, since none of
    /// them has been answered.
    pub(crate) fn of(operations: impl IntoIterator<Item = Operation>) -> Self {
        let mut group = Self::default();
        for operation in operations {
            match operation {
                Operation::Accept(input, reply) => group.accepts.push(input, reply),
                Operation::Arrive(input, reply) => group.arrives.push(*input, reply),
                Operation::Register(input, reply) => group.registers.push(*input, reply),
                Operation::Settle(input, reply) => group.settles.push(*input, reply),
                Operation::Finish(input, reply) => group.finishes.push(*input, reply),
                // A worker that went away must not get jobs: they would wait for its lease to end.
                Operation::Claim(_, reply) if reply.is_closed() => {}
                Operation::Claim(input, reply) => group.claims.push(input, reply),
                Operation::Step(input, reply) => group.steps.push(*input, reply),
                Operation::Redeliver(input, reply) => group.redeliveries.push(*input, reply),
                Operation::Operate(input, reply) => group.operates.push(*input, reply),
                Operation::Remove(input, reply) => group.removals.push(input, reply),
                Operation::Probe(input, reply) => group.probes.push(input, reply),
                Operation::Call(input, reply) => group.calls.push(input, reply),
                Operation::Recall(input, reply) => group.recalls.push(input, reply),
                // As with claims: nobody would put these questions.
                Operation::Inquire(input, reply) if input.leases() && reply.is_closed() => {}
                Operation::Inquire(input, reply) => group.inquiries.push(*input, reply),
            }
        }
        group
    }

    pub(crate) fn len(&self) -> usize {
        [
            self.accepts.inputs.len(),
            self.arrives.inputs.len(),
            self.registers.inputs.len(),
            self.settles.inputs.len(),
            self.finishes.inputs.len(),
            self.claims.inputs.len(),
            self.steps.inputs.len(),
            self.redeliveries.inputs.len(),
            self.operates.inputs.len(),
            self.removals.inputs.len(),
            self.probes.inputs.len(),
            self.calls.inputs.len(),
            self.recalls.inputs.len(),
            self.inquiries.inputs.len(),
        ]
        .into_iter()
        .fold(0, usize::saturating_add)
    }

    /// Every callback to be stored.
    fn incoming<'a>(&'a self, endings: &'a [Option<RowChange>]) -> Vec<Incoming<'a>> {
        let accepts = self.accepts.inputs.iter().map(|one| (one, None));
        let arrives = self.arrives.inputs.iter().map(|one| &one.arrival);
        accepts.chain(arrives.zip(endings.iter().map(Option::as_ref))).collect()
    }

    /// Runs everything inside the transaction that `connection` is in.
    pub(crate) async fn run(
        &self,
        connection: &mut Connection,
        dialect: Dialect,
        order_block_ms: i64,
    ) -> Result<Answers, Fault> {
        let arrives = &self.arrives.inputs;
        let endings: Vec<_> = arrives.iter().map(Arriving::ending).collect();
        let incoming = self.incoming(&endings);
        let Accepted { receipts: mut accepts, contradictions, subjects } =
            accept::run(connection, dialect, &incoming).await?;
        let foretold = direct::foretold(arrives, &endings, subjects);
        let (registers, released) =
            register::run(connection, dialect, &self.registers.inputs).await?;
        let (settles, finishes) = (&self.settles.inputs, &self.finishes.inputs);
        let settlings = settles.iter().chain(arrives.iter().map(|one| &one.settling));
        let settlings: Vec<_> = settlings.collect();
        let mut verdicts =
            settle::run(connection, dialect, (&settlings, finishes), foretold).await?;
        // Before the claims, so that what is due now is handed out now.
        let (operates, freed) = operate::run(connection, dialect, &self.operates.inputs).await?;
        let recalls = held::run(connection, dialect, &self.recalls.inputs).await?;
        let recalled = recalls.iter().any(|count| *count > 0);
        let Handed { jobs: claims, set_aside } =
            lease::run(connection, dialect, &self.claims.inputs, order_block_ms).await?;
        let steps = sinks::run(connection, &self.steps.inputs).await?;
        let redeliveries = deliveries::redeliver(connection, &self.redeliveries.inputs).await?;
        let removals = removal::run(connection, dialect, &self.removals.inputs).await?;
        probe::run(connection, &self.probes.inputs).await?;
        let calls = log::run(connection, dialect, &self.calls.inputs).await?;
        let inquiries = inquiries::run(connection, dialect, &self.inquiries.inputs).await?;
        outbox::append(connection, &verdicts.events).await?;
        let settled = !settlings.is_empty() || !finishes.is_empty();
        let receipts = accepts.split_off(self.accepts.inputs.len().min(accepts.len()));
        let ends = verdicts.settles.split_off(settles.len().min(verdicts.settles.len()));
        let arrived = receipts.into_iter().zip(ends);
        let arrives = arrived.map(|(receipt, end)| end.map(|settled| Arrived { receipt, settled }));
        let arrives: Vec<_> = arrives.collect();
        let stored = accepts.iter().any(|receipt| *receipt != Receipt::Seen);
        // What was decided before it was stored leaves nothing to claim, unless it did not hold.
        let left = |arrived: &Result<Arrived, StoreError>| {
            !matches!(arrived, Ok(Arrived { settled: Settled::Done { .. }, .. }))
        };
        let ended = !settles.is_empty() || !finishes.is_empty() || arrives.iter().any(left);
        let woken = verdicts.woken || released > 0 || freed > 0 || recalled;
        Ok(Answers {
            work: Work::when(stored || ended || woken),
            settled: Work::when(settled),
            accepts,
            arrives,
            contradictions,
            set_aside,
            registers,
            settles: verdicts.settles,
            finishes: verdicts.finishes,
            claims,
            steps,
            redeliveries,
            operates,
            removals,
            calls,
            recalls,
            inquiries,
        })
    }

    /// Answers everybody.
    pub(crate) fn answer(self, answers: Answers) {
        self.accepts.answer(answers.accepts.into_iter().map(Ok));
        self.arrives.answer(answers.arrives);
        self.registers.answer(answers.registers.into_iter().map(Ok));
        self.settles.answer(answers.settles);
        self.finishes.answer(answers.finishes);
        self.claims.answer(answers.claims.into_iter().map(Ok));
        self.steps.answer(answers.steps.into_iter().map(Ok));
        self.redeliveries.answer(answers.redeliveries.into_iter().map(Ok));
        self.operates.answer(answers.operates.into_iter().map(Ok));
        self.removals.answer(answers.removals.into_iter().map(Ok));
        self.probes.answer(std::iter::repeat_with(|| Ok(())));
        self.calls.answer(answers.calls.into_iter().map(Ok));
        self.recalls.answer(answers.recalls.into_iter().map(Ok));
        self.inquiries.answer(answers.inquiries.into_iter().map(Ok));
    }

    /// Tells everybody that nothing was done.
    pub(crate) fn fail(self, error: &StoreError) {
        self.accepts.fail(error);
        self.arrives.fail(error);
        self.registers.fail(error);
        self.settles.fail(error);
        self.finishes.fail(error);
        self.claims.fail(error);
        self.steps.fail(error);
        self.redeliveries.fail(error);
        self.operates.fail(error);
        self.removals.fail(error);
        self.probes.fail(error);
        self.calls.fail(error);
        self.recalls.fail(error);
        self.inquiries.fail(error);
    }

    /// What may share a transaction.
    ///
    /// PostgreSQL locks rows: a repeat locks the notification that it counts, a settlement the
    /// one it ends. Two hosts with both kinds in one transaction could wait for each other, so
    /// what comes in, what is worked on and what is
    /// delivered are committed apart. SQLite has one writer.
    pub(crate) fn parts(self, dialect: Dialect) -> Vec<Self> {
        match dialect {
            Dialect::Sqlite => vec![self],
            Dialect::Postgres => {
                let Self {
                    accepts,
                    arrives,
                    registers,
                    settles,
                    finishes,
                    claims,
                    steps,
                    redeliveries,
                    operates,
                    removals,
                    probes,
                    calls,
                    recalls,
                    inquiries,
                } = self;
                let came_in = Self { accepts, ..Self::default() };
                let arrived = Self { arrives, ..Self::default() };
                let registered = Self { registers, ..Self::default() };
                let work = Self { settles, finishes, claims, recalls, ..Self::default() };
                let delivered = Self { steps, redeliveries, ..Self::default() };
                let operated = Self { operates, ..Self::default() };
                let removed = Self { removals, ..Self::default() };
                let probed = Self { probes, ..Self::default() };
                let called = Self { calls, ..Self::default() };
                let inquired = Self { inquiries, ..Self::default() };
                [
                    came_in, arrived, registered, work, delivered, operated, removed, probed,
                    called, inquired,
                ]
                .into_iter()
                .filter(|part| part.len() > 0)
                .collect()
            }
        }
    }

    /// A group for each operation.
    pub(crate) fn split(self) -> Vec<Self> {
        let mut groups = Vec::with_capacity(self.len());
        let one = |accepts| Self { accepts, ..Self::default() };
        groups.extend(single(self.accepts).map(one));
        let one = |arrives| Self { arrives, ..Self::default() };
        groups.extend(single(self.arrives).map(one));
        let one = |registers| Self { registers, ..Self::default() };
        groups.extend(single(self.registers).map(one));
        let one = |settles| Self { settles, ..Self::default() };
        groups.extend(single(self.settles).map(one));
        let one = |finishes| Self { finishes, ..Self::default() };
        groups.extend(single(self.finishes).map(one));
        let one = |claims| Self { claims, ..Self::default() };
        groups.extend(single(self.claims).map(one));
        let one = |steps| Self { steps, ..Self::default() };
        groups.extend(single(self.steps).map(one));
        let one = |redeliveries| Self { redeliveries, ..Self::default() };
        groups.extend(single(self.redeliveries).map(one));
        let one = |operates| Self { operates, ..Self::default() };
        groups.extend(single(self.operates).map(one));
        let one = |removals| Self { removals, ..Self::default() };
        groups.extend(single(self.removals).map(one));
        let one = |probes| Self { probes, ..Self::default() };
        groups.extend(single(self.probes).map(one));
        let one = |calls| Self { calls, ..Self::default() };
        groups.extend(single(self.calls).map(one));
        let one = |recalls| Self { recalls, ..Self::default() };
        groups.extend(single(self.recalls).map(one));
        let one = |inquiries| Self { inquiries, ..Self::default() };
        groups.extend(single(self.inquiries).map(one));
        groups
    }
}

fn single<Input, Output>(lane: Lane<Input, Output>) -> impl Iterator<Item = Lane<Input, Output>> {
    let pairs = lane.inputs.into_iter().zip(lane.replies);
    pairs.map(|(input, reply)| Lane { inputs: vec![input], replies: vec![reply] })
}
