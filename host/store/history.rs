//! History: what happened to each order, and that each meaning had its effect once.

use std::collections::HashMap;

use callgate_core::time::Timestamp;

use crate::batch::{Cell, Statement, change, fetch};
use crate::error::StoreError;
use crate::sql::{Connection, Pool, Row, query};

/// What a run did to its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The state changed.
    Moved,
    /// The state was kept; documents or events were written.
    Stayed,
    /// Nothing was written.
    None,
}

impl Effect {
    fn as_str(self) -> &'static str {
        match self {
            Self::Moved => "moved",
            Self::Stayed => "stayed",
            Self::None => "none",
        }
    }
}

/// One committed run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// Its own id.
    pub id: String,
    /// Who owns the order.
    pub business: String,
    /// The order; empty where the notification names none.
    pub order_no: String,
    /// The notification that led here.
    pub notification_id: String,
    /// The business fact it told.
    pub meaning_key: String,
    /// What it did.
    pub effect: Effect,
    /// The state before; empty where there is no order.
    pub from_state: String,
    /// The state after.
    pub to_state: String,
    /// The version of the order afterwards; 0 where there is none.
    pub version: i64,
    /// What was said to have happened.
    pub event_type: String,
    /// The channel it came through.
    pub channel: String,
    /// Which processor decided, if one ran.
    pub run: Option<RunRecord>,
    /// Which attempt of the notification it was.
    pub attempt: i64,
    /// How many events were committed with it; `None` where an older program wrote it.
    pub events: Option<i64>,
    /// When it was committed.
    pub at: Timestamp,
}

/// What a commit made of a run, for the phase that follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The state of the order right after; empty where there is none.
    pub state: String,
    /// The version of the order right after; 0 where there is none.
    pub version: i64,
    /// How many events it wrote.
    pub events: i64,
    /// The state that was chosen; `None` where the order stayed as it was.
    pub target: Option<String>,
    /// The component that ran, by its SHA-256 in hexadecimal; `None` where the host decided alone.
    pub component: Option<String>,
}

/// Which processor ran, and what it burned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRecord {
    /// Name of the plugin.
    pub plugin: String,
    /// Its version.
    pub plugin_version: String,
    /// SHA-256 of its component, 64 hex digits.
    pub component: String,
    /// Fuel burned by all phases.
    pub fuel: i64,
}

impl HistoryEntry {
    fn read(row: &Row) -> Result<Self, StoreError> {
        let effect: String = row.try_get("effect")?;
        let effect = [Effect::Moved, Effect::Stayed, Effect::None]
            .into_iter()
            .find(|known| known.as_str() == effect)
            .ok_or_else(|| StoreError::corrupt(format!("history effect `{effect}`")))?;
        let run = match row.try_get::<Option<String>, _>("plugin")? {
            Some(plugin) => Some(RunRecord {
                plugin,
                plugin_version: row.try_get("plugin_version")?,
                component: row.try_get("component")?,
                fuel: row.try_get("fuel")?,
            }),
            None => None,
        };
        Ok(Self {
            id: row.try_get("id")?,
            business: row.try_get("business")?,
            order_no: row.try_get("order_no")?,
            notification_id: row.try_get("notification_id")?,
            meaning_key: row.try_get("meaning_key")?,
            effect,
            from_state: row.try_get("from_state")?,
            to_state: row.try_get("to_state")?,
            version: row.try_get("version")?,
            event_type: row.try_get("event_type")?,
            channel: row.try_get("channel")?,
            run,
            attempt: row.try_get("attempt")?,
            events: row.try_get("events")?,
            at: Timestamp::from_ms(row.try_get("at_ms")?),
        })
    }

    fn cells(&self) -> [Cell; 18] {
        let run = self.run.as_ref();
        [
            self.id.as_str().into(),
            self.business.as_str().into(),
            self.order_no.as_str().into(),
            self.notification_id.as_str().into(),
            self.meaning_key.as_str().into(),
            self.effect.as_str().into(),
            self.from_state.as_str().into(),
            self.to_state.as_str().into(),
            self.version.into(),
            self.event_type.as_str().into(),
            self.channel.as_str().into(),
            run.map(|run| run.plugin.as_str()).into(),
            run.map(|run| run.plugin_version.as_str()).into(),
            run.map(|run| run.component.as_str()).into(),
            self.attempt.into(),
            run.map(|run| run.fuel).into(),
            self.at.as_ms().into(),
            self.events.into(),
        ]
    }
}

/// Everything that [`HistoryEntry::read`] reads.
macro_rules! entry {
    () => {
        "id, business, order_no, notification_id, meaning_key, effect, from_state, to_state, \
         version, event_type, channel, plugin, plugin_version, component, attempt, fuel, at_ms, \
         events"
    };
}

/// Business, order number and meaning key.
pub(crate) type Meaning = (String, String, String);

/// Whether the meaning of a row of the inbox has had its effect, as a column: 1 or 0. Takes what
/// the row is called. No `exists`: PostgreSQL would read the whole history into a table in memory
/// where it thinks that many rows are asked about.
macro_rules! is_used {
    ($row:literal) => {
        concat!(
            "coalesce((select cast(1 as bigint) from history u where u.business = ",
            $row,
            ".business and u.order_no = coalesce(",
            $row,
            ".subject, '') and u.meaning_key = ",
            $row,
            ".meaning_key and u.effect <> 'none' limit 1), cast(0 as bigint))"
        )
    };
}
pub(crate) use is_used;

/// Adds entries. A meaning that had its effect already fails the statement.
pub(crate) async fn insert(
    connection: &mut Connection,
    entries: &[HistoryEntry],
) -> Result<(), sqlx::Error> {
    let rows: Vec<_> = entries.iter().map(HistoryEntry::cells).collect();
    change(connection, INSERT, &rows).await.map(drop)
}

/// What commits made of their runs, by the ids of their entries.
pub(crate) async fn committed(
    connection: &mut Connection,
    ids: impl Iterator<Item = &String>,
) -> Result<HashMap<String, Committed>, sqlx::Error> {
    let rows: Vec<[Cell; 1]> = ids.map(|id| [id.as_str().into()]).collect();
    let mut found = HashMap::new();
    for row in fetch(connection, COMMITTED, &rows).await? {
        let state: String = row.try_get("to_state")?;
        let moved = row.try_get::<String, _>("effect")? == Effect::Moved.as_str();
        let committed = Committed {
            target: moved.then(|| state.clone()),
            state,
            version: row.try_get("version")?,
            events: row.try_get::<Option<i64>, _>("events")?.unwrap_or(0),
            component: row.try_get("component")?,
        };
        found.insert(row.try_get("id")?, committed);
    }
    Ok(found)
}

/// The story of one order, oldest first.
pub(crate) async fn of_order(
    pool: &Pool,
    business: &str,
    order_no: &str,
) -> Result<Vec<HistoryEntry>, StoreError> {
    let look = query(STORY).bind(business).bind(order_no).bind(HISTORY_MAX);
    let rows = look.fetch_all(pool).await?;
    rows.iter().map(HistoryEntry::read).collect()
}

/// The entries of an order are in two indexes.
pub(crate) const STORY: &str = concat!(
    "select ",
    entry!(),
    " from history where business = $1 and order_no = $2 and effect <> 'none' union all select ",
    entry!(),
    " from history where business = $1 and order_no = $2 and effect = 'none' \
     order by version, at_ms, id limit $3",
);

const COMMITTED: Statement = Statement {
    columns: "entry_id",
    text: "select t.id, t.effect, t.to_state, t.version, t.events, t.component from v \
           join history t on t.id = v.entry_id",
    suffix: "",
};

const INSERT: Statement = Statement {
    columns: "id, business, order_no, notification_id, meaning_key, effect, from_state, to_state, \
              version, event_type, channel, plugin, plugin_version, component, attempt, fuel, \
              at_ms, events",
    text: "insert into history (id, business, order_no, notification_id, meaning_key, effect, \
           from_state, to_state, version, event_type, channel, plugin, plugin_version, component, \
           attempt, fuel, at_ms, events) select v.* from v where v.id is not null",
    suffix: "",
};

/// Entries that a look at one order shows.
pub const HISTORY_MAX: i64 = 200;
