//! The data of one store: what a run knows, may do and has done so far.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::time::Instant;
use wasmtime::UpdateDeadline;

use crate::cpu::Mark;
use crate::fault::{Halt, Phase};
use crate::grants::Grants;
use crate::http::{CallAnswer, CallError, CallName, CallRequest, Heard};
use crate::limits::Limits;
use crate::meter::{MemoryMeter, Meter};
use crate::outside::{Document, DocumentRef, Outside, OutsideError};
use crate::run::RunInput;
use crate::staging::Staging;

/// What is the same for all runs of one plugin.
#[derive(Debug)]
pub(crate) struct Terms {
    /// Empty while the plugin is being described.
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) limits: Limits,
    pub(crate) grants: Grants,
    pub(crate) config: serde_json::Value,
    /// Identity of the configuration: the start of its SHA-256, in hexadecimal.
    pub(crate) revision: String,
}

/// The data of one store.
pub(crate) struct RunState {
    pub(crate) terms: Arc<Terms>,
    pub(crate) meter: Meter,
    pub(crate) memory: MemoryMeter,
    pub(crate) phase: Phase,
    /// Processor time that the guest may still use in this phase.
    time_left: Duration,
    /// Up to where its processor time is counted.
    pub(crate) mark: Mark,
    /// When it was counted last.
    counted_at: Instant,
    /// The net under the ticks: waiting for a processor does not count against a guest, but not
    /// without end.
    deadline: Instant,
    run: Option<Run>,
}

/// The run in hand. There is none while a plugin is being described.
pub(crate) struct Run {
    pub(crate) input: RunInput,
    pub(crate) outside: Box<dyn Outside>,
    pub(crate) staging: Staging,
    pub(crate) target: Option<String>,
    events_in_phase: u32,
    ids_in_phase: u32,
    calls_in_phase: u32,
    /// What the guest was told of its calls.
    pub(crate) heard: Vec<Heard>,
    outside_left: Duration,
    http_left: Duration,
}

impl RunState {
    /// A store's data for `describe`: no run.
    pub(crate) fn describing(terms: Arc<Terms>) -> Self {
        let memory = MemoryMeter::new(&terms.limits);
        let now = Instant::now();
        Self {
            terms,
            meter: Meter::default(),
            memory,
            phase: Phase::Start,
            time_left: Duration::ZERO,
            mark: Mark::default(),
            counted_at: now,
            deadline: now,
            run: None,
        }
    }

    /// A store's data for a run.
    pub(crate) fn running(terms: Arc<Terms>, input: RunInput, outside: Box<dyn Outside>) -> Self {
        let run = Run {
            staging: Staging::new(input.subject.as_ref()),
            input,
            outside,
            target: None,
            events_in_phase: 0,
            ids_in_phase: 0,
            calls_in_phase: 0,
            heard: Vec::new(),
            outside_left: Duration::from_millis(terms.limits.outside_ms.into()),
            http_left: Duration::from_millis(terms.limits.http_ms.into()),
        };
        Self { run: Some(run), ..Self::describing(terms) }
    }

    /// Enters a phase: its wall time starts now.
    pub(crate) fn begin(&mut self, phase: Phase) {
        self.phase = phase;
        self.time_left = Duration::from_millis(self.terms.limits.wall_ms(phase).into());
        self.counted_at = Instant::now();
        let net = self.time_left.saturating_mul(NET);
        self.deadline = self.counted_at.checked_add(net).unwrap_or(self.counted_at);
        if let Some(run) = &mut self.run {
            run.events_in_phase = 0;
            run.ids_in_phase = 0;
            run.calls_in_phase = 0;
        }
    }

    /// Called at each tick while the guest runs: stops it at its deadline, else lets others run.
    ///
    /// What counts is time in which the guest ran: on a busy machine it yields at each tick and
    /// waits for its turn, and that is not its fault. What the host did for it counts, too.
    pub(crate) fn tick(&mut self) -> wasmtime::Result<UpdateDeadline> {
        let now = Instant::now();
        // The mark may be from before this phase began; then the clock on the wall knows better.
        let ran = self.mark.lap().min(now.saturating_duration_since(self.counted_at));
        self.counted_at = now;
        self.time_left = self.time_left.saturating_sub(ran);
        if self.time_left.is_zero() || now >= self.deadline {
            return Err(Halt::Deadline(self.terms.limits.wall_ms(self.phase)).into());
        }
        Ok(UpdateDeadline::Yield(1))
    }

    /// Milliseconds before the deadline.
    pub(crate) fn left_ms(&self) -> u32 {
        let left = self.deadline.saturating_duration_since(Instant::now());
        u32::try_from(left.min(self.time_left).as_millis()).unwrap_or(u32::MAX)
    }

    /// The run, where a phase of it is being called.
    ///
    /// # Errors
    /// [`Halt::Contract`] in a start function and in `describe`.
    pub(crate) fn run(&mut self, import: &'static str) -> Result<&mut Run, Halt> {
        let outside_a_phase = matches!(self.phase, Phase::Start | Phase::Describe);
        match &mut self.run {
            Some(run) if !outside_a_phase => Ok(run),
            Some(_) | None => {
                Err(Halt::Contract(format!("called {import} in {}, outside a run", self.phase)))
            }
        }
    }

    /// The run, whatever is being called.
    pub(crate) fn run_if_any(&mut self) -> Option<&mut Run> {
        self.run.as_mut()
    }

    /// Asks the outside for documents. The wait counts against the run's own allowance for it and
    /// not against the wall time of the phase. `None` where the allowance ran out.
    pub(crate) async fn ask(
        &mut self,
        names: &[DocumentRef],
    ) -> Option<Result<Vec<Option<Document>>, OutsideError>> {
        let run = self.run.as_mut()?;
        let asked = Instant::now();
        let answer = tokio::time::timeout(run.outside_left, run.outside.documents(names)).await;
        let waited = asked.elapsed();
        run.outside_left = run.outside_left.saturating_sub(waited);
        self.deadline = self.deadline.checked_add(waited).unwrap_or(self.deadline);
        answer.ok()
    }

    /// Calls an endpoint. The wait counts against the run's allowance for endpoints, and what is
    /// more against its allowance for the store, which keeps the record; not against the wall time
    /// of the phase. `None` where both ran out.
    pub(crate) async fn call_out(
        &mut self,
        request: &CallRequest,
    ) -> Option<Result<CallAnswer, CallError>> {
        let run = self.run.as_mut()?;
        let asked = Instant::now();
        let endpoint = Duration::from_millis(request.timeout_ms.into());
        let net = endpoint.saturating_add(run.outside_left);
        let answer = tokio::time::timeout(net, run.outside.call(request)).await;
        let waited = asked.elapsed();
        let beyond = waited.saturating_sub(endpoint);
        run.http_left = run.http_left.saturating_sub(waited.min(endpoint));
        run.outside_left = run.outside_left.saturating_sub(beyond);
        self.deadline = self.deadline.checked_add(waited).unwrap_or(self.deadline);
        let answer = answer.ok();
        // Where there is none in time, the guest is told of a failed call.
        let unanswered = || Err(CallError::Failed("the call was not recorded in time".to_owned()));
        run.heard.push(Heard {
            name: request.name.clone(),
            endpoint: request.endpoint.clone(),
            digest: request.digest(),
            answer: answer.clone().unwrap_or_else(unanswered),
        });
        answer
    }
}

impl Run {
    /// The time that the guest reads.
    pub(crate) fn now_ms(&self) -> u64 {
        self.input.now_ms.max(self.input.notification.received_at)
    }

    /// What is left of the allowance for endpoints, in milliseconds.
    pub(crate) fn http_left_ms(&self) -> u32 {
        u32::try_from(self.http_left.as_millis()).unwrap_or(u32::MAX)
    }

    /// The name of a call that brings no key of its own: the same when the phase is run again.
    pub(crate) fn next_call_name(&mut self, phase: Phase) -> CallName {
        self.calls_in_phase = self.calls_in_phase.saturating_add(1);
        CallName::Made { phase, ordinal: self.calls_in_phase }
    }

    /// The id of the next event: the same when the phase is run again.
    pub(crate) fn next_event_id(&mut self, phase: Phase) -> String {
        self.events_in_phase = self.events_in_phase.saturating_add(1);
        format!("{}.{phase}.{}", self.input.notification.id, self.events_in_phase)
    }

    /// A version 7 UUID whose random part is made of notification, phase and ordinal.
    pub(crate) fn next_id(&mut self, phase: Phase) -> String {
        self.ids_in_phase = self.ids_in_phase.saturating_add(1);
        let seed = format!("{}\0{phase}\0{}", self.input.notification.id, self.ids_in_phase);
        let digest: [u8; 32] = Sha256::digest(seed.as_bytes()).into();
        let mut random = [0u8; 10];
        for (to, from) in random.iter_mut().zip(digest) {
            *to = from;
        }
        let received = self.input.notification.received_at;
        uuid::Builder::from_unix_timestamp_millis(received, &random).into_uuid().to_string()
    }
}

/// How many times its limit a phase may take in all, waiting for a processor included.
const NET: u32 = 20;
