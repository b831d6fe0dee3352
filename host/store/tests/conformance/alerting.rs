//! Stories of alerts: raised once for all hosts, told to everybody, over once.

use callgate_core::outcome::Reason;
use callgate_store::{
    AlertStep, AlertStepped, DueNotice, NoticeClaim, NoticeEnd, Raised, SeenAlert, Severity, Store,
    Turn,
};

use crate::acts::{accept, at, register};
use crate::gateway::payment;
use crate::house::House;

fn said(owner: &str, seen: &[(&str, i64)], over: &[&str]) -> AlertStep {
    let seen = seen.iter().map(|(condition, since)| SeenAlert {
        condition: (*condition).to_owned(),
        severity: Severity::Critical,
        summary: "it is late".to_owned(),
        since: at(*since),
    });
    AlertStep {
        owner: owner.to_owned(),
        lease_ms: 10_000,
        repeat_ms: 60_000,
        webhooks: vec![("duty".to_owned(), Severity::Warning)],
        seen: seen.collect(),
        over: over.iter().map(|condition| (*condition).to_owned()).collect(),
    }
}

async fn step(store: &Store, said: AlertStep, ms: i64) -> AlertStepped {
    store.step_alerts(said, at(ms)).await.unwrap()
}

async fn take(store: &Store, owner: &str, ms: i64) -> Option<DueNotice> {
    let (webhook, owner) = ("duty".to_owned(), owner.to_owned());
    let claim = NoticeClaim { webhook, owner, lease_ms: 5_000, per_minute: 3 };
    store.take_notice(claim, at(ms)).await.unwrap()
}

async fn send(store: &Store, ms: i64) -> Option<(String, Turn)> {
    let due = take(store, "h1", ms).await?;
    store.end_notice((&due, "h1"), NoticeEnd::Sent, at(ms)).await.unwrap();
    Some((due.notice.condition, due.notice.turn))
}

pub(crate) async fn of_two_hosts_that_see_the_same_one_raises_it(house: &House) {
    let (one, two) = (house.open().await, house.open().await);
    assert_eq!(step(&one, said("h1", &[("oldest", 10)], &[]), 100).await.raised, [Raised::New]);
    let other = step(&two, said("h2", &[("oldest", 20)], &[]), 101).await;
    assert_eq!(other.raised, [Raised::Elsewhere]);
    assert_eq!(step(&one, said("h1", &[("oldest", 10)], &[]), 200).await.raised, [Raised::Held]);
    assert_eq!(send(&two, 300).await, Some(("oldest".to_owned(), Turn::Raised)));
    assert_eq!(send(&one, 301).await, None, "it is told once");
    let open = one.open_alerts().await.unwrap();
    assert_eq!(open.len(), 1);
    assert_eq!((open[0].owner.as_str(), open[0].told, open[0].since), ("h1", 1, at(10)));
}

pub(crate) async fn two_hosts_that_raise_at_the_same_moment_tell_once(house: &House) {
    let (one, two) = (house.open().await, house.open().await);
    let (left, right) = tokio::join!(
        step(&one, said("h1", &[("oldest", 10)], &[]), 100),
        step(&two, said("h2", &[("oldest", 10)], &[]), 100),
    );
    let mut raised = [left.raised[0], right.raised[0]];
    raised.sort_by_key(|one| *one != Raised::New);
    assert_eq!(raised, [Raised::New, Raised::Elsewhere]);
    assert!(send(&one, 200).await.is_some());
    assert_eq!(send(&two, 200).await, None);
}

pub(crate) async fn what_lasts_is_told_again_and_what_is_over_once(house: &House) {
    let store = house.open().await;
    step(&store, said("h1", &[("oldest", 10)], &[]), 100).await;
    assert_eq!(send(&store, 100).await.unwrap().1, Turn::Raised);
    step(&store, said("h1", &[("oldest", 10)], &[]), 60_099).await;
    assert_eq!(send(&store, 60_099).await, None);
    step(&store, said("h1", &[("oldest", 10)], &[]), 60_100).await;
    assert_eq!(send(&store, 60_100).await.unwrap().1, Turn::Lasting);
    let over = step(&store, said("h1", &[], &["oldest"]), 70_000).await;
    assert_eq!(over.cleared, ["oldest"]);
    assert_eq!(send(&store, 70_000).await.unwrap().1, Turn::Recovered);
    assert_eq!(step(&store, said("h1", &[], &["oldest"]), 70_001).await.cleared, [""; 0]);
    assert!(store.open_alerts().await.unwrap().is_empty());
    // What was seen before it was over must last anew; what began later is another one.
    let again = step(&store, said("h2", &[("oldest", 69_999)], &[]), 70_002).await;
    assert_eq!(again.raised, [Raised::Cleared]);
    let again = step(&store, said("h2", &[("oldest", 70_001)], &[]), 70_003).await;
    assert_eq!(again.raised, [Raised::New]);
}

pub(crate) async fn only_who_has_an_alert_clears_it_until_that_host_is_silent(house: &House) {
    let store = house.open().await;
    step(&store, said("h1", &[("clock:a", 10)], &[]), 100).await;
    assert_eq!(step(&store, said("h2", &[], &["clock:a"]), 10_099).await.cleared, [""; 0]);
    // Its word counts for ten seconds.
    assert_eq!(step(&store, said("h2", &[], &["clock:a"]), 10_100).await.cleared, ["clock:a"]);
    step(&store, said("h1", &[("oldest", 20_000)], &[]), 20_100).await;
    let taken = step(&store, said("h2", &[("oldest", 20_050)], &[]), 30_100).await;
    assert_eq!(taken.raised, [Raised::Held], "a host that died leaves it to another one");
    let open = store.open_alerts().await.unwrap();
    assert_eq!((open[0].owner.as_str(), open[0].told), ("h2", 1));
}

pub(crate) async fn a_webhook_that_is_down_hears_the_newest_and_no_flood(house: &House) {
    let store = house.open().await;
    step(&store, said("h1", &[("oldest", 10)], &[]), 100).await;
    let due = take(&store, "h1", 100).await.unwrap();
    assert_eq!(due.attempt, 1);
    assert_eq!(take(&store, "h2", 101).await, None, "one host sends it");
    let reason = Reason::new("alerts.timeout", "no answer within 5000 ms");
    let end = NoticeEnd::Failed(reason.clone(), Some(at(2_000)));
    store.end_notice((&due, "h1"), end, at(1_000)).await.unwrap();
    assert_eq!(store.next_notice_at("duty").await.unwrap(), Some(at(2_000)));
    let standing = store.webhooks(&["duty".to_owned(), "other".to_owned()]).await.unwrap();
    assert_eq!((standing[0].waiting, standing[0].failed.clone()), (1, Some(reason)));
    assert_eq!((standing[1].waiting, standing[1].sent_at), (0, None));
    let due = take(&store, "h2", 2_000).await.unwrap();
    assert_eq!(due.attempt, 2);
    // h2 dies over it. While it is believed to send, a recovery stands beside it.
    step(&store, said("h1", &[], &["oldest"]), 3_000).await;
    let next = take(&store, "h1", 3_001).await.unwrap();
    assert_eq!(next.notice.turn, Turn::Recovered);
    assert_eq!(next.notice.raised_at, at(100));
    store.end_notice((&next, "h1"), NoticeEnd::Sent, at(3_002)).await.unwrap();
    let late = NoticeEnd::Sent;
    let again = take(&store, "h1", 7_000).await.unwrap();
    assert_eq!((again.attempt, again.id.as_str()), (3, due.id.as_str()));
    store.end_notice((&due, "h2"), late, at(7_001)).await.unwrap();
    store
        .end_notice(
            (&again, "h1"),
            NoticeEnd::Failed(Reason::new("alerts.status", ""), None),
            at(7_002),
        )
        .await
        .unwrap();
    assert_eq!(store.next_notice_at("duty").await.unwrap(), None, "given up");
    // What nobody heard of is replaced: the recovery says it all.
    step(&store, said("h1", &[("parked", 8_000)], &[]), 8_000).await;
    step(&store, said("h1", &[], &["parked"]), 9_000).await;
    assert_eq!(send(&store, 9_001).await, Some(("parked".to_owned(), Turn::Recovered)));
    assert_eq!(send(&store, 9_002).await, None);
}

pub(crate) async fn a_webhook_hears_so_many_in_a_minute_and_no_more(house: &House) {
    let store = house.open().await;
    let names: Vec<String> = (0..5).map(|n| format!("sink-lag:s{n}")).collect();
    let seen: Vec<(&str, i64)> = names.iter().map(|name| (name.as_str(), 0)).collect();
    step(&store, said("h1", &seen, &[]), 1_000).await;
    for ms in [1_001, 1_002, 1_003] {
        assert!(send(&store, ms).await.is_some());
    }
    assert_eq!(send(&store, 1_004).await, None, "three a minute, all hosts together");
    assert_eq!(send(&store, 61_000).await, None);
    assert!(send(&store, 61_001).await.is_some());
    assert_eq!(send(&store, 61_001).await, None);
    assert!(send(&store, 61_002).await.is_some());
}

pub(crate) async fn a_severity_that_is_too_low_is_not_told(house: &House) {
    let store = house.open().await;
    let mut low = said("h1", &[("parked", 0), ("oldest", 0)], &[]);
    low.seen[0].severity = Severity::Warning;
    low.webhooks = vec![("duty".to_owned(), Severity::Critical)];
    assert_eq!(step(&store, low, 10).await.raised, [Raised::New, Raised::New]);
    assert_eq!(send(&store, 11).await, Some(("oldest".to_owned(), Turn::Raised)));
    assert_eq!(send(&store, 12).await, None);
}

pub(crate) async fn callbacks_are_counted_by_five_minutes_when_they_are_past(house: &House) {
    let (store, span) = (house.open().await, callgate_store::COUNT_SPAN_MS);
    assert!(!store.count_callbacks(at(10)).await.unwrap(), "nothing is past");
    for (n, ms) in [10, span - 1, span, 3 * span + 5].into_iter().enumerate() {
        accept(&store, payment(&format!("d{n}"), &format!("o{n}"), "t"), ms).await;
    }
    assert!(!store.count_callbacks(at(span + 29_999)).await.unwrap());
    let now = at(4 * span + 30_000);
    let other = house.open().await;
    for _ in 0..4 {
        let (one, two) = tokio::join!(store.count_callbacks(now), other.count_callbacks(now));
        one.unwrap();
        two.unwrap();
    }
    assert!(!store.count_callbacks(now).await.unwrap());
    let counted = store.callbacks_between(at(0), at(4 * span)).await.unwrap();
    assert_eq!(counted.spans, 4);
    assert_eq!(counted.by_channel.values().copied().collect::<Vec<_>>(), [4]);
    let first = store.callbacks_between(at(0), at(span)).await.unwrap();
    assert_eq!((first.spans, first.by_channel.values().sum::<i64>()), (1, 2));
    let gap = store.callbacks_between(at(2 * span), at(3 * span)).await.unwrap();
    assert_eq!((gap.spans, gap.by_channel.len()), (1, 0), "it was counted, and nothing came");
}

pub(crate) async fn what_never_moved_and_what_waits_are_measured(house: &House) {
    let store = house.open().await;
    assert_eq!(store.oldest_unprocessed_ms(at(5)).await.unwrap(), None);
    register(&store, "o1").await;
    accept(&store, payment("d1", "o1", "t1"), 100).await;
    accept(&store, payment("d2", "nobody", "t2"), 50).await;
    let oldest = store.oldest_unprocessed_ms(at(1_100)).await.unwrap();
    assert!(oldest.is_some_and(|ms| ms >= 1_000), "{oldest:?}");
    let silent = store.silent_orders(at(0), at(10)).await.unwrap();
    assert_eq!(silent.len(), 1);
    assert_eq!((silent[0].orders, silent[0].silent), (1, 1));
    assert!(store.silent_orders(at(10), at(20)).await.unwrap().is_empty());
    assert!(store.sink_backlogs().await.unwrap().is_empty());
}
