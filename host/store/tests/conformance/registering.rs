//! Stories of orders, and of notifications that come before them.

use callgate_core::money::{Currency, Money};
use callgate_core::outcome::Outcome;
use callgate_store::{
    DocumentRef, InboxState, NewOrder, Receipt, Registered, Settled, StoreError, SubjectSeen,
};

use crate::acts::{
    accept, at, claim, claim_one, done, order, paid, reason, register, settle, settlement, state,
};
use crate::gateway::{BUSINESS, payment};
use crate::house::House;

pub(crate) async fn a_registration_repeated_is_the_same(house: &House) {
    let store = house.open().await;
    let mut new = order("o1");
    new.aliases = vec!["p2".to_owned(), "p1".to_owned()];
    let created = store.register(new.clone(), at(0)).await.unwrap();
    let Registered::Created(document) = created else { panic!("{created:?}") };
    let stored = store.order(BUSINESS, "o1").await.unwrap().unwrap();
    assert_eq!(stored.document, document);
    assert_eq!(stored.aliases, ["p1", "p2"]);
    // Once it has gone on, the same registration still is the same.
    accept(&store, payment("d1", "o1", "t1"), 1).await;
    let job = claim_one(&store, "w", 2).await;
    settle(&store, settlement(&job, paid(&job)), 3).await;
    new.aliases.reverse();
    new.body = r#" { "items" : [ 1, 2 ] } "#.to_owned();
    let again = store.register(new.clone(), at(9)).await.unwrap();
    let Registered::Same(document) = again else { panic!("{again:?}") };
    assert_eq!((document.version, document.state), (2, Some(state("TO_BE_DELIVERED"))));
    let (one, two) =
        tokio::join!(store.register(order("twin"), at(10)), store.register(order("twin"), at(10)));
    let answers = [one.unwrap(), two.unwrap()];
    assert!(answers.iter().any(|answer| matches!(answer, Registered::Created(_))));
    assert!(answers.iter().any(|answer| matches!(answer, Registered::Same(_))));
}

pub(crate) async fn every_field_that_differs_is_named(house: &House) {
    let store = house.open().await;
    register(&store, "o1").await;
    let changes: [(&str, Change); 6] = [
        ("amount", |order| order.amount.minor = 1),
        ("currency", |order| order.amount = usd(order.amount)),
        ("channel", |order| order.channel = Some("wechat-main".to_owned())),
        ("state", |order| order.state = state("CLOSED")),
        ("aliases", |order| order.aliases.push("p1".to_owned())),
        ("body", |order| order.body = "{}".to_owned()),
    ];
    for (field, change) in changes {
        let mut other = order("o1");
        change(&mut other);
        let registered = store.register(other, at(1)).await.unwrap();
        assert_eq!(registered, Registered::Differs { field });
    }
    let wrong: [Change; 4] = [
        |order| order.body = "{".to_owned(),
        |order| order.amount.minor = -1,
        |order| order.order_no = String::new(),
        |order| order.aliases = (0..33).map(|n| n.to_string()).collect(),
    ];
    for change in wrong {
        let mut order = order("o2");
        change(&mut order);
        let error = store.register(order, at(1)).await.unwrap_err();
        assert!(matches!(error, StoreError::Invalid { .. }), "{error}");
    }
    assert!(store.order(BUSINESS, "o2").await.unwrap().is_none());
}

type Change = fn(&mut NewOrder);

fn usd(amount: Money) -> Money {
    Money { currency: Currency::parse("USD").unwrap(), ..amount }
}

pub(crate) async fn a_name_belongs_to_one_order(house: &House) {
    let store = house.open().await;
    let mut first = order("o1");
    first.aliases = vec!["p1".to_owned()];
    store.register(first, at(0)).await.unwrap();
    for (order_no, alias, taken) in [("o2", "p1", "p1"), ("o2", "o1", "o1"), ("p1", "p9", "p1")] {
        let mut other = order(order_no);
        other.aliases = vec![alias.to_owned()];
        let registered = store.register(other, at(1)).await.unwrap();
        assert_eq!(registered, Registered::AliasTaken { alias: taken.to_owned() });
    }
    assert!(store.order(BUSINESS, "o2").await.unwrap().is_none());
    assert!(store.order(BUSINESS, "p9").await.unwrap().is_none());
    // Another business has names of its own.
    let mut elsewhere = order("p1");
    elsewhere.business = "GIFT_CARD".to_owned();
    assert!(matches!(store.register(elsewhere, at(2)).await.unwrap(), Registered::Created(_)));
    assert_eq!(store.order(BUSINESS, "p1").await.unwrap().unwrap().document.key, "o1");
}

pub(crate) async fn a_parked_notification_runs_once_its_order_is_registered(house: &House) {
    let store = house.open().await;
    let id = accept(&store, payment("d1", "o1", "t1"), 0).await;
    let job = claim_one(&store, "w", 1).await;
    assert!(job.subject.is_none());
    let mut park = settlement(&job, Outcome::Park(reason("order.unknown")));
    park.due_at = at(10_000);
    assert_eq!(settle(&store, park, 2).await, done("", 0, 0));
    assert!(claim(&store, "w", 9_999).await.is_empty());
    assert_eq!(store.counts().await.unwrap().parked, 1);
    let mut bell = store.work_bell();
    bell.listen();
    register(&store, "o1").await;
    bell.rung().await;
    let job = claim_one(&store, "w", 10).await;
    assert_eq!((job.lease.id(), job.stored.state), (id.as_str(), InboxState::Ready));
    let settling = settlement(&job, paid(&job));
    assert_eq!(settle(&store, settling, 11).await, done("TO_BE_DELIVERED", 2, 1));
}

pub(crate) async fn a_parked_notification_is_found_by_an_alias(house: &House) {
    let store = house.open().await;
    accept(&store, payment("d1", "pay-1", "t1"), 0).await;
    let job = claim_one(&store, "w", 1).await;
    let mut park = settlement(&job, Outcome::Park(reason("order.unknown")));
    park.due_at = at(10_000);
    settle(&store, park, 2).await;
    let mut new = order("o1");
    new.aliases = vec!["pay-1".to_owned()];
    store.register(new, at(3)).await.unwrap();
    // One that comes now is told apart by nothing but its time.
    accept(&store, payment("d2", "o1", "t2"), 4).await;
    let job = claim_one(&store, "w", 5).await;
    assert_eq!(job.stored.subject.as_deref(), Some("o1"));
    assert_eq!(job.stored.notification.order_no.as_deref(), Some("pay-1"));
    assert_eq!(job.subject.as_ref().unwrap().key, "o1");
    settle(&store, settlement(&job, paid(&job)), 6).await;
    accept(&store, payment("d3", "pay-1", "t3"), 7).await;
    let heard = store.notifications_of(BUSINESS, "pay-1").await.unwrap();
    let keys: Vec<_> = heard.iter().map(|stored| stored.delivery_key.as_str()).collect();
    assert_eq!(keys, ["d1", "d2", "d3"]);
}

pub(crate) async fn an_order_registered_during_the_run_releases_instead_of_parking(house: &House) {
    let store = house.open().await;
    accept(&store, payment("d1", "pay-1", "t1"), 0).await;
    let job = claim_one(&store, "w", 1).await;
    let mut new = order("o1");
    new.aliases = vec!["pay-1".to_owned()];
    store.register(new, at(2)).await.unwrap();
    let mut park = settlement(&job, Outcome::Park(reason("order.unknown")));
    park.due_at = at(10_000);
    assert_eq!(settle(&store, park, 3).await, Settled::Released);
    let job = claim_one(&store, "w", 4).await;
    assert_eq!(job.subject.unwrap().key, "o1");
    assert_eq!(store.counts().await.unwrap().parked, 0);
}

pub(crate) async fn a_parked_notification_is_due_when_its_wait_is_over(house: &House) {
    let store = house.open().await;
    let id = accept(&store, payment("d1", "o1", "t1"), 0).await;
    let job = claim_one(&store, "w", 1).await;
    let mut park = settlement(&job, Outcome::Park(reason("order.unknown")));
    park.due_at = at(10_000);
    settle(&store, park, 2).await;
    let job = claim_one(&store, "w", 10_000).await;
    assert_eq!(job.stored.state, InboxState::Parked);
    let review = settlement(&job, Outcome::Review(reason("order.never-registered")));
    assert_eq!(review.subject, SubjectSeen::Absent);
    settle(&store, review, 10_001).await;
    register(&store, "o1").await;
    let stored = store.notification(&id).await.unwrap().unwrap();
    assert_eq!(stored.state, InboxState::Review, "a person has it now");
}

pub(crate) async fn registering_and_parking_on_two_hosts_never_miss_each_other(house: &House) {
    let (one, two) = (house.open().await, house.open().await);
    for n in 0..40 {
        let (name, alias) = (format!("o{n}"), format!("p{n}"));
        accept(&one, payment(&format!("d{n}"), &alias, "t"), 0).await;
        let job = claim_one(&one, "w", 1).await;
        let mut park = settlement(&job, Outcome::Park(reason("order.unknown")));
        park.due_at = at(1_000_000);
        let mut new = order(&name);
        new.aliases = vec![alias.clone()];
        // A second message comes at the same moment, too.
        let (parked, registered, stored) = tokio::join!(
            one.settle(park, at(2)),
            two.register(new, at(2)),
            one.accept(payment(&format!("e{n}"), &alias, "u"), at(2)),
        );
        assert!(matches!(parked.unwrap(), Settled::Done { .. } | Settled::Released));
        assert!(matches!(registered.unwrap(), Registered::Created(_)));
        assert!(matches!(stored.unwrap(), Receipt::New(_)));
        for delivery in ["d", "e"] {
            let job = claim_one(&two, "w", 3).await;
            assert_eq!(job.stored.delivery_key, format!("{delivery}{n}"));
            assert_eq!(job.subject.as_ref().unwrap().key, name);
            settle(&two, settlement(&job, Outcome::Keep(reason("kept"))), 4).await;
        }
    }
}

pub(crate) async fn an_order_shows_everything_about_itself(house: &House) {
    let store = house.open().await;
    assert!(store.order(BUSINESS, "o1").await.unwrap().is_none());
    accept(&store, payment("d0", "o1", "t0"), 0).await;
    assert!(store.order(BUSINESS, "o1").await.unwrap().is_none(), "heard of, not registered");
    assert_eq!(store.notifications_of(BUSINESS, "o1").await.unwrap().len(), 1);
    let mut new = order("o1");
    new.aliases = vec!["p1".to_owned()];
    store.register(new, at(1)).await.unwrap();
    let job = claim_one(&store, "w", 2).await;
    settle(&store, settlement(&job, paid(&job)), 3).await;
    let view = store.order(BUSINESS, "p1").await.unwrap().unwrap();
    assert_eq!(view, store.order(BUSINESS, "o1").await.unwrap().unwrap());
    assert_eq!((view.history.len(), view.notifications.len(), view.events.len()), (1, 1, 1));
    assert!(store.order("GIFT_CARD", "o1").await.unwrap().is_none(), "another business");
    let refs: Vec<_> = ["ledger", "nothing", "orders"]
        .map(|collection| DocumentRef { collection: collection.to_owned(), key: "o1".to_owned() })
        .into();
    let found = store.documents(BUSINESS, &refs).await.unwrap();
    let there: Vec<_> = found.iter().map(Option::is_some).collect();
    assert_eq!(there, [true, false, true]);
    let many = vec![refs[0].clone(); 129];
    assert_eq!(store.documents(BUSINESS, &many).await.unwrap_err().code(), "store.invalid");
}
