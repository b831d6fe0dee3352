//! What a processor says of itself, and the answers of its first and third phase.

use crate::document::{DocumentRef, State};

/// What a processor says of itself when it is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// Path-like or reverse-DNS, such as `shop/order-payment`.
    pub name: String,
    /// Semantic version of the plugin.
    pub version: String,
    /// The calls it answers.
    pub routes: Vec<Route>,
    /// The moves of the subject that it may choose: from, to.
    pub transitions: Vec<(State, State)>,
    /// Whether [`Processor::after`](crate::Processor::after) is to be called.
    pub after: bool,
}

impl Descriptor {
    /// Starts with a name and a version; `env!("CARGO_PKG_VERSION")` is the usual version.
    #[must_use]
    pub fn new(name: impl Into<String>, version: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            routes: Vec::new(),
            transitions: Vec::new(),
            after: false,
        }
    }

    /// Adds a call that the processor answers.
    #[must_use]
    pub fn route(mut self, route: Route) -> Self {
        self.routes.push(route);
        self
    }

    /// Adds a move that the processor may choose.
    #[must_use]
    pub fn transition(mut self, from: State, to: State) -> Self {
        self.transitions.push((from, to));
        self
    }

    /// Asks for the phase `after`. A run costs the host one commit more then.
    #[must_use]
    pub fn with_after(mut self) -> Self {
        self.after = true;
        self
    }
}

/// What a processor wants to be called for. The most specific route wins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Business code, such as `PRODUCT_ORDER`. No wildcard.
    pub business: String,
    /// Scene, such as `WE_CHAT_PAY`; `*` for any.
    pub scene: String,
    /// Event type, such as `payment.succeeded`; a trailing `*` matches a prefix.
    pub event_type: String,
    /// State of the subject, such as `TO_BE_PAID`; `*` for any, empty for no subject.
    pub state: String,
}

impl Route {
    /// Any scene, event and state of a business; narrow it with the other functions.
    #[must_use]
    pub fn of(business: impl Into<String>) -> Self {
        let any = || "*".to_owned();
        Self { business: business.into(), scene: any(), event_type: any(), state: any() }
    }

    /// Only this scene.
    #[must_use]
    pub fn scene(mut self, scene: impl Into<String>) -> Self {
        self.scene = scene.into();
        self
    }

    /// Only this event type, or with a trailing `*` all that begin so.
    #[must_use]
    pub fn event(mut self, event_type: impl Into<String>) -> Self {
        self.event_type = event_type.into();
        self
    }

    /// Only while the subject is in this state.
    #[must_use]
    pub fn state(mut self, state: &State) -> Self {
        state.as_str().clone_into(&mut self.state);
        self
    }

    /// Only where there is no subject.
    #[must_use]
    pub fn without_subject(mut self) -> Self {
        self.state.clear();
        self
    }
}

/// What `prepare` found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Preparation {
    /// Documents besides the subject to load in one round trip.
    pub preload: Vec<DocumentRef>,
}

impl Preparation {
    /// Adds a document to load.
    #[must_use]
    pub fn preload(mut self, place: DocumentRef) -> Self {
        self.preload.push(place);
        self
    }
}

/// What `next_state` decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transition {
    /// Move the subject to this state; the descriptor must declare the move.
    MoveTo(State),
    /// Leave the state as it is and go on.
    Stay,
}

/// What was committed, for `after`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// State of the subject after the commit; none where there is no subject.
    pub state: Option<State>,
    /// Version of the subject after the commit; 0 for none.
    pub version: u64,
    /// How many events were committed.
    pub events: u32,
}
