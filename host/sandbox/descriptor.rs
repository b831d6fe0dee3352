//! What a plugin says of itself, checked.

use std::collections::BTreeSet;
use std::fmt;

use crate::text;

/// A plugin's own description. Every field has passed the checks of this file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// Reverse-DNS or path-like, such as `shop/order-payment`.
    pub name: String,
    /// The semantic version of the plugin.
    pub version: semver::Version,
    /// What it wants to be called for.
    pub routes: Vec<Route>,
    /// The steps that it may choose; empty for one that keeps no state.
    pub transitions: Vec<Edge>,
    /// Whether `after` is to be called.
    pub after: bool,
}

/// What a processor wants to be called for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route {
    /// The business; never a wildcard.
    pub business: String,
    /// The scene, or `*` for any.
    pub scene: String,
    /// The event type; a trailing `*` matches every event type with that start.
    pub event_type: String,
    /// The state of the subject, `*` for any, empty for a route that works without a subject.
    pub state: String,
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { business, scene, event_type, state } = self;
        write!(f, "business `{business}`, scene `{scene}`, event type `{event_type}`, ")?;
        if state.is_empty() { f.write_str("no subject") } else { write!(f, "state `{state}`") }
    }
}

/// A step that a processor declares.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Edge {
    /// The state before.
    pub from: String,
    /// The state after.
    pub to: String,
}

/// A description as the guest gives it, not yet checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claimed {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) routes: Vec<Route>,
    pub(crate) transitions: Vec<Edge>,
    pub(crate) after: bool,
}

impl Claimed {
    /// Checks every field.
    ///
    /// # Errors
    /// What was found and what was expected, for the author.
    pub(crate) fn check(self) -> Result<Descriptor, String> {
        if !is_name(&self.name) {
            let shown = text::printable(&self.name, SHOWN_BYTES);
            return Err(format!(
                "name is `{shown}`, expected up to 128 of a-z A-Z 0-9 . _ - / such as `shop/order-payment`"
            ));
        }
        let version = semver::Version::parse(&self.version).map_err(|error| {
            let shown = text::printable(&self.version, SHOWN_BYTES);
            format!("version is `{shown}`, expected a semantic version such as 1.2.3: {error}")
        })?;
        check_routes(&self.routes)?;
        check_transitions(&self.transitions)?;
        Ok(Descriptor {
            name: self.name,
            version,
            routes: self.routes,
            transitions: self.transitions,
            after: self.after,
        })
    }
}

fn check_routes(routes: &[Route]) -> Result<(), String> {
    if routes.is_empty() || routes.len() > ROUTES_MAX {
        return Err(format!("{} routes, expected 1 to {ROUTES_MAX}", routes.len()));
    }
    let mut known = BTreeSet::new();
    for route in routes {
        check_route(route)?;
        if !known.insert(route) {
            return Err(format!("the route {route} is claimed twice"));
        }
    }
    Ok(())
}

/// Checks the syntax of one route.
///
/// # Errors
/// What was found and what was expected, for the author.
pub fn check_route(route: &Route) -> Result<(), String> {
    let fail = |field: &str, found: &str, expected: &str| {
        let shown = text::printable(found, SHOWN_BYTES);
        Err(format!("{field} of a route is `{shown}`, expected {expected}"))
    };
    if !text::is_code(&route.business) {
        return fail("business", &route.business, "1 to 64 of A-Z a-z 0-9 _ -, no wildcard");
    }
    if route.scene != "*" && !text::is_code(&route.scene) {
        return fail("scene", &route.scene, "1 to 64 of A-Z a-z 0-9 _ -, or * for any");
    }
    let start = route.event_type.strip_suffix('*').unwrap_or(&route.event_type);
    if route.event_type != "*" && !text::is_topic(start) {
        return fail("event type", &route.event_type, "up to 128 of a-z 0-9 . _ -, then * or not");
    }
    if !matches!(route.state.as_str(), "" | "*") && !text::is_code(&route.state) {
        return fail(
            "state",
            &route.state,
            "1 to 64 of A-Z a-z 0-9 _ -, * for any, empty for none",
        );
    }
    Ok(())
}

fn check_transitions(transitions: &[Edge]) -> Result<(), String> {
    if transitions.len() > TRANSITIONS_MAX {
        return Err(format!("{} transitions, limit is {TRANSITIONS_MAX}", transitions.len()));
    }
    for state in transitions.iter().flat_map(|edge| [&edge.from, &edge.to]) {
        if !text::is_code(state) {
            let shown = text::printable(state, SHOWN_BYTES);
            return Err(format!(
                "state of a transition is `{shown}`, expected 1 to 64 of A-Z a-z 0-9 _ -"
            ));
        }
    }
    Ok(())
}

/// Segments of `a-z A-Z 0-9 . _ -` with `/` between them, none empty and none starting with a dot.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    name.len() <= 128
        && name.split('/').all(|segment| {
            !segment.is_empty() && !segment.starts_with('.') && segment.bytes().all(fits)
        })
}

/// Routes of one plugin.
pub const ROUTES_MAX: usize = 200;

/// Transitions of one plugin.
pub const TRANSITIONS_MAX: usize = 1000;

const SHOWN_BYTES: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    fn route(business: &str, scene: &str, event_type: &str, state: &str) -> Route {
        Route {
            business: business.to_owned(),
            scene: scene.to_owned(),
            event_type: event_type.to_owned(),
            state: state.to_owned(),
        }
    }

    fn claimed() -> Claimed {
        Claimed {
            name: "shop/order-payment".to_owned(),
            version: "1.2.3".to_owned(),
            routes: vec![route("PRODUCT_ORDER", "*", "payment.*", "TO_BE_PAID")],
            transitions: vec![Edge { from: "TO_BE_PAID".to_owned(), to: "PAID".to_owned() }],
            after: false,
        }
    }

    fn refused(claimed: Claimed, word: &str) {
        let error = claimed.check().unwrap_err();
        assert!(error.contains(word), "{error}");
    }

    #[test]
    fn a_good_description_is_taken() {
        assert_eq!(claimed().check().unwrap().version.to_string(), "1.2.3");
    }

    #[test]
    fn names_are_path_like() {
        for name in ["", "a//b", "/a", "a/", "..", "a/../b", "a b", "a\nb", &"n".repeat(129)] {
            refused(Claimed { name: name.to_owned(), ..claimed() }, "name is");
        }
        let longest = "n".repeat(128);
        assert!(Claimed { name: longest, ..claimed() }.check().is_ok());
    }

    #[test]
    fn versions_are_semantic() {
        for version in ["", "1", "1.2", "v1.2.3", "1.2.3 "] {
            refused(Claimed { version: version.to_owned(), ..claimed() }, "version is");
        }
    }

    #[test]
    fn routes_keep_to_their_syntax() {
        let taken = |route| Claimed { routes: vec![route], ..claimed() }.check().is_ok();
        assert!(taken(route("A", "*", "*", "*")));
        assert!(taken(route("A", "S", "payment.succeeded", "")));
        assert!(!taken(route("*", "S", "*", "*")));
        assert!(!taken(route("A", "", "*", "*")));
        assert!(!taken(route("A", "S*", "*", "*")));
        assert!(!taken(route("A", "S", "", "*")));
        assert!(!taken(route("A", "S", "pay*ment", "*")));
        assert!(!taken(route("A", "S", "payment.**", "*")));
        assert!(!taken(route("A", "S", "Payment", "*")));
        assert!(!taken(route("A", "S", "*", "PA*")));
    }

    #[test]
    fn the_number_of_routes_is_bounded() {
        let routes = |n: usize| (0..n).map(|i| route(&format!("B{i}"), "*", "*", "*")).collect();
        refused(Claimed { routes: vec![], ..claimed() }, "0 routes");
        assert!(Claimed { routes: routes(ROUTES_MAX), ..claimed() }.check().is_ok());
        refused(Claimed { routes: routes(ROUTES_MAX + 1), ..claimed() }, "201 routes");
    }

    #[test]
    fn a_route_claimed_twice_is_refused() {
        let twice = vec![route("A", "*", "*", "*"), route("A", "*", "*", "*")];
        refused(Claimed { routes: twice, ..claimed() }, "claimed twice");
    }

    #[test]
    fn states_of_transitions_keep_to_their_syntax() {
        for state in ["", "*", "A B"] {
            let edge = Edge { from: "A".to_owned(), to: state.to_owned() };
            refused(Claimed { transitions: vec![edge], ..claimed() }, "state of a transition");
        }
    }
}
