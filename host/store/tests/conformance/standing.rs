//! Stories of those who wait: where orders stand, and which of them changed.

use callgate_core::outcome::Outcome;
use callgate_store::{KnownOrder, STANDINGS_MAX, Standing, StoreError};

use crate::acts::{
    accept, at, claim_one, order, paid, reason, register, settle, settlement, state,
};
use crate::gateway::{BUSINESS, payment};
use crate::house::House;

fn name(order_no: &str) -> (String, String) {
    (BUSINESS.to_owned(), order_no.to_owned())
}

fn known(order_no: &str, version: i64) -> KnownOrder {
    KnownOrder { business: BUSINESS.to_owned(), order_no: order_no.to_owned(), version }
}

fn standing(order_no: &str, (state, version): (&str, i64), ms: i64) -> Standing {
    Standing {
        business: BUSINESS.to_owned(),
        order_no: order_no.to_owned(),
        state: state.to_owned(),
        version,
        updated_at: at(ms),
    }
}

pub(crate) async fn orders_stand_where_they_were_left_under_every_name(house: &House) {
    let store = house.open().await;
    register(&store, "o1").await;
    let mut named = order("o2");
    named.aliases = vec!["p2".to_owned()];
    store.register(named, at(5)).await.unwrap();
    // A name that was heard of before its order, if it ever comes.
    accept(&store, payment("d9", "o9", "t9"), 6).await;
    let other = ("other".to_owned(), "o1".to_owned());
    let asked = [name("p2"), name("o1"), name("none"), name("o9"), other, name("o1"), name("o2")];
    let found = store.standings(&asked).await.unwrap();
    let one = standing("o1", ("TO_BE_PAID", 1), 0);
    let two = standing("o2", ("TO_BE_PAID", 1), 5);
    let expected = [Some(two.clone()), Some(one.clone()), None, None, None, Some(one), Some(two)];
    assert_eq!(found, expected);
    assert_eq!(store.standings(&[]).await.unwrap(), []);
    let many = vec![name("o1"); STANDINGS_MAX];
    assert_eq!(store.standings(&many).await.unwrap().len(), STANDINGS_MAX);
    let more = vec![name("o1"); STANDINGS_MAX + 1];
    assert!(matches!(store.standings(&more).await, Err(StoreError::Invalid { .. })));
}

pub(crate) async fn another_host_sees_what_changed_and_nothing_else(house: &House) {
    let (here, there) = (house.open().await, house.open().await);
    for order_no in ["o1", "o2", "o3"] {
        register(&here, order_no).await;
    }
    let watched = [known("o1", 1), known("o2", 1), known("gone", 1)];
    assert_eq!(there.changed(&watched).await.unwrap(), []);
    accept(&here, payment("d1", "o1", "t1"), 1).await;
    let job = claim_one(&here, "w", 2).await;
    settle(&here, settlement(&job, paid(&job)), 3).await;
    // Something heard that changes nothing is no news.
    accept(&here, payment("d2", "o2", "t2"), 4).await;
    let job = claim_one(&here, "w", 5).await;
    settle(&here, settlement(&job, Outcome::Keep(reason("plugin.ignored"))), 6).await;
    let paid = standing("o1", ("TO_BE_DELIVERED", 2), 3);
    assert_eq!(there.changed(&watched).await.unwrap(), std::slice::from_ref(&paid));
    assert_eq!(there.changed(&[known("o1", 2)]).await.unwrap(), []);
    // Who knows nothing yet is told, whatever it is.
    let found = there.changed(&[known("o3", 0), known("o1", 0)]).await.unwrap();
    assert_eq!(found.len(), 2);
    assert!(found.contains(&paid));
    let more = vec![known("o1", 1); STANDINGS_MAX + 1];
    assert!(matches!(there.changed(&more).await, Err(StoreError::Invalid { .. })));
}

pub(crate) async fn an_order_is_as_registered_until_its_state_changes(house: &House) {
    let store = house.open().await;
    let mut new = order("o1");
    // Words in the body that look like a state.
    new.body = r#"{"state":"TO_BE_DELIVERED"}"#.to_owned();
    new.state = state("TO_BE_PAID");
    store.register(new, at(0)).await.unwrap();
    assert_eq!(store.is_as_registered(BUSINESS, "o1").await.unwrap(), Some(true));
    accept(&store, payment("d1", "o1", "t1"), 1).await;
    let job = claim_one(&store, "w", 2).await;
    settle(&store, settlement(&job, paid(&job)), 3).await;
    assert_eq!(store.is_as_registered(BUSINESS, "o1").await.unwrap(), Some(false));
    assert_eq!(store.is_as_registered(BUSINESS, "o2").await.unwrap(), None);
    assert_eq!(store.is_as_registered("other", "o1").await.unwrap(), None);
}
