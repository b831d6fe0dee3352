//! What operators ask of the store: [`Store`]'s methods for them.

use callgate_core::time::Timestamp;

use crate::attempt;
use crate::audit::{self, AuditEntry, AuditQuery};
use crate::calls;
use crate::deliveries::{DeadAct, DeadLetters, Redelivery};
use crate::error::StoreError;
use crate::filter::{self, Cursor, Filter};
use crate::group::Operation;
use crate::inbox;
use crate::operate::{Acted, Done, Inspection, Instruction, Operating, astray, check_words};
use crate::plain::Found;
use crate::replays::{
    BulkReplay, COLUMNS, Cancelled, Cancelling, NewReplay, Preview, RATE_MAX, ReplayState,
    Starting, Step, Stepped, check, next,
};
use crate::sinks::{self, SinkStanding};
use crate::sql::query;
use crate::store::Store;

/// What operators do.
impl Store {
    /// Does an act to one notification, and writes down who and why.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for a name or a reason that is empty or too long, else as the
    /// database fails.
    pub async fn operate(
        &self,
        instruction: Instruction,
        now: Timestamp,
    ) -> Result<Acted, StoreError> {
        check_words(&instruction.who, &instruction.why)?;
        let audit_id = self.new_id(now);
        let operating = Operating::Act { instruction, audit_id, now };
        let done = self.ask(|reply| Operation::Operate(Box::new(operating), reply)).await?;
        if let Done::Act(acted) = done { Ok(acted) } else { Err(astray(&done)) }
    }

    /// A notification with its attempts and what operators did to it.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn inspect(&self, id: &str) -> Result<Option<Inspection>, StoreError> {
        let pool = self.readers();
        let Some(found) = inbox::found_by_id(pool, id).await? else { return Ok(None) };
        let attempts = attempt::of_notification(pool, id).await?;
        let query = AuditQuery {
            target: Some(id.to_owned()),
            limit: audit::AUDIT_MAX,
            ..AuditQuery::default()
        };
        let audit = audit::look(pool, &query).await?;
        let calls = calls::of_notification(pool, id).await?;
        Ok(Some(Inspection { found, attempts, calls, audit }))
    }

    /// What fits a filter, newest first; at most [`SEARCH_MAX`](crate::SEARCH_MAX).
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for an order number without its business, else as the database
    /// fails.
    pub async fn search(
        &self,
        filter: &Filter,
        before: Option<&Cursor>,
        limit: i64,
    ) -> Result<Vec<Found>, StoreError> {
        filter::search(self.readers(), filter, before, limit).await
    }

    /// Writes down an act of an operator that changes nothing in the store by itself: what was done,
    /// to what, and what came of it; then who and why.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for a name or a reason that is empty or too long, else as the
    /// database fails.
    pub async fn note_act(
        &self,
        (act, target, result): (&str, &str, String),
        (who, why): (&str, &str),
        now: Timestamp,
    ) -> Result<(), StoreError> {
        check_words(who, why)?;
        let entry = AuditEntry {
            id: self.new_id(now),
            at: now,
            who: who.to_owned(),
            act: act.to_owned(),
            target: target.to_owned(),
            why: why.to_owned(),
            result,
        };
        let operating = Operating::Note(entry);
        let done = self.ask(|reply| Operation::Operate(Box::new(operating), reply)).await?;
        if let Done::Noted = done { Ok(()) } else { Err(astray(&done)) }
    }

    /// What operators did, newest first.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn audit(&self, query: &AuditQuery) -> Result<Vec<AuditEntry>, StoreError> {
        audit::look(self.readers(), query).await
    }

    /// How many notifications wait for a person, by reason code, the most frequent first.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn reviews(&self) -> Result<Vec<(String, i64)>, StoreError> {
        inbox::reviews(self.readers()).await
    }
}

/// Sinks.
impl Store {
    /// Every sink that was ever delivered to, by name, with what it has not taken.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn sinks(&self) -> Result<Vec<SinkStanding>, StoreError> {
        sinks::standing(self.readers()).await
    }

    /// Does an act to dead letters, and writes down who and why; tells how many. Those that are
    /// sent again keep their ids, and come after what was sent in the meantime.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for an impossible limit, or for words that are empty or too long,
    /// else as the database fails.
    pub async fn dead_letter_act(
        &self,
        (which, act): (DeadLetters, DeadAct),
        (who, why): (&str, &str),
        now: Timestamp,
    ) -> Result<i64, StoreError> {
        which.check()?;
        check_words(who, why)?;
        let entry = AuditEntry {
            id: self.new_id(now),
            at: now,
            who: who.to_owned(),
            act: format!("sinks.{}", act.as_str()),
            target: which.event_id.clone().unwrap_or_else(|| which.sink.clone()),
            why: why.to_owned(),
            result: String::new(),
        };
        let redelivery = Box::new(Redelivery { which, act, now, entry });
        self.ask(|reply| Operation::Redeliver(redelivery, reply)).await
    }
}

/// Replays of many.
impl Store {
    /// What a replay would take, without taking it.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for an impossible filter, else as the database fails.
    pub async fn preview_replay(&self, filter: &Filter) -> Result<Preview, StoreError> {
        check(filter)?;
        let total = filter::count(self.readers(), filter).await?;
        Ok(Preview { total, sample: filter::sample(self.readers(), filter).await? })
    }

    /// Starts a replay of many; [`Store::step_replay`] works it off.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for an impossible one, else as the database fails.
    pub async fn start_replay(
        &self,
        new: NewReplay,
        now: Timestamp,
    ) -> Result<BulkReplay, StoreError> {
        let NewReplay { filter, who, why, rate_per_s } = new;
        check(&filter)?;
        check_words(&who, &why)?;
        if !(1..=RATE_MAX).contains(&rate_per_s) {
            let what = format!("rate is {rate_per_s} a second, expected 1 to {RATE_MAX}");
            return Err(StoreError::invalid(what));
        }
        let text = serde_json::to_string(&filter)
            .map_err(|error| StoreError::invalid(format!("filter: {error}")))?;
        let replay = BulkReplay {
            id: self.new_id(now),
            total: filter::count(self.readers(), &filter).await?,
            filter,
            who,
            why,
            rate_per_s,
            done: 0,
            skipped: 0,
            state: ReplayState::Running,
            created_at: now,
            finished_at: None,
            cursor: (Timestamp::from_ms(i64::MIN), String::new()),
            next_at: now,
        };
        let operating = Operating::Start(Starting { replay, filter: text });
        let done = self.ask(|reply| Operation::Operate(Box::new(operating), reply)).await?;
        if let Done::Start(replay) = done { Ok(replay) } else { Err(astray(&done)) }
    }

    /// Stops a replay of many; `words` are who and why.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for words that are empty or too long, else as the database fails.
    pub async fn cancel_replay(
        &self,
        id: &str,
        (who, why): (&str, &str),
        now: Timestamp,
    ) -> Result<Cancelled, StoreError> {
        check_words(who, why)?;
        let entry = AuditEntry {
            id: self.new_id(now),
            at: now,
            who: who.to_owned(),
            act: "replays.cancel".to_owned(),
            target: id.to_owned(),
            why: why.to_owned(),
            result: String::new(),
        };
        let operating = Operating::Cancel(Cancelling { entry });
        let done = self.ask(|reply| Operation::Operate(Box::new(operating), reply)).await?;
        if let Done::Cancel(cancelled) = done { Ok(cancelled) } else { Err(astray(&done)) }
    }

    /// When the next step of a replay is due; `None` where none is running.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn next_replay_at(&self) -> Result<Option<Timestamp>, StoreError> {
        let sql = "select min(next_at_ms) as next_at from replays where state = 'running'";
        let row = query(sql).fetch_one(self.readers()).await?;
        Ok(row.try_get::<Option<i64>, _>("next_at")?.map(Timestamp::from_ms))
    }

    /// Takes one step of the replay that is due first; `None` where none is due, or another host
    /// was faster.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn step_replay(&self, now: Timestamp) -> Result<Option<Stepped>, StoreError> {
        let sql = format!(
            "select {COLUMNS} from replays t where t.state = 'running' and t.next_at_ms <= $1 \
             order by t.next_at_ms, t.id limit {DUE_LOOKED_AT}"
        );
        let due = query(sql).bind(now.as_ms());
        let rows = due.fetch_all(self.readers()).await?;
        // One that cannot be read is for a newer host, and holds up no other.
        let readable = rows.iter().find_map(|row| BulkReplay::read(row).ok());
        let Some(replay) = readable else {
            return rows.first().map_or(Ok(None), |row| BulkReplay::read(row).map(|_| None));
        };
        let next = next(self.readers(), &replay).await?;
        let operating = Operating::Step(Step { replay, next, now });
        let done = self.ask(|reply| Operation::Operate(Box::new(operating), reply)).await?;
        if let Done::Step(stepped) = done { Ok(stepped) } else { Err(astray(&done)) }
    }

    /// One replay of many; `None` where there is no such replay.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn replay(&self, id: &str) -> Result<Option<BulkReplay>, StoreError> {
        let sql = format!("select {COLUMNS} from replays t where t.id = $1");
        let look = query(sql).bind(id.to_owned());
        look.fetch_optional(self.readers()).await?.as_ref().map(BulkReplay::read).transpose()
    }

    /// The last replays of many, newest first.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn replays(&self) -> Result<Vec<BulkReplay>, StoreError> {
        let sql = format!(
            "select {COLUMNS} from replays t order by t.created_at_ms desc, t.id desc limit {SHOWN}"
        );
        let look = query(sql);
        look.fetch_all(self.readers()).await?.iter().map(BulkReplay::read).collect()
    }
}

/// Replays that are due, of which the first that can be read takes a step.
const DUE_LOOKED_AT: i64 = 16;

/// Replays that a look at all of them shows.
const SHOWN: i64 = 50;
