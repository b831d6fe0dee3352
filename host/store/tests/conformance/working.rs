//! Everything that a store does day by day, once around, on a database that was filled before.

use std::sync::Arc;
use std::time::Duration;

use callgate_store::{
    Callback, ClaimRequest, Filter, Foreseen, InboxState, Job, KnownOrder, Retention,
    RetentionSettings, SinkHold, SinkRecord, SinkStart, SinkStep, Step, Store,
};
use futures_util::future::join_all;
use tokio::time::Instant;

use crate::acts::{at, paid, settlement};
use crate::filling::Fill;
use crate::gateway::{BUSINESS, payment};

/// An act, and how long it took.
pub(crate) type Took = (&'static str, Duration);

/// Where in the stories' time a filled database is worked on.
pub(crate) const DAY_MS: i64 = 86_400_000;

/// A database of so many rows, of which a tenth waits for retention and two thousand are open; their days
/// end when the stories begin.
pub(crate) fn after_months(rows: i64) -> Fill {
    let step_ms = (100 * DAY_MS / rows).max(1);
    Fill {
        first: 1,
        rows,
        archived: rows / 10 * 8,
        open: 2_000,
        from_ms: at(-DAY_MS).as_ms() - step_ms * rows,
        step_ms,
        analyzed: true,
    }
}

/// An order that is seen for the first time.
fn known((business, order_no): &(String, String)) -> KnownOrder {
    KnownOrder { business: business.clone(), order_no: order_no.clone(), version: 0 }
}

/// Someone at work.
pub(crate) struct Worker<'a> {
    pub(crate) store: &'a Store,
    pub(crate) rows: i64,
    /// The number of the first order that messages are about.
    pub(crate) first: i64,
    /// For notifications, for events and for keys alone.
    retentions: Vec<Retention>,
    round: i64,
    took: Vec<Took>,
}

impl<'a> Worker<'a> {
    pub(crate) fn new(store: &'a Store, rows: i64, folder: &std::path::Path) -> Self {
        let settings = |age_days: u32, keys_days: u32, events_days: u32| RetentionSettings {
            enabled: true,
            archive_dir: folder.to_owned(),
            host_name: "host".to_owned(),
            age_days,
            keys_days,
            events_days,
            file_rows: 200_000,
            step_rows: 64,
            pause_ms: 0,
            look_ms: 1_000,
        };
        let one = |settings| {
            let sinks = vec!["erp".to_owned()];
            Retention::new(store.clone(), settings, "w".to_owned(), sinks).unwrap()
        };
        let retentions = [settings(5, 0, 0), settings(9_000, 0, 5), settings(59, 60, 0)];
        let retentions = retentions.map(one).into();
        Self { store, rows, first: 1, retentions, round: 0, took: Vec::new() }
    }

    /// Goes on with messages that no other worker has sent.
    #[allow(dead_code, reason = "the bench works twice on one database, the stories once")]
    pub(crate) fn begin_at(&mut self, round: i64) {
        self.round = round;
    }

    /// Times an act.
    async fn timed<T>(&mut self, act: &'static str, doing: impl Future<Output = T>) -> T {
        let begun = Instant::now();
        let done = doing.await;
        self.took.push((act, begun.elapsed()));
        done
    }

    /// A message that is new, about an old order that is not paid yet.
    fn new_message(&self, number: i64) -> Callback {
        let orders = (self.rows - 2_000).max(80) - self.first + 1;
        let order = (self.round * 128 + number) * 7_919 % orders + self.first;
        let name = format!("n{}-{number}", self.round);
        payment(&name, &format!("old-{order}"), &name)
    }

    /// A message that was heard before, somewhere in the years.
    fn old_message(&self, number: i64) -> Callback {
        let rows = self.rows - self.first + 1;
        let place = (self.round * 128 + number) * 104_729 % rows + self.first;
        let key = place * 2_654_435_761 % 281_474_976_710_656;
        payment(&format!("old-{key:012x}"), &format!("old-{place}"), &format!("{key:012x}"))
    }

    /// Everything once; how long each act took.
    pub(crate) async fn round(&mut self) -> Vec<Took> {
        let now = at(self.round);
        let store = self.store;
        let (new, old) = (self.new_message(0), self.old_message(0));
        self.timed("accept one", store.accept(new, now)).await.unwrap();
        self.timed("repeat of one", store.accept(old, now)).await.unwrap();
        let many: Vec<_> = (1..61).map(|number| self.new_message(number)).collect();
        let asked = join_all(many.into_iter().map(|callback| store.accept(callback, now)));
        let receipts = self.timed("accept 60 at once", asked).await;
        assert!(receipts.iter().all(Result::is_ok), "{receipts:?}");
        let request = ClaimRequest { limit: 64, owner: "w".to_owned(), lease_ms: 60_000 };
        let next = Arc::new(self.new_message(61));
        self.timed("foresee one", store.foresee(&next, &request, now)).await.unwrap();
        let many: Vec<_> = (62..126).map(|number| Arc::new(self.new_message(number))).collect();
        let asked = join_all(many.iter().map(|callback| store.foresee(callback, &request, now)));
        let foreseen = self.timed("foresee 64 at once", asked).await;
        let foreseen: Vec<_> = foreseen.into_iter().filter_map(Result::unwrap).take(16).collect();
        // Of a few orders all may be spoken of already. What cannot be read is not foreseen.
        assert!(!foreseen.is_empty() || self.rows < 2_000);
        let asked = foreseen.into_iter().map(|Foreseen { job, entry }| {
            let decided = settlement(&job, paid(&job));
            store.arrive(entry, decided, now)
        });
        let arrived = self.timed("arrive 16 at once", join_all(asked)).await;
        assert!(arrived.iter().all(Result::is_ok), "{arrived:?}");
        let jobs = self.timed("claim 64", store.claim(request, now)).await.unwrap();
        self.settle(&jobs).await;
        self.timed("look at an order", store.order(BUSINESS, "old-77")).await.unwrap();
        let names: Vec<_> =
            (1..17).map(|place| format!("old-{}", self.round * 16 + place)).collect();
        let asked: Vec<_> = names.iter().map(|name| (BUSINESS.to_owned(), name.clone())).collect();
        self.timed("where 16 stand", store.standings(&asked)).await.unwrap();
        let known: Vec<_> = asked.iter().map(known).collect();
        self.timed("what changed of 16", store.changed(&known)).await.unwrap();
        self.timed("16 of a bill", store.stored_of(BUSINESS, &names)).await.unwrap();
        self.timed("counts", store.counts()).await.unwrap();
        self.timed("oldest open", store.oldest_open_ms(now)).await.unwrap();
        let review = Filter { state: Some(InboxState::Review), ..Filter::default() };
        self.timed("search in review", store.search(&review, None, 50)).await.unwrap();
        self.timed("search newest", store.search(&Filter::default(), None, 50)).await.unwrap();
        self.deliver().await;
        self.retain().await;
        self.round += 1;
        std::mem::take(&mut self.took)
    }

    /// Half of them one by one, the others together.
    async fn settle(&mut self, jobs: &[Job]) {
        let (store, now) = (self.store, at(self.round));
        let (one, rest) = jobs.split_first().unwrap();
        let settling = store.settle(settlement(one, paid(one)), now);
        self.timed("settle one", settling).await.unwrap();
        let asked = rest.iter().map(|job| store.settle(settlement(job, paid(job)), now));
        let settled = self.timed("settle the others at once", join_all(asked)).await;
        assert!(settled.iter().all(Result::is_ok), "{settled:?}");
    }

    /// A sink takes whatever there is.
    async fn deliver(&mut self) {
        let (store, now) = (self.store, at(self.round));
        let step = |record| SinkStep {
            sink: "erp".to_owned(),
            start: SinkStart::Beginning,
            owner: "w".to_owned(),
            lease_ms: 60_000,
            record,
        };
        let held = store.step_sink(step(None), now).await.unwrap();
        let SinkHold::Held { epoch, .. } = held else { panic!("{held:?}") };
        let last = store.sinks().await.unwrap()[0].last_seq;
        self.timed("events of a sink", store.events_after(last - 64, 64)).await.unwrap();
        let record = SinkRecord { epoch, cursor: last, kept: Vec::new(), delivered: Vec::new() };
        self.timed("step of a sink", store.step_sink(step(Some(record)), now)).await.unwrap();
    }

    /// Two steps of each kind of retention.
    async fn retain(&mut self) {
        for retention in &mut self.retentions {
            for _ in 0..2 {
                let begun = Instant::now();
                let step = retention.step(at(self.round)).await.unwrap();
                let act = match step {
                    Step::Copied(_) => "copy rows to a file",
                    Step::Emptied(_) => "empty archived rows",
                    Step::Removed(_) => "remove events",
                    Step::Forgotten(_) => "forget keys",
                    Step::Archived { .. } => "end a file",
                    Step::Began | Step::Idle | Step::Elsewhere => "look for old rows",
                };
                self.took.push((act, begun.elapsed()));
            }
        }
    }
}
