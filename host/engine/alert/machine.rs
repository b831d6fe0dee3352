//! One condition over time: pure, with the time as a value.
//!
//! It is raised only when it has lasted, and over only when it has been gone as long as it takes;
//! between the two limits nothing changes. So what flaps is told once.

use callgate_core::time::Timestamp;

/// Where a value stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// At the limit or past it.
    Over,
    /// Past what counts as recovered, but not at the limit.
    Between,
    /// Well.
    Under,
}

/// How long things must last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// How long a value must be over the limit before the condition is raised, in milliseconds.
    pub for_ms: i64,
    /// How long it must be well before it is over, in milliseconds.
    pub clear_ms: i64,
}

/// A condition as one host sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    /// Well.
    Calm,
    /// Over the limit, but not for long enough.
    Rising {
        /// Since when.
        since: Timestamp,
    },
    /// Raised.
    Raised {
        /// When it began.
        since: Timestamp,
    },
    /// Raised, and well again, but not for long enough.
    Falling {
        /// When it began.
        since: Timestamp,
        /// Since when it is well.
        well: Timestamp,
    },
}

impl Machine {
    /// What becomes of it. A value that could not be read changes nothing.
    #[must_use]
    pub fn step(self, level: Option<Level>, pace: Pace, now: Timestamp) -> Self {
        use Level::{Between, Over, Under};

        match (self, level) {
            (same, None) => same,
            (Self::Calm, Some(Over)) => Self::Rising { since: now }.risen(pace, now),
            (Self::Calm | Self::Rising { .. }, Some(Between | Under)) => Self::Calm,
            (rising @ Self::Rising { .. }, Some(Over)) => rising.risen(pace, now),
            (Self::Raised { since }, Some(Under)) => {
                Self::Falling { since, well: now }.fallen(pace, now)
            }
            (falling @ Self::Falling { .. }, Some(Under)) => falling.fallen(pace, now),
            (Self::Raised { since } | Self::Falling { since, .. }, Some(Over | Between)) => {
                Self::Raised { since }
            }
        }
    }

    /// The condition was cleared elsewhere after it was seen here first: it must last anew.
    #[must_use]
    pub fn anew(self, now: Timestamp) -> Self {
        match self {
            Self::Raised { .. } => Self::Rising { since: now },
            Self::Calm | Self::Rising { .. } | Self::Falling { .. } => Self::Calm,
        }
    }

    /// Since when it lasts, where it is raised; also while it falls.
    #[must_use]
    pub fn raised_since(self) -> Option<Timestamp> {
        match self {
            Self::Raised { since } | Self::Falling { since, .. } => Some(since),
            Self::Calm | Self::Rising { .. } => None,
        }
    }

    fn risen(self, pace: Pace, now: Timestamp) -> Self {
        match self {
            // A clock that was set back makes nothing last longer.
            Self::Rising { since } if now.ms_since(since) >= pace.for_ms => Self::Raised { since },
            Self::Calm | Self::Rising { .. } | Self::Raised { .. } | Self::Falling { .. } => self,
        }
    }

    fn fallen(self, pace: Pace, now: Timestamp) -> Self {
        match self {
            Self::Falling { well, .. } if now.ms_since(well) >= pace.clear_ms => Self::Calm,
            Self::Calm | Self::Rising { .. } | Self::Raised { .. } | Self::Falling { .. } => self,
        }
    }
}

#[cfg(test)]
mod tests;
