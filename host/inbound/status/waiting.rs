//! Who waits for which order: a row for each order, as long as somebody waits for it.
//!
//! Whoever sits down listens before it looks, so that nothing slips between. One change wakes
//! everybody who waits for the order once, and holds what they are told once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use callgate_store::{KnownOrder, Standing};
use tokio::sync::watch;

use super::Settings;
use super::refusal::Refusal;
use super::token::Pass;
use super::told::Told;

/// Business and number of an order.
pub(super) type Name = (String, String);

/// Everybody who waits on this host. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Waiting(Arc<Rooms>);

#[derive(Debug)]
struct Rooms {
    book: Mutex<Book>,
    limits: Limits,
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    all: usize,
    order: usize,
    token: usize,
}

#[derive(Debug, Default)]
struct Book {
    orders: HashMap<Arc<Name>, Row>,
    tokens: HashMap<[u8; 32], usize>,
    seats: usize,
}

#[derive(Debug)]
struct Row {
    told: watch::Sender<Option<Arc<Told>>>,
    seats: usize,
}

impl Waiting {
    pub(super) fn new(settings: &Settings) -> Self {
        let limits = Limits {
            all: settings.waiters_max,
            order: settings.waiters_per_order_max,
            token: settings.waiters_per_token_max,
        };
        Self(Arc::new(Rooms { book: Mutex::default(), limits }))
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to listen for an order, unless too many do.
    pub(super) fn sit(&self, name: Name, pass: Pass) -> Result<Seat, Refusal> {
        let limits = self.0.limits;
        let mut book = self.book();
        let with_token = book.tokens.get(&pass.mark).copied().unwrap_or(0);
        let of_order = book.orders.get(&name).map_or(0, |row| row.seats);
        if book.seats >= limits.all || of_order >= limits.order || with_token >= limits.token {
            return Err(Refusal::Busy);
        }
        let known = book.orders.get_key_value(&name).map(|(name, _)| Arc::clone(name));
        let name = known.unwrap_or_else(|| Arc::new(name));
        let row = book.orders.entry(Arc::clone(&name)).or_insert_with(|| {
            let (told, _) = watch::channel(None);
            Row { told, seats: 0 }
        });
        row.seats = row.seats.saturating_add(1);
        let told = row.told.subscribe();
        book.tokens.insert(pass.mark, with_token.saturating_add(1));
        book.seats = book.seats.saturating_add(1);
        drop(book);
        Ok(Seat { waiting: self.clone(), name, pass, told, settled: false })
    }

    fn leave(&self, seat: &Seat) {
        let mut book = self.book();
        if let Some(row) = book.orders.get_mut(&seat.name) {
            row.seats = row.seats.saturating_sub(1);
            if row.seats == 0 {
                book.orders.remove(&seat.name);
            }
        }
        if let Some(seats) = book.tokens.get_mut(&seat.pass.mark) {
            *seats = seats.saturating_sub(1);
            if *seats == 0 {
                book.tokens.remove(&seat.pass.mark);
            }
        }
        book.seats = book.seats.saturating_sub(1);
        shrink(&mut book);
        drop(book);
        if seat.settled {
            metrics::gauge!("callgate_status_waiting").decrement(1.0);
        }
    }

    /// Tells everybody who waits for this order, unless they know it already.
    pub(super) fn tell(&self, standing: Standing) {
        let name = (standing.business.clone(), standing.order_no.clone());
        let row = self.book().orders.get(&name).map(|row| row.told.clone());
        // Woken outside the lock: who is woken may want to leave.
        let Some(row) = row else { return };
        row.send_if_modified(|told| {
            let news = told.as_ref().is_none_or(|told| told.version() < standing.version);
            if news {
                *told = Some(Arc::new(Told::of(standing)));
            }
            news
        });
    }

    /// The order as those who wait for it know it; `None` where nobody waits.
    pub(super) fn known(&self, name: &Name) -> Option<KnownOrder> {
        self.book().orders.get(name).map(|row| known(name, row))
    }

    /// Every order that somebody waits for.
    pub(super) fn all_known(&self) -> Vec<KnownOrder> {
        self.book().orders.iter().map(|(name, row)| known(name, row)).collect()
    }
}

fn known((business, order_no): &Name, row: &Row) -> KnownOrder {
    let version = row.told.borrow().as_ref().map_or(0, |told| told.version());
    KnownOrder { business: business.clone(), order_no: order_no.clone(), version }
}

/// Gives memory back after a crowd has left.
fn shrink(book: &mut Book) {
    if book.orders.capacity() > ROWS_KEPT && book.orders.len() < book.orders.capacity() / 8 {
        book.orders.shrink_to(ROWS_KEPT);
        book.tokens.shrink_to(ROWS_KEPT);
    }
}

/// Rows whose memory is kept though nobody waits.
const ROWS_KEPT: usize = 1024;

/// One who waits. Leaves when it is dropped; the last one takes the row of the order along.
#[derive(Debug)]
pub(super) struct Seat {
    waiting: Waiting,
    name: Arc<Name>,
    pass: Pass,
    told: watch::Receiver<Option<Arc<Told>>>,
    /// Whether it has looked, and counts as one who waits.
    settled: bool,
}

impl Seat {
    /// Counts as one who waits from now on: what is told from here on wakes.
    pub(super) fn settle(&mut self) {
        if !self.settled {
            self.settled = true;
            metrics::gauge!("callgate_status_waiting").increment(1.0);
        }
    }

    /// What was told last; what comes later wakes.
    pub(super) fn look(&mut self) -> Option<Arc<Told>> {
        self.told.borrow_and_update().clone()
    }

    /// Waits for the next thing that is told. May be given up at any time.
    pub(super) async fn news(&mut self) {
        if self.told.changed().await.is_err() {
            // The row cannot go before its seats do.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.waiting.leave(self);
    }
}

#[cfg(test)]
mod tests {
    use callgate_core::time::Timestamp;
    use callgate_store::Standing;
    use futures_util::FutureExt as _;

    use super::{Limits, Name, Rooms, Waiting};
    use crate::inbound::status::refusal::Refusal;
    use crate::inbound::status::token::Pass;

    fn waiting(all: usize, order: usize, token: usize) -> Waiting {
        let limits = Limits { all, order, token };
        Waiting(std::sync::Arc::new(Rooms { book: std::sync::Mutex::default(), limits }))
    }

    fn name(order_no: &str) -> Name {
        ("SHOP".to_owned(), order_no.to_owned())
    }

    fn pass(mark: u8) -> Pass {
        Pass { expires_at: Timestamp::from_ms(0), mark: [mark; 32] }
    }

    fn standing(version: i64) -> Standing {
        Standing {
            business: "SHOP".to_owned(),
            order_no: "N1".to_owned(),
            state: format!("S{version}"),
            version,
            updated_at: Timestamp::from_ms(0),
        }
    }

    #[test]
    fn the_last_who_leaves_takes_the_row_along() {
        let waiting = waiting(10, 10, 10);
        let one = waiting.sit(name("N1"), pass(1)).expect("a seat");
        let two = waiting.sit(name("N1"), pass(2)).expect("a seat");
        assert_eq!(waiting.all_known().len(), 1);
        drop(one);
        assert!(waiting.known(&name("N1")).is_some());
        drop(two);
        assert!(waiting.known(&name("N1")).is_none());
        let book = waiting.book();
        assert_eq!((book.orders.len(), book.tokens.len(), book.seats), (0, 0, 0));
    }

    #[test]
    fn each_limit_is_kept_and_a_seat_that_is_left_is_free() {
        for (limits, first, second) in [
            ((1, 9, 9), ("N1", 1), ("N2", 2)),
            ((9, 1, 9), ("N1", 1), ("N1", 2)),
            ((9, 9, 1), ("N1", 1), ("N2", 1)),
        ] {
            let waiting = waiting(limits.0, limits.1, limits.2);
            let sit = |(order, token)| waiting.sit(name(order), pass(token));
            let held = sit(first).expect("a seat");
            assert_eq!(sit(second).expect_err("full"), Refusal::Busy);
            drop(held);
            assert!(sit(second).is_ok());
        }
    }

    #[tokio::test]
    async fn a_reader_that_is_slow_finds_the_last_version_and_is_woken_once() {
        let waiting = waiting(10, 10, 10);
        let mut seat = waiting.sit(name("N1"), pass(1)).expect("a seat");
        assert!(seat.look().is_none());
        for version in 1..=1000 {
            waiting.tell(standing(version));
        }
        // What is older than what is known is no news.
        waiting.tell(standing(3));
        seat.news().await;
        assert_eq!(seat.look().expect("told").version(), 1000);
        assert_eq!(seat.news().now_or_never(), None, "and not again");
    }

    #[test]
    fn nobody_who_waits_costs_nothing_to_tell() {
        let waiting = waiting(10, 10, 10);
        waiting.tell(standing(1));
        assert!(waiting.all_known().is_empty());
    }
}
