//! One case, step by step.

use std::collections::BTreeMap;
use std::time::Duration;

use callgate_trigger::answer::Verdict;
use callgate_trigger::burst::Burst;
use callgate_trigger::cases::{self, Case, Expected, Stage, Step};
use callgate_trigger::channel::Channel;
use callgate_trigger::draw::Draw;
use callgate_trigger::keys::Keys;
use callgate_trigger::message::Message;
use callgate_trigger::schedule::Schedule;
use futures_util::{StreamExt, stream};

use super::Run;
use super::post::{Post, Reply, Seen};
use super::table::Row;
use crate::clock::Clock;

/// Plays cases against a server.
pub(super) struct Player<'a> {
    run: &'a Run,
    keys: Keys,
    post: Post,
    clock: Clock,
    draw: Draw,
}

impl<'a> Player<'a> {
    pub(super) fn new(run: &'a Run, keys: Keys, seed: u64) -> anyhow::Result<Self> {
        let place = (run.url.as_str(), &run.trust);
        let post = Post::new(place, run.orders_url.as_deref(), run.token()?.as_deref())?;
        Ok(Self { run, keys, post, clock: Clock::system(), draw: Draw::seeded(seed) })
    }

    /// The cases of a channel that a name means; none where the gateway has none of this name.
    pub(super) fn cases(&mut self, channel: Channel, name: &str) -> anyhow::Result<Vec<Case>> {
        let stage = Stage::new(&self.keys.accounts, channel, self.clock.now());
        if name == "all" {
            return Ok(cases::all(&stage, &mut self.draw));
        }
        if !cases::told_on(channel).any(|(known, _)| known == name) {
            return Ok(Vec::new());
        }
        Ok(vec![cases::case(name, &stage, &mut self.draw)?])
    }

    pub(super) async fn play(&mut self, case: &Case) -> Row {
        let mut row = Row::of(case);
        for step in &case.steps {
            if let Err(error) = self.step(step, &mut row).await {
                row.wrong.push(format!("{error:#}"));
                // What follows cannot come true, and waiting for it would hide why.
                break;
            }
        }
        row
    }

    async fn step(&mut self, step: &Step, row: &mut Row) -> anyhow::Result<()> {
        match step {
            Step::Register(order) => self.post.register(order).await?,
            Step::Post(post) => {
                let now = self.clock.now();
                let message = post.message(&self.keys, now, &mut self.draw)?;
                let gateway = message.channel.gateway();
                let mut reply = self.post.callback(message).await?;
                if let Some(faster) = self.run.retry {
                    for wait_ms in Schedule::of(gateway).waits_ms(faster) {
                        if reply.verdict == Verdict::Success {
                            break;
                        }
                        row.answer(&reply);
                        self.clock.wait_until(self.clock.now().plus_ms(signed(wait_ms))).await;
                        let now = self.clock.now();
                        let again = post.message(&self.keys, now, &mut self.draw)?;
                        reply = self.post.callback(again).await?;
                    }
                }
                row.wrong.extend(reply.wrong.clone());
                row.answer(&reply);
            }
            Step::Burst(burst) => self.burst(&self.sized(burst), row).await?,
            Step::Expect(expected) => self.expect(expected, row).await?,
        }
        Ok(())
    }

    fn sized(&self, burst: &Burst) -> Burst {
        let mut burst = burst.clone();
        burst.orders = self.run.orders.unwrap_or(burst.orders);
        burst.deliveries = self.run.deliveries.unwrap_or(burst.deliveries);
        burst
    }

    /// Registers all orders, posts all deliveries with a chosen concurrency, and then wants each
    /// order paid once.
    async fn burst(&self, burst: &Burst, row: &mut Row) -> anyhow::Result<()> {
        let at_once = self.run.concurrency.max(1);
        let registering = (0..burst.orders).map(|index| async move {
            let order = burst.order(index);
            self.post.register(&order).await
        });
        let registered: Vec<_> =
            stream::iter(registering).buffer_unordered(at_once).collect().await;
        registered.into_iter().collect::<Result<Vec<()>, _>>()?;
        let posting = burst.deliveries().into_iter().map(|delivery| async move {
            let message: Message = burst.message(&self.keys, delivery, self.clock.now())?;
            self.post.callback(message).await
        });
        let replies: Vec<anyhow::Result<Reply>> =
            stream::iter(posting).buffer_unordered(at_once).collect().await;
        let mut counted: BTreeMap<String, usize> = BTreeMap::new();
        for reply in replies {
            let reply = reply?;
            row.wrong.extend(reply.wrong);
            let count = counted.entry(reply.shown).or_default();
            *count = count.saturating_add(1);
        }
        row.answers.extend(counted.into_iter().map(|(shown, count)| format!("{count} × {shown}")));
        self.all_paid_once(burst, row).await
    }

    async fn all_paid_once(&self, burst: &Burst, row: &mut Row) -> anyhow::Result<()> {
        if !self.post.knows_orders() {
            return Ok(());
        }
        let mut events = 0usize;
        for index in 0..burst.orders {
            let expected = Expected {
                order_no: burst.order(index).order_no,
                state: Some("TO_BE_DELIVERED"),
                events: vec!["order.paid"],
                review: None,
            };
            let (seen, wrong) = self.settled(&expected).await?;
            events = events.saturating_add(seen.events.len());
            row.wrong.extend(wrong.map(|wrong| format!("{}: {wrong}", expected.order_no)));
        }
        row.state = format!("{} × TO_BE_DELIVERED", burst.orders);
        row.events = format!("{events} × order.paid");
        row.stored = format!("{} notifications", burst.orders);
        Ok(())
    }

    async fn expect(&self, expected: &Expected, row: &mut Row) -> anyhow::Result<()> {
        if !self.post.knows_orders() {
            return Ok(());
        }
        let (seen, wrong) = self.settled(expected).await?;
        row.wrong.extend(wrong);
        row.look(&expected.order_no, &seen);
        Ok(())
    }

    /// Looks at an order until it is as expected, or for as long as patience lasts.
    async fn settled(&self, expected: &Expected) -> anyhow::Result<(Seen, Option<String>)> {
        let deadline = self.clock.now().plus_ms(PATIENCE_MS);
        loop {
            let order = self.post.order(&expected.order_no).await?;
            let seen = Seen::of(order.as_ref());
            let wrong = seen.differs(expected);
            if wrong.is_none() || self.clock.now() > deadline {
                return Ok((seen, wrong));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

/// Work behind an answer takes milliseconds; a busy machine gets this much.
const PATIENCE_MS: i64 = 15_000;

/// The pause between two looks at an order.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
