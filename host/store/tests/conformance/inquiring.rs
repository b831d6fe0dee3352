//! Stories of questions to gateways: who puts them, how many, and when no more.

use callgate_core::asking::Rate;
use callgate_store::{
    Allowance, BeginInquiry, ClaimInquiries, ClaimedInquiries, FirstQuestion, InquiryBegun,
    InquiryEnd, InquiryKey, InquiryLease, NewInquiry, Registered, Store, SweepInquiries,
};

use crate::acts::{accept, at, claim_one, order, paid, register, settle, settlement};
use crate::gateway::{BUSINESS, CHANNEL, payment};
use crate::house::House;

/// More than any story asks.
const RATE: Rate = Rate { per_minute: 60_000, burst: 1_000 };

/// From the registration to the first question.
const FIRST_MS: i64 = 1_000;

const LEASE_MS: i64 = 500;

fn allowance(rate: Rate) -> Allowance {
    Allowance { merchant: "wechat:1900000001".to_owned(), rate }
}

async fn registered(store: &Store, order_no: &str, aliases: &[&str]) {
    let mut new = order(order_no);
    new.aliases = aliases.iter().map(|alias| (*alias).to_owned()).collect();
    let first = FirstQuestion { channel: CHANNEL.to_owned(), due_at: at(FIRST_MS) };
    let answer = store.register_asking(new, vec![first], at(0)).await.unwrap();
    assert!(matches!(answer, Registered::Created(_)), "{answer:?}");
}

fn key(order_no: &str) -> InquiryKey {
    InquiryKey {
        business: BUSINESS.to_owned(),
        order_no: order_no.to_owned(),
        channel: CHANNEL.to_owned(),
        number: order_no.to_owned(),
        refund_no: None,
    }
}

async fn claim_with(store: &Store, owner: &str, ms: i64, rate: Rate) -> ClaimedInquiries {
    claim_on(store, CHANNEL, (owner, ms), allowance(rate)).await
}

async fn claim_on(
    store: &Store,
    channel: &str,
    (owner, ms): (&str, i64),
    allowance: Allowance,
) -> ClaimedInquiries {
    let claim = ClaimInquiries {
        channel: channel.to_owned(),
        owner: owner.to_owned(),
        limit: 100,
        lease_ms: LEASE_MS,
        allowance,
    };
    store.claim_inquiries(claim, at(ms)).await.unwrap()
}

async fn claim(store: &Store, owner: &str, ms: i64) -> Vec<InquiryLease> {
    claim_with(store, owner, ms, RATE).await.leases
}

async fn end(store: &Store, lease: InquiryLease, next: Option<i64>, ms: i64) -> bool {
    let end = InquiryEnd { lease, code: "inquiry.pending".to_owned(), next: next.map(at) };
    store.end_inquiry(end, at(ms)).await.unwrap()
}

pub(crate) async fn a_question_belongs_to_one_host_until_its_lease_ends(house: &House) {
    let (one, two) = (house.open().await, house.open().await);
    registered(&one, "o1", &["p1"]).await;
    assert_eq!(claim(&one, "a", FIRST_MS - 1).await, []);
    let leases = claim(&one, "a", FIRST_MS).await;
    let mut numbers: Vec<_> = leases.iter().map(|lease| lease.key.number.as_str()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, ["o1", "p1"]);
    assert_eq!(claim(&two, "b", FIRST_MS + 1).await, []);
    // Its host dies: time hands it on, and the one that was dead ends nothing.
    let again = claim(&two, "b", FIRST_MS + LEASE_MS).await;
    assert_eq!(again.len(), 2);
    assert_eq!((again[0].asked, again[0].rounds), (2, 2));
    assert!(!end(&one, leases[0].clone(), None, FIRST_MS + LEASE_MS).await);
    assert!(end(&two, again[0].clone(), Some(9_000), FIRST_MS + LEASE_MS).await);
    assert!(!end(&two, again[0].clone(), None, FIRST_MS + LEASE_MS).await);
    let claimed = claim_with(&two, "b", 8_999, RATE).await;
    assert_eq!(claimed.leases.len(), 1);
    assert_eq!(claim(&one, "a", 9_000).await.len(), 1);
}

pub(crate) async fn all_hosts_together_ask_no_more_than_a_merchant_may(house: &House) {
    let (one, two) = (house.open().await, house.open().await);
    for number in 0..20 {
        registered(&one, &format!("o{number}"), &[]).await;
    }
    let slow = Rate { per_minute: 60, burst: 5 };
    let (a, b) =
        tokio::join!(claim_with(&one, "a", FIRST_MS, slow), claim_with(&two, "b", FIRST_MS, slow));
    assert_eq!(a.leases.len() + b.leases.len(), 5);
    // A second later one more may be put, whoever comes.
    let next = claim_with(&two, "b", FIRST_MS + 10, slow).await;
    assert_eq!((next.leases.len(), next.next_at), (0, Some(at(FIRST_MS + 1_000))));
    assert_eq!(claim_with(&one, "a", FIRST_MS + 1_000, slow).await.leases.len(), 1);
    assert_eq!(claim_with(&two, "b", FIRST_MS + 1_000, slow).await.leases.len(), 0);
}

pub(crate) async fn channels_of_one_merchant_take_from_one_bucket(house: &House) {
    let (one, two) = (house.open().await, house.open().await);
    let first = |channel: &str| FirstQuestion { channel: channel.to_owned(), due_at: at(FIRST_MS) };
    for number in 0..10 {
        let both = vec![first("old"), first("new"), first("other")];
        let new = order(&format!("o{number}"));
        one.register_asking(new, both, at(0)).await.unwrap();
    }
    let slow = || allowance(Rate { per_minute: 60, burst: 5 });
    let (a, b) = tokio::join!(
        claim_on(&one, "old", ("a", FIRST_MS), slow()),
        claim_on(&two, "new", ("b", FIRST_MS), slow())
    );
    assert_eq!(a.leases.len() + b.leases.len(), 5);
    let begin = BeginInquiry {
        new: NewInquiry { key: key("o1"), due_at: at(60_000) },
        owner: "a".to_owned(),
        lease_ms: LEASE_MS,
        gap_ms: 30_000,
        allowance: slow(),
    };
    let begun = one.begin_inquiry(begin.clone(), at(FIRST_MS)).await.unwrap();
    assert_eq!(begun, InquiryBegun::Limited);
    // Another merchant has a bucket of its own, and one question more comes with a second.
    let other = Allowance { merchant: "wechat:1900000002".to_owned(), ..slow() };
    assert_eq!(claim_on(&two, "other", ("b", FIRST_MS), other).await.leases.len(), 5);
    let begun = two.begin_inquiry(begin, at(FIRST_MS + 1_000)).await.unwrap();
    assert!(matches!(begun, InquiryBegun::Ask(_)), "{begun:?}");
    for (store, channel) in [(&one, "old"), (&two, "new")] {
        let claimed = claim_on(store, channel, ("c", FIRST_MS + 1_000), slow()).await;
        assert_eq!((claimed.leases.len(), claimed.next_at), (0, Some(at(FIRST_MS + 2_000))));
    }
}

pub(crate) async fn an_order_that_was_heard_of_is_asked_about_no_more(house: &House) {
    let store = house.open().await;
    for order_no in ["moved", "told", "silent", "asked"] {
        registered(&store, order_no, &[]).await;
    }
    accept(&store, payment("d1", "moved", "t1"), 1).await;
    let job = claim_one(&store, "w", 2).await;
    settle(&store, settlement(&job, paid(&job)), 3).await;
    // Told, and not run yet.
    accept(&store, payment("d2", "told", "t2"), 4).await;
    let claimed = claim_with(&store, "a", FIRST_MS, RATE).await;
    let names: Vec<_> = claimed.leases.iter().map(|one| one.key.order_no.as_str()).collect();
    assert_eq!((claimed.heard, names.len()), (2, 2));
    assert!(names.contains(&"silent") && names.contains(&"asked"));
    assert_eq!(store.inquiries_of(BUSINESS, "moved").await.unwrap(), []);
    // Asked, told by the answer, and the host died before it could say so: nobody asks again.
    accept(&store, payment("query:d3", "asked", "t3"), FIRST_MS + 1).await;
    let claimed = claim_with(&store, "b", FIRST_MS + LEASE_MS, RATE).await;
    assert_eq!((claimed.heard, claimed.leases.len()), (1, 1));
    let kept = store.inquiries_of(BUSINESS, "asked").await.unwrap();
    assert_eq!(kept[0].code.as_deref(), Some("inquiry.heard"));
    assert!(kept[0].due_at.is_none() && kept[0].closed_at.is_some());
    // What is over is forgotten after a while, and nothing else.
    assert_eq!(store.forget_inquiries(at(FIRST_MS)).await.unwrap(), 0);
    assert_eq!(store.forget_inquiries(at(FIRST_MS + LEASE_MS + 1)).await.unwrap(), 1);
    assert_eq!(store.inquiries_of(BUSINESS, "silent").await.unwrap().len(), 1);
}

pub(crate) async fn a_question_out_of_turn_is_put_once_in_a_while(house: &House) {
    let (one, two) = (house.open().await, house.open().await);
    register(&one, "o1").await;
    let begin = |owner: &str, rate| BeginInquiry {
        new: NewInquiry { key: key("o1"), due_at: at(60_000) },
        owner: owner.to_owned(),
        lease_ms: LEASE_MS,
        gap_ms: 30_000,
        allowance: allowance(rate),
    };
    let (a, b) = tokio::join!(
        one.begin_inquiry(begin("a", RATE), at(10)),
        two.begin_inquiry(begin("b", RATE), at(10))
    );
    let begun = [a.unwrap(), b.unwrap()];
    assert!(begun.contains(&InquiryBegun::UnderWay), "{begun:?}");
    let lease = begun.into_iter().find_map(|begun| match begun {
        InquiryBegun::Ask(lease) => Some(lease),
        InquiryBegun::TooSoon { .. } | InquiryBegun::UnderWay | InquiryBegun::Limited => None,
    });
    let lease = lease.unwrap();
    assert_eq!((lease.asked, lease.rounds, lease.due_at), (1, 0, Some(at(60_000))));
    assert!(end(&one, lease, Some(60_000), 20).await);
    let soon = two.begin_inquiry(begin("b", RATE), at(29_999)).await.unwrap();
    let code = Some("inquiry.pending".to_owned());
    assert_eq!(soon, InquiryBegun::TooSoon { asked_at: at(10), code });
    let none = Rate { per_minute: 1, burst: 1 };
    assert!(matches!(
        two.begin_inquiry(begin("b", none), at(30_010)).await.unwrap(),
        InquiryBegun::Ask(_)
    ));
    let other = BeginInquiry {
        new: NewInquiry {
            key: InquiryKey { refund_no: Some("r1".to_owned()), ..key("o1") },
            due_at: at(90_000),
        },
        ..begin("a", none)
    };
    assert_eq!(one.begin_inquiry(other, at(30_011)).await.unwrap(), InquiryBegun::Limited);
    // While it is put the schedule does not put it, too; afterwards it goes on as it was.
    assert_eq!(claim(&one, "a", 30_011).await, []);
    assert_eq!(claim(&one, "a", 60_000).await.len(), 1);
    let late = one.begin_inquiry(begin("a", none), at(60_600)).await.unwrap();
    assert!(matches!(late, InquiryBegun::TooSoon { .. }), "{late:?}");
}

pub(crate) async fn a_question_that_is_over_can_be_put_on_the_schedule_again(house: &House) {
    let store = house.open().await;
    registered(&store, "o1", &[]).await;
    let refund = InquiryKey { refund_no: Some("r1".to_owned()), ..key("o1") };
    let open = |due| vec![NewInquiry { key: refund.clone(), due_at: at(due) }];
    assert_eq!(store.open_inquiries(open(5_000), at(0)).await.unwrap(), 1);
    assert_eq!(store.open_inquiries(open(1), at(1)).await.unwrap(), 0);
    let leases = claim(&store, "a", 5_000).await;
    let lease = leases.into_iter().find(|lease| lease.key == refund).unwrap();
    assert!(end(&store, lease, None, 5_001).await);
    assert_eq!(store.open_inquiries(open(9_000), at(8_000)).await.unwrap(), 1);
    let found = store.inquiries_of(BUSINESS, "o1").await.unwrap();
    let again = found.iter().find(|found| found.key == refund).unwrap();
    assert_eq!((again.begun_at, again.due_at, again.closed_at), (at(8_000), Some(at(9_000)), None));
    let lease = claim(&store, "a", 9_000).await;
    assert_eq!(
        lease.iter().find(|one| one.key == refund).map(|one| (one.asked, one.rounds)),
        Some((2, 1))
    );
    let bad = InquiryKey { number: "n\0".to_owned(), ..key("o1") };
    assert!(
        store.open_inquiries(vec![NewInquiry { key: bad, due_at: at(0) }], at(0)).await.is_err()
    );
}

pub(crate) async fn orders_that_were_registered_before_are_found_page_by_page(house: &House) {
    let (one, two) = (house.open().await, house.open().await);
    // Pages end between orders of one moment, and have those of another business among them.
    for number in 0..25 {
        for business in [BUSINESS, "ANOTHER"] {
            let mut new = order(&format!("o{number:02}"));
            new.business = business.to_owned();
            one.register(new, at(number / 3)).await.unwrap();
        }
    }
    accept(&one, payment("d1", "o07", "t1"), 1).await;
    let job = claim_one(&one, "w", 2).await;
    settle(&one, settlement(&job, paid(&job)), 3).await;
    let mut only = order("other-channel");
    only.channel = Some("elsewhere".to_owned());
    one.register(only, at(0)).await.unwrap();
    let sweep = |since: i64, anew: i64| SweepInquiries {
        business: BUSINESS.to_owned(),
        channels: vec![(CHANNEL.to_owned(), 1_000)],
        since: at(since),
        anew_before: at(anew),
        limit: 10,
    };
    // Hosts that look at the same time do not look twice, nor miss a page.
    for _ in 0..3 {
        let (first, second) = (sweep(0, -1), sweep(0, -1));
        let (a, b) =
            tokio::join!(one.sweep_inquiries(&first, at(10)), two.sweep_inquiries(&second, at(10)));
        a.unwrap();
        b.unwrap();
    }
    while one.sweep_inquiries(&sweep(0, -1), at(10)).await.unwrap() {}
    let leases = claim(&one, "a", 1_010).await;
    assert_eq!(leases.len(), 24);
    assert!(
        leases.iter().all(|one| !["o07", "other-channel"].contains(&one.key.order_no.as_str()))
    );
    // What was looked through is left in peace until the look is old; old orders always are.
    registered(&one, "o99", &[]).await;
    register(&one, "young").await;
    assert!(!one.sweep_inquiries(&sweep(0, -1), at(20)).await.unwrap());
    assert_eq!(one.inquiries_of(BUSINESS, "young").await.unwrap(), []);
    while two.sweep_inquiries(&sweep(1, 15), at(20)).await.unwrap() {}
    assert_eq!(one.inquiries_of(BUSINESS, "young").await.unwrap(), []);
    while two.sweep_inquiries(&sweep(0, 25), at(30)).await.unwrap() {}
    assert_eq!(one.inquiries_of(BUSINESS, "young").await.unwrap().len(), 1);
}
