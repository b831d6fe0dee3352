//! Orders of events, cursors and what is kept.

use callgate_core::outcome::{Event, Reason};
use callgate_core::time::Timestamp;
use callgate_store::{DeliveryState, StoredEvent, WaitingDelivery};

use super::{Queue, Retry};

fn at(ms: i64) -> Timestamp {
    Timestamp::from_ms(ms)
}

fn event(seq: i64, key: &str) -> StoredEvent {
    let event = Event {
        id: format!("e{seq}"),
        topic: "shop.event".to_owned(),
        key: key.to_owned(),
        payload: "{}".to_owned(),
        headers: Vec::new(),
    };
    StoredEvent {
        seq,
        business: "SHOP".to_owned(),
        event,
        notification_id: String::new(),
        order_no: None,
        created_at: at(seq),
        unreadable: None,
    }
}

fn queue(events: &[(i64, &str)]) -> Queue {
    let mut queue = Queue::at(0);
    events.iter().for_each(|(seq, key)| queue.add(event(*seq, key)));
    queue
}

fn take(queue: &mut Queue, now: i64) -> Vec<i64> {
    queue.take(at(now), 10).into_iter().map(|turn| turn.seq).collect()
}

fn fail(queue: &mut Queue, seq: i64, due: i64) {
    let retry = Retry { attempts: 1, due_at: at(due), reason: Reason::new("sink.status", "") };
    queue.failed(seq, retry, at(100));
}

fn kept(queue: &Queue) -> Vec<i64> {
    queue.record(1).kept.iter().map(|kept| kept.seq).collect()
}

#[test]
fn one_of_each_key_is_on_its_way_at_a_time() {
    let mut queue = queue(&[(1, "a"), (2, "b"), (3, "a"), (4, "c")]);
    assert_eq!(take(&mut queue, 100), [1, 2, 4]);
    assert!(take(&mut queue, 100).is_empty());
    queue.delivered(1);
    assert_eq!(take(&mut queue, 100), [3]);
}

#[test]
fn the_cursor_stops_before_what_only_it_knows_of() {
    let mut queue = queue(&[(1, "a"), (2, "b"), (5, "c")]);
    take(&mut queue, 100);
    assert!(!queue.has_changes());
    queue.delivered(2);
    assert_eq!((queue.record(1).cursor, queue.has_changes()), (0, false));
    queue.delivered(1);
    assert_eq!((queue.record(1).cursor, queue.has_changes()), (4, true));
    queue.delivered(5);
    queue.skip_to(9);
    assert_eq!(queue.record(1).cursor, 9);
    queue.recorded(9);
    assert!(!queue.has_changes());
}

#[test]
fn a_failure_holds_its_key_back_and_nothing_else() {
    let mut queue = queue(&[(1, "a"), (2, "b"), (3, "a")]);
    assert_eq!(take(&mut queue, 100), [1, 2]);
    fail(&mut queue, 1, 500);
    queue.delivered(2);
    queue.add(event(4, "a"));
    queue.add(event(5, "b"));
    assert_eq!(take(&mut queue, 499), [5]);
    queue.delivered(5);
    let record = queue.record(1);
    assert_eq!((record.cursor, kept(&queue)), (5, vec![1, 3, 4]));
    queue.recorded(5);
    assert_eq!(take(&mut queue, 500), [1]);
    queue.delivered(1);
    assert_eq!(take(&mut queue, 500), [3]);
    queue.delivered(3);
    assert_eq!(take(&mut queue, 500), [4]);
    queue.delivered(4);
    assert_eq!(queue.record(1).delivered, [1, 3, 4]);
}

#[test]
fn what_is_given_up_lets_the_next_ones_go_on() {
    let mut queue = queue(&[(1, "a"), (2, "a")]);
    take(&mut queue, 100);
    queue.dead(1, (3, Reason::new("sink.gone", "")), at(100));
    assert_eq!(take(&mut queue, 100), [2]);
    let record = queue.record(1);
    assert_eq!((record.kept[0].seq, record.kept[0].state), (1, DeliveryState::Dead));
    assert_eq!((record.kept[0].attempts, record.cursor), (3, 1));
}

#[test]
fn a_redelivery_waits_for_what_of_its_key_is_on_its_way() {
    let mut queue = queue(&[(7, "a"), (8, "a")]);
    assert_eq!(take(&mut queue, 100), [7]);
    queue.add_waiting(WaitingDelivery {
        seq: 2,
        event_id: "e2".to_owned(),
        business: "SHOP".to_owned(),
        key: "a".to_owned(),
        created_at: at(2),
        attempts: 0,
        first_failed_at: None,
        due_at: at(50),
    });
    assert!(take(&mut queue, 100).is_empty());
    fail(&mut queue, 7, 500);
    assert_eq!(take(&mut queue, 100), [2]);
    queue.delivered(2);
    assert!(take(&mut queue, 100).is_empty());
    assert_eq!(take(&mut queue, 500), [7]);
}

#[test]
fn gaps_before_what_ended_are_held_for_the_next_owner() {
    let mut queue = queue(&[(1, "a"), (2, "b"), (3, "a"), (4, "b")]);
    take(&mut queue, 100);
    queue.delivered(2);
    queue.delivered(1);
    queue.put_back(4);
    queue.hold_gaps();
    assert_eq!((queue.record(1).cursor, kept(&queue)), (2, Vec::new()));
    take(&mut queue, 100);
    queue.delivered(4);
    queue.hold_gaps();
    assert_eq!((queue.record(1).cursor, kept(&queue)), (4, vec![3]));
    assert_eq!((queue.held(), queue.fresh()), (1, 0));
}
