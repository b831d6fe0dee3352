//! One question: put, heard, stored like a callback, and ended.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use callgate_core::gateway::Refusal;
use callgate_core::gateway::inquiry::{Incoming, Outgoing, Question, Silence, Stamp, Told};
use callgate_core::notification::Verified;
use callgate_core::time::Timestamp;
use callgate_store::{Callback, InquiryEnd, InquiryLease, Receipt};

use super::Asker;
use super::gate::Pass;
use super::way::Way;
use crate::clock::Stopwatch;
use crate::inbound::asking::{Word, seed};
use crate::inbound::callback::headers_text;
use crate::outbound::client::{Answer, CallError};
use crate::outbound::gateway;

/// What came of a question.
#[derive(Debug)]
pub(super) enum Came {
    /// A fact, which is stored.
    Fact(Word, Receipt),
    /// Nothing is decided.
    Pending,
    /// There is no such payment or refund.
    Unknown,
    /// No answer: the gateway's host failed, or wants to be left in peace.
    Ill(&'static str),
    /// No answer that helps: this merchant is denied one, or it is not believed.
    Denied(&'static str),
    /// The answer could not be stored.
    NotStored,
    /// Such a question cannot be put at all.
    Impossible(&'static str),
}

impl Came {
    /// The stable code that is kept with the inquiry.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Fact(..) => "inquiry.told",
            Self::Pending => "inquiry.pending",
            Self::Unknown => "inquiry.unknown",
            Self::NotStored => "inquiry.not-stored",
            Self::Ill(code) | Self::Denied(code) | Self::Impossible(code) => code,
        }
    }

    pub(super) fn word(&self) -> Word {
        match self {
            Self::Fact(word, _) => *word,
            Self::Pending => Word::Pending,
            Self::Unknown => Word::Unknown,
            Self::Ill(_) | Self::Denied(_) | Self::NotStored | Self::Impossible(_) => {
                Word::NoAnswer
            }
        }
    }
}

/// A question of the schedule, from its lease to its end.
pub(super) async fn scheduled(asker: Asker, way: Arc<Way>, lease: InquiryLease, pass: Pass) {
    let came = put(&asker, &way, &lease, pass).await;
    let (now, schedule) = (asker.0.clock.now(), way.channel.ask.schedule());
    let spread =
        seed(&lease.key.number).wrapping_add(u64::from_ne_bytes(lease.asked.to_ne_bytes()));
    let next = match &came {
        Came::Impossible(_) => None,
        Came::Fact(word, _) if word.is_final() => None,
        Came::Fact(..) | Came::Pending | Came::Unknown => {
            schedule.next(lease.begun_at, lease.rounds, now, spread)
        }
        Came::Ill(_) | Came::Denied(_) | Came::NotStored => {
            schedule.again(lease.begun_at, lease.rounds, now, spread)
        }
    };
    end(&asker, lease, &came, next).await;
}

/// Ends a question. Where that fails the lease lapses, and the question is put again.
pub(super) async fn end(asker: &Asker, lease: InquiryLease, came: &Came, next: Option<Timestamp>) {
    let end = InquiryEnd { lease, code: came.code().to_owned(), next };
    match asker.0.store.end_inquiry(end, asker.0.clock.now()).await {
        Ok(true) => {}
        Ok(false) => tracing::warn!("a question took longer than its lease"),
        Err(error) => tracing::error!(%error, code = error.code(), "a question cannot be ended"),
    }
}

/// Puts a question and stores what is told.
pub(super) async fn put(asker: &Asker, way: &Way, lease: &InquiryLease, pass: Pass) -> Came {
    let watch = Stopwatch::start();
    let channel = way.channel.name.as_str();
    let came = walk(asker, way, lease).await;
    let (now, seed) = (asker.0.clock.now(), seed(&lease.key.number));
    match &came {
        Came::Ill(_) => {
            if pass.ill(seed, now) {
                tracing::warn!(channel, "a gateway does not answer questions, left in peace");
            }
        }
        Came::Denied(code) => {
            pass.well();
            if way.ill(seed, now) {
                tracing::error!(
                    channel,
                    code,
                    "a gateway gives no answer that helps; the channel asks less for a while"
                );
            }
        }
        Came::Fact(..) | Came::Pending | Came::Unknown | Came::NotStored => {
            pass.well();
            way.well();
        }
        Came::Impossible(_) => drop(pass),
    }
    let outcome = came.code().strip_prefix("inquiry.").unwrap_or_default();
    metrics::counter!("callgate_inquiries_total",
        "channel" => channel.to_owned(), "outcome" => outcome)
    .increment(1);
    metrics::histogram!("callgate_inquiry_seconds", "channel" => channel.to_owned())
        .record(watch.elapsed().as_secs_f64());
    let open = if way.gate.is_open() { 1.0 } else { 0.0 };
    metrics::gauge!("callgate_inquiry_circuit_open", "channel" => channel.to_owned()).set(open);
    let order_no = lease.key.order_no.as_str();
    let duration_us = watch.elapsed_us();
    match &came {
        Came::Fact(word, Receipt::New(ids)) => tracing::info!(
            channel,
            order_no,
            duration_us,
            told = word.as_str(),
            notification.id = ids.first().map(String::as_str),
            "a gateway told on being asked"
        ),
        Came::Fact(_, Receipt::Seen)
        | Came::Pending
        | Came::Unknown
        | Came::Ill(_)
        | Came::Denied(_)
        | Came::NotStored
        | Came::Impossible(_) => {
            tracing::debug!(channel, order_no, duration_us, outcome, "a gateway was asked")
        }
    }
    came
}

async fn walk(asker: &Asker, way: &Way, lease: &InquiryLease) -> Came {
    let key = &lease.key;
    let channel = &way.channel;
    if channel.business != key.business {
        return Came::Impossible("inquiry.not-possible");
    }
    let Some(inquiry) = channel.gateway.inquiry() else {
        return Came::Impossible("inquiry.not-possible");
    };
    let question = match &key.refund_no {
        None => Question::Payment { order_no: &key.number },
        Some(refund_no) => Question::Refund { order_no: &key.number, refund_no },
    };
    let nonce = uuid::Uuid::now_v7().simple().to_string();
    let stamp = Stamp { now: asker.0.clock.now(), nonce: &nonce };
    let outgoing: Outgoing = match inquiry.ask(question, stamp) {
        Ok(outgoing) => outgoing,
        Err(error) => return Came::Impossible(error.code()),
    };
    let answer = match gateway::send(&way.caller, outgoing, channel.ask.timeout_ms).await {
        Ok(answer) => answer,
        Err(CallError::Timeout { .. }) => return Came::Ill("inquiry.timeout"),
        Err(error @ CallError::Unreachable(_)) => {
            tracing::debug!(channel = %channel.name, %error, "a gateway cannot be reached");
            return Came::Ill("inquiry.unreachable");
        }
        Err(error @ CallError::Refused(_)) => {
            tracing::error!(channel = %channel.name, %error, "a gateway's address must not be asked");
            return Came::Ill("inquiry.address");
        }
    };
    let incoming =
        Incoming { status: answer.status.as_u16(), headers: &answer.headers, body: &answer.body };
    let now = asker.0.clock.now();
    // Behind a wall as callbacks are: a panic would be our mistake.
    let heard = catch_unwind(AssertUnwindSafe(|| inquiry.hear(question, &incoming, now)));
    match heard {
        Ok(Ok(Told::Fact(verified))) => keep(asker, way, verified, &answer).await,
        Ok(Ok(Told::Pending)) => Came::Pending,
        Ok(Ok(Told::Unknown)) => Came::Unknown,
        Ok(Err(silence)) => {
            // The gateway has changed its certificate: somebody is to ask for the new one.
            if let Silence::Refused(Refusal::KeyUnknown) = silence {
                asker.0.channels.miss(channel);
            }
            silent(&channel.name, &silence)
        }
        Err(_) => Came::Denied("inquiry.panic"),
    }
}

fn silent(channel: &str, silence: &Silence) -> Came {
    match silence {
        Silence::Busy { .. } => {
            tracing::debug!(channel, %silence, "a gateway is busy");
            Came::Ill(silence.code())
        }
        Silence::Refused(_) | Silence::Another | Silence::Denied { .. } => {
            tracing::warn!(channel, %silence, code = silence.code(), "no answer that helps");
            Came::Denied(silence.code())
        }
    }
}

/// Stores what was told, as a callback is stored: afterwards it is on disk.
async fn keep(asker: &Asker, way: &Way, verified: Verified, answer: &Answer) -> Came {
    let channel = &way.channel;
    let told = verified.notifications().first().map(|one| Word::of(one.event_type.as_str()));
    let callback = Callback {
        channel: channel.name.clone(),
        business: channel.business.clone(),
        scene: channel.scene.clone(),
        verified,
        headers: headers_text(&answer.headers),
        raw: answer.body.clone(),
    };
    match asker.0.store.accept(callback, asker.0.clock.now()).await {
        Ok(receipt) => Came::Fact(told.unwrap_or(Word::Other), receipt),
        Err(error) => {
            tracing::error!(%error, code = error.code(), channel = %channel.name,
                "what a gateway told could not be stored; it will be asked again");
            Came::NotStored
        }
    }
}
