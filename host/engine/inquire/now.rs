//! Questions out of turn: before an order is closed, and when somebody looks at one that is open
//! past its time. However many want it, a gateway is asked about one order once in a while.

use std::sync::Arc;

use callgate_core::notification::EventType;
use callgate_core::time::Timestamp;
use callgate_store::{
    BeginInquiry, Effect, InquiryBegun, InquiryKey, InquiryLease, NewInquiry, OrderView, Receipt,
    StoreError, StoredInquiry,
};

use super::Asker;
use super::ask::{self, Came};
use super::gate::Gate;
use super::way::Way;
use crate::inbound::asking::{About, Answered, Asking, Asks, Billed, Word, askable};

impl Asks for Asker {
    fn ask_now(&self, about: About) -> Asking<'_> {
        let asker = self.clone();
        Box::pin(async move {
            // A task of its own: a caller that goes away must not cut off an answer.
            let asking = tokio::spawn(async move { asker.now(about).await });
            asking.await.unwrap_or_else(|error| {
                tracing::error!(%error, "a question ended badly");
                Ok(Some(Answered::none("inquiry.panic")))
            })
        })
    }

    fn put_on_schedule(&self, about: About) -> Asking<'_> {
        Box::pin(async move {
            let Some(view) = self.0.store.order(&about.business, &about.order).await? else {
                return Ok(None);
            };
            if let Some(known) = known(&view, about.refund_no.as_deref()) {
                return Ok(Some(known));
            }
            let now = self.0.clock.now();
            let new: Vec<_> = self.questions(&view, &about, now).map(|(_, new)| new).collect();
            self.schedule(new, now).await.map(Some)
        })
    }

    fn put_billed(&self, billed: Billed) -> Asking<'_> {
        Box::pin(async move {
            let Billed { business, channel, number, refund_no } = billed;
            if let Some(view) = self.0.store.order(&business, &number).await?
                && view.document.key == number
            {
                return self.put_on_schedule(About { business, order: number, refund_no }).await;
            }
            // Nobody registered it, or as another name of an order. That one may be settled by
            // another payment, which says nothing of this: it is asked about by itself.
            let now = self.0.clock.now();
            let Some(way) = self.way(&channel) else {
                return Ok(Some(Answered::none("inquiry.not-possible")));
            };
            let order_no = number.clone();
            let key = InquiryKey { business, order_no, channel, number, refund_no };
            let due_at = now.plus_ms(i64::from(way.channel.ask.first_ms));
            self.schedule(vec![NewInquiry { key, due_at }], now).await.map(Some)
        })
    }
}

impl Asker {
    async fn schedule(&self, new: Vec<NewInquiry>, now: Timestamp) -> Result<Answered, StoreError> {
        if new.is_empty() {
            return Ok(Answered::none("inquiry.not-possible"));
        }
        self.0.store.open_inquiries(new, now).await?;
        self.0.nudge.notify_waiters();
        Ok(Answered::none("inquiry.scheduled"))
    }

    async fn now(self, about: About) -> Result<Option<Answered>, StoreError> {
        let Some(view) = self.0.store.order(&about.business, &about.order).await? else {
            return Ok(None);
        };
        if let Some(known) = known(&view, about.refund_no.as_deref()) {
            return Ok(Some(known));
        }
        let mut best = Answered::none("inquiry.not-possible");
        for (way, new) in self.questions(&view, &about, self.0.clock.now()) {
            let answered = self.one(&way, new).await?;
            if best.told == Word::NoAnswer || answered.told > best.told {
                best = answered;
            }
            if best.told.is_final() {
                break;
            }
        }
        Ok(Some(best))
    }

    /// What there is to ask about an order, and how: a question for each channel and each name.
    fn questions(
        &self,
        view: &OrderView,
        about: &About,
        now: Timestamp,
    ) -> impl Iterator<Item = (Arc<Way>, NewInquiry)> {
        let (order_no, only) = (&view.document.key, view.document.channel.as_deref());
        let current = self.0.channels.current();
        let mut found = Vec::new();
        for channel in askable(current.values(), &about.business, only) {
            let Some(way) = self.way(&channel.name) else { continue };
            for number in std::iter::once(order_no).chain(&view.aliases) {
                let key = InquiryKey {
                    business: about.business.clone(),
                    order_no: order_no.clone(),
                    channel: channel.name.clone(),
                    number: number.clone(),
                    refund_no: about.refund_no.clone(),
                };
                let due_at = now.plus_ms(i64::from(channel.ask.first_ms));
                found.push((Arc::clone(&way), NewInquiry { key, due_at }));
            }
        }
        found.into_iter()
    }

    /// Puts one question, unless it was put a moment ago.
    async fn one(&self, way: &Arc<Way>, new: NewInquiry) -> Result<Answered, StoreError> {
        let now = self.0.clock.now();
        let Ok(_place) = way.now.try_acquire() else {
            return Ok(Answered::none("inquiry.busy"));
        };
        if way.places(now, 0) == 0 {
            return Ok(Answered::none("inquiry.circuit"));
        }
        let Some(pass) = Gate::beside(&way.gate, now) else {
            return Ok(Answered::none("inquiry.circuit"));
        };
        let ask = &way.channel.ask;
        let begin = BeginInquiry {
            new,
            owner: self.0.owner.clone(),
            lease_ms: way.lease_ms(),
            gap_ms: i64::from(ask.again_ms),
            allowance: self.share(&way.channel).allowance,
        };
        let lease = match self.0.store.begin_inquiry(begin, now).await? {
            InquiryBegun::Ask(lease) => lease,
            InquiryBegun::UnderWay => return Ok(Answered::none("inquiry.under-way")),
            InquiryBegun::Limited => return Ok(Answered::none("inquiry.limited")),
            InquiryBegun::TooSoon { code, .. } => return Ok(Answered::before(code.as_deref())),
        };
        let came = ask::put(self, way, &lease, pass).await;
        let next = after(&came, &lease, self.0.clock.now().plus_ms(i64::from(ask.first_ms)));
        let answered = answered(&came);
        ask::end(self, lease, &came, next).await;
        Ok(answered)
    }

    /// The inquiries about an order, for who looks at it.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn of(
        &self,
        business: &str,
        order_no: &str,
    ) -> Result<Vec<StoredInquiry>, StoreError> {
        self.0.store.inquiries_of(business, order_no).await
    }
}

/// When the schedule goes on after a question out of turn: as it would have, but not at once. What
/// is over stays over.
fn after(came: &Came, lease: &InquiryLease, soon: Timestamp) -> Option<Timestamp> {
    match came {
        Came::Impossible(_) => None,
        Came::Fact(word, _) if word.is_final() => None,
        Came::Fact(..)
        | Came::Pending
        | Came::Unknown
        | Came::Ill(_)
        | Came::Denied(_)
        | Came::NotStored => lease.due_at.map(|due| due.max(soon)),
    }
}

fn answered(came: &Came) -> Answered {
    let told = came.word();
    let notification = match came {
        Came::Fact(_, Receipt::New(ids)) => ids.first().cloned(),
        Came::Fact(_, Receipt::Seen)
        | Came::Pending
        | Came::Unknown
        | Came::Ill(_)
        | Came::Denied(_)
        | Came::NotStored
        | Came::Impossible(_) => None,
    };
    let code = (told == Word::NoAnswer).then(|| came.code().to_owned());
    Answered { told, asked: true, notification, code }
}

impl Answered {
    /// Nobody answered, and why.
    fn none(code: &str) -> Self {
        Self { told: Word::NoAnswer, asked: false, notification: None, code: Some(code.to_owned()) }
    }

    /// What the last question came to, which was put a moment ago.
    fn before(code: Option<&str>) -> Self {
        let told = match code {
            Some("inquiry.pending") => Word::Pending,
            Some("inquiry.unknown") => Word::Unknown,
            Some("inquiry.told") => Word::Other,
            Some(_) | None => Word::NoAnswer,
        };
        Self { told, ..Self::none("inquiry.too-soon") }
    }
}

/// What need not be asked, because it was told: by a callback or on being asked.
fn known(view: &OrderView, refund_no: Option<&str>) -> Option<Answered> {
    let about = |event: &EventType| match refund_no {
        None => event.as_str().starts_with("payment."),
        Some(_) => event.as_str().starts_with("refund."),
    };
    let heard = view.notifications.iter().rev().find(|heard| {
        let told = &heard.notification;
        about(&told.event_type)
            && Word::of(told.event_type.as_str()).is_final()
            && (refund_no.is_none() || told.refund_no.as_deref() == refund_no)
    });
    let known = |told, notification| Answered { told, asked: false, notification, code: None };
    if let Some(heard) = heard {
        let told = Word::of(heard.notification.event_type.as_str());
        return Some(known(told, Some(heard.id.clone())));
    }
    // What was heard may be archived by now; that the order moved stays.
    let moved = view.history.iter().rev().find(|entry| entry.effect == Effect::Moved)?;
    refund_no.is_none().then(|| known(Word::of(&moved.event_type), None))
}
