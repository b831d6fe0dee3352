//! `exchange`: the notification in hand and the run's own facts.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::bindings::callgate::processor::exchange::{Host, Phase as WitPhase, RunMode as WitMode};
use crate::bindings::callgate::processor::types;
use crate::fault::{Halt, Phase};
use crate::imports::Refusal;
use crate::json::{self, Bounds};
use crate::outside::Document;
use crate::run::{Money, RunMode};
use crate::state::{Run, RunState};

impl Host for RunState {
    fn notification_id(&mut self) -> wasmtime::Result<String> {
        self.fact("exchange.notification-id", |run| run.input.notification.id.clone())
    }

    fn channel(&mut self) -> wasmtime::Result<String> {
        self.fact("exchange.channel", |run| run.input.notification.channel.clone())
    }

    fn event_type(&mut self) -> wasmtime::Result<String> {
        self.fact("exchange.event-type", |run| run.input.notification.event_type.clone())
    }

    fn delivery_key(&mut self) -> wasmtime::Result<String> {
        self.fact("exchange.delivery-key", |run| run.input.notification.delivery_key.clone())
    }

    fn meaning_key(&mut self) -> wasmtime::Result<String> {
        self.fact("exchange.meaning-key", |run| run.input.notification.meaning_key.clone())
    }

    fn occurred_at(&mut self) -> wasmtime::Result<Option<u64>> {
        self.fact("exchange.occurred-at", |run| run.input.notification.occurred_at)
    }

    fn received_at(&mut self) -> wasmtime::Result<u64> {
        self.fact("exchange.received-at", |run| run.input.notification.received_at)
    }

    fn body(&mut self) -> wasmtime::Result<String> {
        self.fact("exchange.body", |run| run.input.notification.body.clone())
    }

    fn amount(&mut self) -> wasmtime::Result<Option<types::Money>> {
        self.fact("exchange.amount", |run| run.input.notification.amount.clone().map(Into::into))
    }

    fn refunded_total(&mut self) -> wasmtime::Result<Option<types::Money>> {
        self.fact("exchange.refunded-total", |run| {
            run.input.notification.refunded_total.clone().map(Into::into)
        })
    }

    fn order_amount(&mut self) -> wasmtime::Result<Option<types::Money>> {
        self.fact("exchange.order-amount", |run| {
            run.input.notification.order_amount.clone().map(Into::into)
        })
    }

    fn summary(&mut self) -> wasmtime::Result<String> {
        let phase = self.phase;
        Ok(self.fact("exchange.summary", |run| summary(run, phase))??)
    }

    fn current_phase(&mut self) -> wasmtime::Result<WitPhase> {
        let phase = self.phase;
        self.fact("exchange.current-phase", |_| wit_phase(phase))?
    }

    fn mode(&mut self) -> wasmtime::Result<WitMode> {
        self.fact("exchange.mode", |run| match run.input.mode {
            RunMode::Live => WitMode::Live,
            RunMode::Replay => WitMode::Replay,
            RunMode::DryRun => WitMode::DryRun,
        })
    }

    fn attempt(&mut self) -> wasmtime::Result<u32> {
        self.fact("exchange.attempt", |run| run.input.attempt)
    }

    fn remaining_ms(&mut self) -> wasmtime::Result<u32> {
        let left = self.left_ms();
        self.fact("exchange.remaining-ms", |_| left)
    }

    fn business(&mut self) -> wasmtime::Result<String> {
        self.fact("exchange.business", |run| run.input.notification.business.clone())
    }

    fn scene(&mut self) -> wasmtime::Result<String> {
        self.fact("exchange.scene", |run| run.input.notification.scene.clone())
    }

    fn order_no(&mut self) -> wasmtime::Result<Option<String>> {
        self.fact("exchange.order-no", |run| run.input.notification.order_no.clone())
    }

    fn transaction_id(&mut self) -> wasmtime::Result<Option<String>> {
        self.fact("exchange.transaction-id", |run| run.input.notification.transaction_id.clone())
    }

    fn refund_id(&mut self) -> wasmtime::Result<Option<String>> {
        self.fact("exchange.refund-id", |run| run.input.notification.refund_id.clone())
    }

    fn refund_no(&mut self) -> wasmtime::Result<Option<String>> {
        self.fact("exchange.refund-no", |run| run.input.notification.refund_no.clone())
    }

    fn payer(&mut self) -> wasmtime::Result<Option<String>> {
        self.fact("exchange.payer", |run| run.input.notification.payer.clone())
    }

    fn subject(&mut self) -> wasmtime::Result<Option<types::Document>> {
        self.fact("exchange.subject", |run| run.input.subject.clone().map(Into::into))
    }

    fn target_state(&mut self) -> wasmtime::Result<Option<String>> {
        self.fact("exchange.target-state", |run| run.target.clone())
    }

    fn scratch(&mut self) -> wasmtime::Result<String> {
        self.fact("exchange.scratch", |run| run.input.scratch.clone())
    }

    fn set_scratch(&mut self, value: String) -> wasmtime::Result<Result<(), String>> {
        let outcome = self.keep_scratch(value);
        self.answer(outcome)
    }
}

impl RunState {
    fn keep_scratch(&mut self, value: String) -> Result<(), Refusal> {
        self.run("exchange.set-scratch")?;
        self.admit(value.len())?;
        let limits = &self.terms.limits;
        json::check(&value, Bounds { bytes: limits.scratch_bytes, depth: limits.json_depth })?;
        self.run("exchange.set-scratch")?.input.scratch = value;
        Ok(())
    }
}

impl From<Refusal> for String {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Denied(text)
            | Refusal::Quota(text)
            | Refusal::Invalid(text)
            | Refusal::Unavailable(text) => text,
            Refusal::Halt(halt) => halt.to_string(),
        }
    }
}

impl From<Money> for types::Money {
    fn from(money: Money) -> Self {
        Self { minor_units: money.minor, currency: money.currency }
    }
}

impl From<Document> for types::Document {
    fn from(document: Document) -> Self {
        let name = document.name;
        Self {
            ref_: types::DocumentRef { collection: name.collection, key: name.key },
            version: document.version,
            state: document.state,
            body: document.body,
            updated_at: document.updated_at,
        }
    }
}

fn wit_phase(phase: Phase) -> wasmtime::Result<WitPhase> {
    match phase {
        Phase::Prepare => Ok(WitPhase::Prepare),
        Phase::Check => Ok(WitPhase::Check),
        Phase::NextState => Ok(WitPhase::NextState),
        Phase::Action => Ok(WitPhase::Action),
        Phase::Save => Ok(WitPhase::Save),
        Phase::After => Ok(WitPhase::After),
        Phase::Start | Phase::Describe => {
            Err(Halt::Host("asked for the phase where there is none".to_owned()).into())
        }
    }
}

/// Everything in one JSON object, but for what differs from run to run (`remaining-ms`): the
/// guest must burn the same fuel over it every time.
fn summary(run: &Run, phase: Phase) -> Result<String, Halt> {
    let input = &run.input;
    let notification = &input.notification;
    let summary = Summary {
        notification_id: &notification.id,
        channel: &notification.channel,
        event_type: &notification.event_type,
        delivery_key: &notification.delivery_key,
        meaning_key: &notification.meaning_key,
        occurred_at: notification.occurred_at,
        received_at: notification.received_at,
        body: Some(raw(&notification.body)?),
        amount: notification.amount.as_ref().map(Into::into),
        refunded_total: notification.refunded_total.as_ref().map(Into::into),
        order_amount: notification.order_amount.as_ref().map(Into::into),
        current_phase: phase.as_str(),
        mode: input.mode.as_str(),
        attempt: input.attempt,
        business: &notification.business,
        scene: &notification.scene,
        order_no: notification.order_no.as_deref(),
        transaction_id: notification.transaction_id.as_deref(),
        refund_id: notification.refund_id.as_deref(),
        refund_no: notification.refund_no.as_deref(),
        payer: notification.payer.as_deref(),
        subject: input.subject.as_ref().map(subject).transpose()?,
        target_state: run.target.as_deref(),
        scratch: if input.scratch.is_empty() { None } else { Some(raw(&input.scratch)?) },
    };
    serde_json::to_string(&summary).map_err(unwritable)
}

/// A JSON text as a value. What the host itself passed in must parse.
fn raw(text: &str) -> Result<&RawValue, Halt> {
    serde_json::from_str(text).map_err(unwritable)
}

fn unwritable(error: serde_json::Error) -> Halt {
    Halt::Host(format!("summary has no JSON: line {} column {}", error.line(), error.column()))
}

fn subject(document: &Document) -> Result<SubjectView<'_>, Halt> {
    let name = &document.name;
    Ok(SubjectView {
        name: RefView { collection: &name.collection, key: &name.key },
        version: document.version,
        state: &document.state,
        body: raw(&document.body)?,
        updated_at: document.updated_at,
    })
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Summary<'a> {
    notification_id: &'a str,
    channel: &'a str,
    event_type: &'a str,
    delivery_key: &'a str,
    meaning_key: &'a str,
    occurred_at: Option<u64>,
    received_at: u64,
    body: Option<&'a RawValue>,
    amount: Option<MoneyView<'a>>,
    refunded_total: Option<MoneyView<'a>>,
    order_amount: Option<MoneyView<'a>>,
    current_phase: &'a str,
    mode: &'a str,
    attempt: u32,
    business: &'a str,
    scene: &'a str,
    order_no: Option<&'a str>,
    transaction_id: Option<&'a str>,
    refund_id: Option<&'a str>,
    refund_no: Option<&'a str>,
    payer: Option<&'a str>,
    subject: Option<SubjectView<'a>>,
    target_state: Option<&'a str>,
    scratch: Option<&'a RawValue>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct MoneyView<'a> {
    minor_units: i64,
    currency: &'a str,
}

impl<'a> From<&'a Money> for MoneyView<'a> {
    fn from(money: &'a Money) -> Self {
        Self { minor_units: money.minor, currency: &money.currency }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct SubjectView<'a> {
    #[serde(rename = "ref")]
    name: RefView<'a>,
    version: u64,
    state: &'a str,
    body: &'a RawValue,
    updated_at: u64,
}

#[derive(Serialize)]
struct RefView<'a> {
    collection: &'a str,
    key: &'a str,
}
