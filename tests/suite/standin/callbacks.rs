//! Callbacks on their way: each is posted at its time, and what was refused or not answered is
//! posted again on the gateway's own schedule, under the keys of that moment, until it is taken or
//! the schedule is over.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use callgate_core::time::Timestamp;
use callgate_trigger::answer::{Answer, Verdict, accepts};
use callgate_trigger::draw::Draw;
use callgate_trigger::keys::Keys;
use callgate_trigger::message::{Message, Notice, Sending};
use callgate_trigger::schedule::Schedule;
use futures_util::StreamExt as _;

/// What a gateway heard on a post: status and body, or nothing.
pub(crate) type Heard = Option<(u16, Vec<u8>)>;

/// Every callback that the gateways have to tell.
pub(crate) struct Callbacks {
    waiting: Vec<Waiting>,
    told: Told,
    /// Time goes so many times faster than in the gateways' documents.
    faster: NonZeroU32,
    /// Of a hundred answers so many are lost on their way back.
    unheard_percent: u64,
}

struct Waiting {
    notice: Notice,
    at: Timestamp,
    tries: usize,
    /// Whether a try of it was answered with a failure.
    refused: bool,
}

/// What became of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// Posts, repeats included.
    pub(crate) posts: usize,
    /// Callbacks that were taken in the end.
    pub(crate) taken: usize,
    /// Of them, those that had been refused before.
    pub(crate) taken_after_refusal: usize,
    /// Posts that were answered with a failure, by status.
    pub(crate) refused: BTreeMap<u16, usize>,
    /// Posts whose answer the gateway never heard.
    pub(crate) unheard: usize,
    /// Callbacks that were not taken before the schedule was over.
    pub(crate) given_up: usize,
}

impl Callbacks {
    /// As fast as the gateways' schedules are, nothing lost on the way back.
    pub(crate) fn new() -> Self {
        let (waiting, told) = (Vec::new(), Told::default());
        Self { waiting, told, faster: NonZeroU32::MIN, unheard_percent: 0 }
    }

    /// The same so many times faster.
    pub(crate) fn faster(self, faster: NonZeroU32) -> Self {
        Self { faster, ..self }
    }

    /// The same where of a hundred answers so many are lost on their way back.
    pub(crate) fn unheard(self, unheard_percent: u64) -> Self {
        Self { unheard_percent, ..self }
    }

    /// Something to tell, and when first.
    pub(crate) fn put(&mut self, notice: Notice, at: Timestamp) {
        self.waiting.push(Waiting { notice, at, tries: 0, refused: false });
    }

    /// When the next post is due.
    pub(crate) fn next_at(&self) -> Option<Timestamp> {
        self.waiting.iter().map(|one| one.at).min()
    }

    /// How many wait for their first post or a repeat.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn told(&self) -> &Told {
        &self.told
    }

    /// Posts what is due, some at once: `post` is given a number for each, and the message.
    pub(crate) async fn deliver(
        &mut self,
        (keys, now): (&Keys, Timestamp),
        draw: &mut Draw,
        post: impl AsyncFn(usize, Message) -> Heard,
    ) {
        let (due, later) = self.waiting.drain(..).partition(|one| one.at <= now);
        self.waiting = later;
        let mut posts = Vec::new();
        for (number, waiting) in Vec::into_iter(due).enumerate() {
            let message = waiting.notice.sign(keys, Sending::genuine(now), draw);
            let reaches = draw.below(100) >= self.unheard_percent;
            posts.push((number, waiting, message.expect("a signed message"), reaches));
        }
        let post = &post;
        let sent = posts.into_iter().map(|(number, waiting, message, reaches)| async move {
            let answer = post(number, message).await;
            (waiting, answer.filter(|_| reaches))
        });
        let ended = futures_util::stream::iter(sent).buffer_unordered(AT_ONCE);
        for (waiting, answer) in ended.collect::<Vec<_>>().await {
            self.ended(waiting, answer, now);
        }
    }

    fn ended(&mut self, mut waiting: Waiting, heard: Heard, now: Timestamp) {
        let gateway = waiting.notice.gateway();
        self.told.posts = self.told.posts.saturating_add(1);
        match heard {
            None => self.told.unheard = self.told.unheard.saturating_add(1),
            Some((status, body)) => {
                let answer = Answer { status, content_type: None, body: &body };
                if accepts(gateway, answer) == Verdict::Success {
                    self.told.taken = self.told.taken.saturating_add(1);
                    let before = usize::from(waiting.refused);
                    self.told.taken_after_refusal =
                        self.told.taken_after_refusal.saturating_add(before);
                    return;
                }
                waiting.refused = true;
                let count = self.told.refused.entry(status).or_default();
                *count = count.saturating_add(1);
            }
        }
        match Schedule::of(gateway).waits_ms(self.faster).nth(waiting.tries) {
            Some(wait) => {
                waiting.at = now.plus_ms(i64::try_from(wait).expect("hours"));
                waiting.tries = waiting.tries.saturating_add(1);
                self.waiting.push(waiting);
            }
            None => self.told.given_up = self.told.given_up.saturating_add(1),
        }
    }
}

/// Posts on their way at once.
const AT_ONCE: usize = 16;
