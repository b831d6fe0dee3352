//! What another version would have done: recorded runs are run again, by the version that ran and
//! by another one, and what they decide is compared. Nothing is written.
//!
//! Reading order: `inputs` with `calls` (what is kept of a run), `recorded` (an outside that answers from it),
//! `trial` (one run again), `decision` and `difference` (what is compared, with `paths` for JSON),
//! `walk` (a stored range, page by page), `summary` (what came of it).

mod calls;

mod decision;

mod difference;

mod inputs;

mod paths;

mod recorded;

mod summary;

pub(super) mod trial;

mod walk;

pub(crate) use decision::Decision;
pub(crate) use difference::{Difference, compare};
pub(crate) use inputs::Inputs;
pub(crate) use summary::Summary;
pub(crate) use walk::{Finding, Plan, Side, Verdict, walk};

#[cfg(test)]
pub(crate) mod tests {
    pub(crate) use super::decision::tests::{decision, draft, fault};
}
