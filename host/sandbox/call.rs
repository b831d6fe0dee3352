//! One run: a fresh store, limits on, the phases in order, the trap sorted.

use tokio::time::Instant;
use wasmtime::{Engine, Store};

use crate::bindings::callgate::processor::types::PhaseError;
use crate::bindings::exports::callgate::processor::phases::{CommitInfo, Transition};
use crate::bindings::exports::callgate::processor::plugin as wit;
use crate::bindings::{Processor, ProcessorPre};
use crate::cpu::watched;
use crate::fault::{self, Fault, FaultKind, Halt, Phase};
use crate::limits::REASON_BYTES;
use crate::outside::{DocumentRef, Outside};
use crate::plugin::Plugin;
use crate::run::{Commit, Cost, Draft, Event, Report, RunInput, Stop};
use crate::state::RunState;
use crate::text;

impl Plugin {
    /// Runs the five phases before the commit, in order, on one fresh instance.
    ///
    /// Waits for a free slot first. The guest yields each millisecond; dropping the future stops
    /// it and frees everything. In between it holds its thread, so where others must not wait for
    /// guests, poll it on a runtime of its own. Needs a tokio runtime that has its timer on.
    pub async fn run(&self, input: RunInput, outside: Box<dyn Outside>) -> Report<Draft> {
        // Never closed, so this never fails.
        let _slot = self.rooms.slots.acquire().await;
        let _awake = self.rooms.ticker.awake();
        let state = RunState::running(self.terms.clone(), input, outside);
        let mark = state.mark.clone();
        let mut session = Session::open(&self.rooms.engine, state);
        let result = watched(mark, session.before_commit(&self.pre)).await;
        session.report(result)
    }

    /// Runs `after` alone, on a fresh instance, once the draft was committed.
    ///
    /// `input.scratch` is the scratch of the report of the run that was committed. The events are
    /// to be committed by themselves. Otherwise as [`Self::run`].
    pub async fn run_after(
        &self,
        input: RunInput,
        commit: Commit,
        outside: Box<dyn Outside>,
    ) -> Report<Vec<Event>> {
        let _slot = self.rooms.slots.acquire().await;
        let _awake = self.rooms.ticker.awake();
        let state = RunState::running(self.terms.clone(), input, outside);
        let mark = state.mark.clone();
        let mut session = Session::open(&self.rooms.engine, state);
        let result = watched(mark, session.after_commit(&self.pre, commit)).await;
        session.report(result)
    }
}

/// A store and the instance in it. Dropped after one run, whatever happened.
pub(crate) struct Session {
    store: Store<RunState>,
    guest: Option<Processor>,
    costs: Vec<Cost>,
}

/// One call into the guest.
enum Call<'a> {
    Start(&'a ProcessorPre<RunState>),
    Describe,
    Prepare,
    Check,
    NextState,
    Action,
    Save,
    After(CommitInfo),
}

impl Call<'_> {
    fn phase(&self) -> Phase {
        match self {
            Self::Start(_) => Phase::Start,
            Self::Describe => Phase::Describe,
            Self::Prepare => Phase::Prepare,
            Self::Check => Phase::Check,
            Self::NextState => Phase::NextState,
            Self::Action => Phase::Action,
            Self::Save => Phase::Save,
            Self::After(_) => Phase::After,
        }
    }
}

/// What a call answers.
enum Answer {
    Done,
    Described(Box<wit::Descriptor>),
    Preload(Vec<DocumentRef>),
    Chosen(Transition),
}

impl Session {
    /// Makes a store with every limit on that does not hang on the phase.
    pub(crate) fn open(engine: &Engine, state: RunState) -> Self {
        let terms = state.terms.clone();
        let mut store = Store::new(engine, state);
        store.limiter(|state| &mut state.memory);
        store.set_hostcall_fuel(terms.limits.hostcall_bytes);
        store.set_max_component_handles(terms.limits.handles);
        store.epoch_deadline_callback(|mut store| store.data_mut().tick());
        Self { store, guest: None, costs: Vec::with_capacity(PHASES_OF_A_RUN) }
    }

    /// Makes the instance and asks the plugin to describe itself.
    ///
    /// # Errors
    /// The fault that stopped it.
    pub(crate) async fn describe(
        &mut self,
        pre: &ProcessorPre<RunState>,
    ) -> Result<wit::Descriptor, Fault> {
        let broken = |session: &Self, stop: Stop| match stop {
            Stop::Fault(fault) => fault,
            Stop::Ignore(_) | Stop::Reject { .. } | Stop::Retry { .. } => {
                session.fault(&Halt::Host("describe cannot stop a run".to_owned()).into(), 0)
            }
        };
        if let Err(stop) = self.call(Call::Start(pre)).await {
            return Err(broken(self, stop));
        }
        match self.call(Call::Describe).await {
            Ok(Answer::Described(descriptor)) => Ok(*descriptor),
            Ok(Answer::Done | Answer::Preload(_) | Answer::Chosen(_)) => {
                Err(self.fault(&Halt::Host("describe answered otherwise".to_owned()).into(), 0))
            }
            Err(stop) => Err(broken(self, stop)),
        }
    }

    async fn before_commit(&mut self, pre: &ProcessorPre<RunState>) -> Result<Draft, Stop> {
        self.call(Call::Start(pre)).await?;
        if let Answer::Preload(names) = self.call(Call::Prepare).await?
            && !names.is_empty()
        {
            let loaded = self.store.data_mut().preload(names).await;
            loaded.map_err(|halt| self.stop(halt))?;
        }
        self.call(Call::Check).await?;
        if let Answer::Chosen(transition) = self.call(Call::NextState).await? {
            self.choose(transition)?;
        }
        self.call(Call::Action).await?;
        self.call(Call::Save).await?;
        let Some(run) = self.store.data_mut().run_if_any() else { return Ok(Draft::default()) };
        let (writes, events) = run.staging.take();
        Ok(Draft { target: run.target.take(), writes, events })
    }

    async fn after_commit(
        &mut self,
        pre: &ProcessorPre<RunState>,
        commit: Commit,
    ) -> Result<Vec<Event>, Stop> {
        let Commit { state, version, events, target } = commit;
        if let Some(run) = self.store.data_mut().run_if_any() {
            run.target = target;
        }
        self.call(Call::Start(pre)).await?;
        self.call(Call::After(CommitInfo { state, version, events })).await?;
        let staged = self.store.data_mut().run_if_any().map(|run| run.staging.take());
        Ok(staged.map(|(_, events)| events).unwrap_or_default())
    }

    /// Takes the state that `next-state` chose. Whether the step was declared is for the caller.
    fn choose(&mut self, transition: Transition) -> Result<(), Stop> {
        let target = match transition {
            Transition::Stay => return Ok(()),
            Transition::MoveTo(target) => target,
        };
        if !text::is_code(&target) {
            let text = "chose a state that is not 1 to 64 of A-Z a-z 0-9 _ -";
            return Err(self.stop(Halt::Contract(text.to_owned())));
        }
        match self.store.data_mut().run_if_any() {
            Some(run) if run.input.subject.is_some() => {
                run.target = Some(target);
                Ok(())
            }
            Some(_) | None => {
                let text = format!("chose the state {target}, but this run has no subject");
                Err(self.stop(Halt::Contract(text)))
            }
        }
    }

    /// Calls the guest with fuel and deadline of the phase, and sorts what comes back.
    async fn call(&mut self, call: Call<'_>) -> Result<Answer, Stop> {
        let phase = call.phase();
        let begun = Instant::now();
        self.store.data_mut().begin(phase);
        let fuel = self.store.data().terms.limits.fuel_of(phase);
        let outcome = match self.store.set_fuel(fuel) {
            Ok(()) => {
                self.store.set_epoch_deadline(1);
                self.enter(call).await
            }
            Err(error) => Err(error),
        };
        let fuel_used = fuel.saturating_sub(self.store.get_fuel().unwrap_or(fuel));
        self.costs.push(Cost { phase, fuel: fuel_used, duration: begun.elapsed() });
        match outcome {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(stop_of(error)),
            Err(error) => Err(Stop::Fault(self.fault(&error, fuel_used))),
        }
    }

    async fn enter(&mut self, call: Call<'_>) -> wasmtime::Result<Result<Answer, PhaseError>> {
        let store = &mut self.store;
        if let Call::Start(pre) = call {
            self.guest = Some(pre.instantiate_async(store).await?);
            return Ok(Ok(Answer::Done));
        }
        let Some(guest) = &self.guest else {
            return Err(Halt::Host("there is no instance".to_owned()).into());
        };
        let phases = guest.callgate_processor_phases();
        let done = |()| Answer::Done;
        Ok(match call {
            Call::Start(_) => Ok(Answer::Done),
            Call::Describe => {
                let descriptor = guest.callgate_processor_plugin().call_describe(store).await?;
                Ok(Answer::Described(Box::new(descriptor)))
            }
            Call::Prepare => phases.call_prepare(store).await?.map(|prepared| {
                Answer::Preload(prepared.preload.into_iter().map(Into::into).collect())
            }),
            Call::Check => phases.call_check(store).await?.map(done),
            Call::NextState => phases.call_next_state(store).await?.map(Answer::Chosen),
            Call::Action => phases.call_action(store).await?.map(done),
            Call::Save => phases.call_save(store).await?.map(done),
            Call::After(commit) => phases.call_after(store, &commit).await?.map(done),
        })
    }

    fn stop(&self, halt: Halt) -> Stop {
        let fuel_used = self.costs.last().map_or(0, |cost| cost.fuel);
        Stop::Fault(self.fault(&halt.into(), fuel_used))
    }

    fn fault(&self, error: &wasmtime::Error, fuel_used: u64) -> Fault {
        let state = self.store.data();
        let (kind, message) = fault::sort(error);
        if kind != FaultKind::Host {
            let labels = [("plugin", state.terms.name.clone()), ("kind", kind.code().to_owned())];
            metrics::counter!("callgate_sandbox_faults_total", &labels).increment(1);
        }
        Fault { kind, phase: state.phase, fuel_used, message }
    }

    fn report<T>(mut self, result: Result<T, Stop>) -> Report<T> {
        let state = self.store.data_mut();
        let (scratch, reads, answers, calls) = match state.run_if_any() {
            Some(run) => {
                let scratch = std::mem::take(&mut run.input.scratch);
                let calls = std::mem::take(&mut run.heard);
                (scratch, run.staging.reads(), run.staging.answers(), calls)
            }
            None => Default::default(),
        };
        Report {
            result,
            phase: state.phase,
            scratch,
            reads,
            answers,
            calls,
            log_lines: state.meter.log_lines,
            log_lines_dropped: state.meter.log_lines_dropped,
            host_calls: state.meter.host_calls,
            memory_bytes: state.memory.bytes(),
            costs: self.costs,
        }
    }
}

/// What the guest gave as its reason; the case decides, a bad code does not change it.
fn stop_of(error: PhaseError) -> Stop {
    match error {
        PhaseError::Ignore(text) => Stop::Ignore(text::printable(&text, REASON_BYTES)),
        PhaseError::Reject(rejection) => {
            let (code, message) = reason(rejection.code, &rejection.message);
            Stop::Reject { code, message }
        }
        PhaseError::Retry(hint) => {
            let (code, message) = reason(hint.code, &hint.message);
            Stop::Retry { code, message, after_ms: hint.after_ms }
        }
    }
}

fn reason(code: String, message: &str) -> (String, String) {
    if text::is_reason_code(&code) {
        return (code, text::printable(message, REASON_BYTES));
    }
    let code = text::printable(&code, REASON_CODE_BYTES);
    let message = format!("code was `{code}`: {message}");
    (BAD_CODE.to_owned(), text::printable(&message, REASON_BYTES))
}

const PHASES_OF_A_RUN: usize = 6;
const REASON_CODE_BYTES: usize = 63;
const BAD_CODE: &str = "bad-code";
