//! Which route a notification takes: pure, no plugin in hand.
//!
//! Routes are compared field by field, event type first, then state, then scene. An exact event
//! type beats a prefix, a longer prefix beats a shorter one; an exact state or scene beats `*`.
//! Two different routes that match the same notification always differ in one of these, so there
//! is exactly one most specific route.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::descriptor::Route;
use crate::registry::RouteKey;

/// Routes of many plugins; a plugin is known by its number, its versions by their group.
#[derive(Debug, Default)]
pub(crate) struct RouteTable {
    by_business: BTreeMap<String, Vec<(Route, Entry)>>,
}

/// Whose a route is.
#[derive(Debug, Clone, Copy)]
struct Entry {
    number: usize,
    /// Versions of one plugin may claim the same routes: of them, each order has one.
    group: usize,
}

impl RouteTable {
    /// Gathers the routes of all plugins with their groups, in the order of their numbers.
    ///
    /// # Errors
    /// The route that two plugins of different groups claim, and their numbers.
    pub(crate) fn build<'a>(
        plugins: impl IntoIterator<Item = (usize, &'a [Route])>,
    ) -> Result<Self, Claim> {
        let mut table = Self::default();
        for (number, (group, routes)) in plugins.into_iter().enumerate() {
            for route in routes {
                table.add(route.clone(), Entry { number, group })?;
            }
        }
        for routes in table.by_business.values_mut() {
            routes.sort_by(|(a, _), (b, _)| rank(a).cmp(&rank(b)).then_with(|| a.cmp(b)));
        }
        Ok(table)
    }

    fn add(&mut self, route: Route, entry: Entry) -> Result<(), Claim> {
        let claimed = self.by_business.entry(route.business.clone()).or_default();
        let rival =
            |(earlier, other): &&(Route, Entry)| *earlier == route && other.group != entry.group;
        if let Some((_, first)) = claimed.iter().find(rival) {
            return Err(Claim { route, first: first.number, second: entry.number });
        }
        claimed.push((route, entry));
        Ok(())
    }

    /// The number of the plugin whose route is the most specific one that matches, of those that
    /// are wanted.
    pub(crate) fn pick(&self, key: RouteKey<'_>, wanted: impl Fn(usize) -> bool) -> Option<usize> {
        let routes = self.by_business.get(key.business)?;
        let fits = |(route, entry): &&(Route, Entry)| matches(route, key) && wanted(entry.number);
        routes.iter().find(fits).map(|(_, entry)| entry.number)
    }

    /// Whether a route matches in some state.
    pub(crate) fn serves(&self, key: RouteKey<'_>) -> bool {
        let in_its_state = |route: &Route| match route.state.as_str() {
            "" => None,
            "*" => Some("ANY".to_owned()),
            exact => Some(exact.to_owned()),
        };
        self.by_business.get(key.business).is_some_and(|routes| {
            routes.iter().any(|(route, _)| {
                let state = in_its_state(route);
                state.is_some() && matches(route, RouteKey { state: state.as_deref(), ..key })
            })
        })
    }
}

/// Two plugins claim one route.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) route: Route,
    pub(crate) first: usize,
    pub(crate) second: usize,
}

fn matches(route: &Route, key: RouteKey<'_>) -> bool {
    let event_type = match route.event_type.strip_suffix('*') {
        Some(start) => key.event_type.starts_with(start),
        None => key.event_type == route.event_type,
    };
    let state = match (route.state.as_str(), key.state) {
        ("", state) => state.is_none(),
        ("*", state) => state.is_some(),
        (exact, state) => state == Some(exact),
    };
    event_type && state && (route.scene == "*" || route.scene == key.scene)
}

/// Smaller is more specific.
fn rank(route: &Route) -> (bool, Reverse<usize>, bool, bool) {
    let prefix = route.event_type.ends_with('*');
    (prefix, Reverse(route.event_type.len()), route.state == "*", route.scene == "*")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(scene: &str, event_type: &str, state: &str) -> Route {
        Route {
            business: "SHOP".to_owned(),
            scene: scene.to_owned(),
            event_type: event_type.to_owned(),
            state: state.to_owned(),
        }
    }

    fn key(state: Option<&str>) -> RouteKey<'_> {
        RouteKey { business: "SHOP", scene: "APP", event_type: "payment.succeeded", state }
    }

    fn picked(routes: &[Route], key: RouteKey<'_>) -> Option<usize> {
        RouteTable::build(routes.chunks(1).enumerate()).unwrap().pick(key, |_| true)
    }

    /// Most specific first; each one alone matches the same notification.
    fn ladder() -> Vec<Route> {
        let mut ladder = Vec::new();
        for event_type in ["payment.succeeded", "payment.*", "pay*", "*"] {
            for state in ["OPEN", "*"] {
                for scene in ["APP", "*"] {
                    ladder.push(route(scene, event_type, state));
                }
            }
        }
        ladder
    }

    #[test]
    fn the_most_specific_route_wins_whatever_the_order_of_loading() {
        let ladder = ladder();
        for (best, expected) in ladder.iter().enumerate() {
            let from_best = ladder.get(best..).unwrap();
            assert_eq!(picked(from_best, key(Some("OPEN"))), Some(0), "{expected}");
            let backwards: Vec<_> = from_best.iter().rev().cloned().collect();
            assert_eq!(picked(&backwards, key(Some("OPEN"))), Some(backwards.len() - 1));
        }
    }

    #[test]
    fn a_notification_without_a_subject_takes_only_routes_without_one() {
        let routes = [route("*", "*", "*"), route("*", "*", "")];
        assert_eq!(picked(&routes, key(None)), Some(1));
        assert_eq!(picked(&routes, key(Some("OPEN"))), Some(0));
        assert_eq!(picked(&[route("*", "*", "*")], key(None)), None);
        assert_eq!(picked(&[route("*", "*", "")], key(Some("OPEN"))), None);
    }

    #[test]
    fn what_nobody_claims_has_no_route() {
        for other in [
            route("WEB", "*", "*"),
            route("*", "refund.*", "*"),
            route("*", "payment.succeede", "*"),
            route("*", "*", "PAID"),
        ] {
            assert_eq!(picked(&[other], key(Some("OPEN"))), None);
        }
        let other_business = RouteKey { business: "BANK", ..key(Some("OPEN")) };
        assert_eq!(picked(&ladder(), other_business), None);
    }

    #[test]
    fn a_route_claimed_by_two_plugins_is_refused() {
        let routes = [route("APP", "*", "*"), route("*", "*", "*"), route("APP", "*", "*")];
        let claim = RouteTable::build(routes.chunks(1).enumerate()).unwrap_err();
        assert_eq!(claim, Claim { route: route("APP", "*", "*"), first: 0, second: 2 });
    }

    #[test]
    fn versions_of_one_plugin_share_routes_and_the_wanted_one_is_picked() {
        let routes = [route("APP", "*", "*"), route("APP", "*", "*"), route("*", "*", "*")];
        let groups = [0, 0, 1].into_iter().zip(routes.chunks(1));
        let table = RouteTable::build(groups).unwrap();
        let picked = |wanted: &[usize]| table.pick(key(Some("OPEN")), |one| wanted.contains(&one));
        assert_eq!(picked(&[0, 2]), Some(0));
        assert_eq!(picked(&[1, 2]), Some(1));
        // A version that does not have the route leaves it to the next best one.
        assert_eq!(picked(&[2]), Some(2));
        assert_eq!(picked(&[]), None);
    }
}
