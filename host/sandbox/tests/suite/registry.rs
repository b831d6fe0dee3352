//! Which plugins can be in force together.

use std::sync::Arc;

use callgate_core::canary::Share;
use callgate_sandbox::plugin::Plugin;
use callgate_sandbox::registry::{Member, Registry, Role, RouteKey};

use crate::guest::{component, load};

/// A plugin with another name and event type than the prelude's, of the same lengths.
async fn plugin(name: &str, event_type: &str) -> Arc<Plugin> {
    assert_eq!((name.len(), event_type.len()), (10, 9));
    let fields = format!(
        r#"(data $name "{name}") (data $event_type "{event_type}")
           (func (export "describe") (result i32)
             (memory.init $name (i32.const 256) (i32.const 0) (i32.const 10))
             (memory.init $event_type (i32.const 288) (i32.const 0) (i32.const 9))
             (call $describe))"#
    );
    Arc::new(load(component(&fields)).await)
}

#[tokio::test]
async fn plugins_with_different_routes_are_picked_by_the_most_specific() {
    let broad = plugin("test/broad", "payment.*").await;
    let exact = plugin("test/exact", "payment.a").await;
    let registry = Registry::build(vec![broad, exact]).unwrap();
    let picked = |event_type| {
        let key = RouteKey { business: "SHOP", scene: "APP", event_type, state: Some("OPEN") };
        registry.pick(key, None).map(|plugin| plugin.descriptor().name.clone())
    };
    assert_eq!(picked("payment.a").as_deref(), Some("test/exact"));
    assert_eq!(picked("payment.b").as_deref(), Some("test/broad"));
    assert_eq!(picked("refund.a"), None);
    let tables: Vec<_> = registry.tables().map(|(name, edges)| (name, edges.len())).collect();
    assert_eq!(tables, [("test/broad", 1), ("test/exact", 1)]);
}

#[tokio::test]
async fn one_route_claimed_by_two_plugins_is_refused_with_both_names() {
    let plugins =
        vec![plugin("test/first", "payment.*").await, plugin("test/other", "payment.*").await];
    let error = Registry::build(plugins).unwrap_err();
    assert_eq!(error.code(), "plugin.same-route");
    let text = error.to_string();
    assert!(text.contains("test/first") && text.contains("test/other"), "{text}");
}

#[tokio::test]
async fn one_name_given_twice_is_refused() {
    let plugins =
        vec![plugin("test/twice", "payment.*").await, plugin("test/twice", "payment.a").await];
    assert_eq!(Registry::build(plugins).unwrap_err().code(), "plugin.same-name");
}

#[tokio::test]
async fn an_order_has_one_version_of_a_plugin_with_a_canary() {
    let active = plugin("test/twice", "payment.*").await;
    // More specific, and yet not there for orders of the active version.
    let canary = plugin("test/twice", "payment.a").await;
    let share = Share { parts: 0, orders: ["o-1".to_owned()].into() };
    let member = |plugin: &Arc<Plugin>, role| Member { plugin: Arc::clone(plugin), role };
    let kept = plugin("test/older", "payment.*").await;
    let members = vec![member(&active, Role::Active), member(&canary, Role::Canary(share))];
    let registry = Registry::with(members.clone(), vec![Arc::clone(&kept)]).unwrap();
    let picked = |event_type, order| {
        let key = RouteKey { business: "SHOP", scene: "APP", event_type, state: Some("OPEN") };
        registry.pick(key, order).map(|plugin| plugin.sha256().to_owned())
    };
    let hash = |plugin: &Arc<Plugin>| Some(plugin.sha256().to_owned());
    assert_eq!(picked("payment.a", Some("o-1")), hash(&canary));
    assert_eq!(picked("payment.b", Some("o-1")), None, "the canary does not claim it");
    assert_eq!(picked("payment.a", Some("o-2")), hash(&active));
    assert_eq!(picked("payment.b", None), hash(&active));
    let named = |order| registry.named("test/twice", order).map(|one| one.sha256().to_owned());
    assert_eq!((named(Some("o-1")), named(None)), (hash(&canary), hash(&active)));
    let found = registry.of_component(kept.sha256()).map(|one| one.sha256().to_owned());
    assert_eq!(found, hash(&kept));
    let three = [members.clone(), vec![member(&kept, Role::Active)]].concat();
    assert_eq!(Registry::with(three, Vec::new()).unwrap_err().code(), "plugin.same-route");
    let two = vec![members[1].clone(), members[1].clone()];
    assert_eq!(Registry::with(two, Vec::new()).unwrap_err().code(), "plugin.same-name");
}
