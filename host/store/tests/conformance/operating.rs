//! Stories of operators: what they see, what they do, and that nothing is doubled by it.

use callgate_core::outcome::Outcome;
use callgate_store::{
    ATTEMPTS_KEPT, Act, Acted, AfterEnd, AfterPhase, AfterSettlement, AuditQuery, Cancelled,
    Filter, Found, InboxState, Instruction, MeaningUse, NewReplay, ReplayState, Settled, Spent,
    Store,
};

use crate::acts::{accept, at, claim, claim_one, done, paid, reason, register, settle, settlement};
use crate::gateway::{BUSINESS, CHANNEL, payment};
use crate::house::House;

fn instruction(id: &str, act: Act) -> Instruction {
    Instruction { id: id.to_owned(), act, who: "ada".to_owned(), why: "it was told".to_owned() }
}

async fn operate(store: &Store, id: &str, act: Act, ms: i64) -> Acted {
    store.operate(instruction(id, act), at(ms)).await.unwrap()
}

fn in_review() -> Filter {
    Filter { state: Some(InboxState::Review), ..Filter::default() }
}

/// Notifications in review, one for each name; their ids.
async fn reviewed(store: &Store, names: &[&str]) -> Vec<String> {
    let mut ids = Vec::new();
    for (ms, name) in (1i64..).zip(names) {
        register(store, name).await;
        ids.push(
            accept(store, payment(&format!("d-{name}"), name, &format!("t-{name}")), ms).await,
        );
        let job = claim_one(store, "w", ms + 100).await;
        settle(store, settlement(&job, Outcome::Review(reason("plugin.no"))), ms + 200).await;
    }
    ids
}

async fn acts_on(store: &Store, target: &str) -> Vec<String> {
    let query = AuditQuery { target: Some(target.to_owned()), limit: 10, ..AuditQuery::default() };
    let entries = store.audit(&query).await.unwrap();
    assert!(entries.iter().all(|entry| entry.who == "ada" && entry.why == "it was told"));
    entries.into_iter().map(|entry| format!("{}: {}", entry.act, entry.result)).collect()
}

pub(crate) async fn every_attempt_is_kept_with_its_reason_and_its_phases(house: &House) {
    let store = house.open().await;
    register(&store, "o1").await;
    let id = accept(&store, payment("d1", "o1", "t1"), 1).await;
    let job = claim_one(&store, "w", 2).await;
    let mut retry = settlement(&job, Outcome::Retry(reason("sandbox.fuel")));
    retry.due_at = at(10);
    settle(&store, retry, 3).await;
    let job = claim_one(&store, "w", 10).await;
    let mut advance = settlement(&job, paid(&job));
    advance.after = AfterPhase::Wanted;
    settle(&store, advance, 11).await;
    let end = AfterSettlement {
        lease: job.lease.clone(),
        end: AfterEnd::Done,
        events: Vec::new(),
        run: None,
        spent: Spent::default(),
    };
    store.finish_after(end.clone(), at(12)).await.unwrap();
    assert_eq!(store.finish_after(end, at(13)).await.unwrap(), Settled::LostLease);
    let found = store.inspect(&id).await.unwrap().unwrap();
    let told: Vec<_> = found
        .attempts
        .iter()
        .map(|one| (one.attempt, one.step.as_str(), one.outcome.as_str(), one.mode.as_str()))
        .collect();
    assert_eq!(
        told,
        [(1, "run", "retry", "live"), (2, "run", "advance", "live"), (2, "after", "done", "live")]
    );
    let first = &found.attempts[0];
    assert_eq!(first.reason, Some(reason("sandbox.fuel")));
    assert_eq!((first.at, first.spent.duration_us), (at(3), 1_500));
    assert!(first.spent.phases.contains("check"));
    assert_eq!(
        first.run.as_ref().map(|run| (run.fuel, run.plugin_version.as_str())),
        Some((1_000, "1.0.0"))
    );
    assert!(store.inspect("nobody").await.unwrap().is_none());
}

pub(crate) async fn a_replay_of_what_is_done_doubles_nothing(house: &House) {
    let store = house.open().await;
    register(&store, "o1").await;
    let id = accept(&store, payment("d1", "o1", "t1"), 1).await;
    let job = claim_one(&store, "w", 2).await;
    settle(&store, settlement(&job, paid(&job)), 3).await;
    let told = Acted::Done { from: InboxState::Done, to: InboxState::Ready };
    assert_eq!(operate(&store, &id, Act::Replay, 4).await, told);
    let job = claim_one(&store, "w", 5).await;
    assert_eq!(job.meaning, MeaningUse::Used);
    assert_eq!((job.stored.replayed_at, job.stored.attempts_before), (Some(at(4)), 1));
    // Even a run that wants to pay again cannot.
    assert_eq!(settle(&store, settlement(&job, paid(&job)), 6).await, Settled::Repeated);
    let view = store.order(BUSINESS, "o1").await.unwrap().unwrap();
    assert_eq!((view.document.version, view.events.len(), view.history.len()), (2, 1, 1));
    let found = store.inspect(&id).await.unwrap().unwrap();
    assert_eq!(found.attempts[1].mode, "replay");
    assert_eq!(acts_on(&store, &id).await, ["replay: done -> ready"]);
}

pub(crate) async fn a_replay_of_a_failed_last_phase_runs_that_phase_alone(house: &House) {
    let store = house.open().await;
    register(&store, "o1").await;
    let id = accept(&store, payment("d1", "o1", "t1"), 1).await;
    let job = claim_one(&store, "w", 2).await;
    let mut advance = settlement(&job, paid(&job));
    advance.after = AfterPhase::Wanted;
    advance.scratch = Some("7".to_owned());
    settle(&store, advance, 3).await;
    assert_eq!(operate(&store, &id, Act::Replay, 3).await, Acted::Busy);
    let end = AfterSettlement {
        lease: job.lease.clone(),
        end: AfterEnd::Review(reason("plugin.late")),
        events: Vec::new(),
        run: None,
        spent: Spent::default(),
    };
    store.finish_after(end, at(4)).await.unwrap();
    let told = Acted::Done { from: InboxState::Review, to: InboxState::After };
    assert_eq!(operate(&store, &id, Act::Replay, 5).await, told);
    assert_eq!(
        operate(&store, &id, Act::Discard, 5).await,
        Acted::Refused { state: InboxState::After }
    );
    let job = claim_one(&store, "w", 6).await;
    assert_eq!((job.stored.state, job.stored.scratch.as_deref()), (InboxState::After, Some("7")));
    assert_eq!(job.stored.outcome.as_deref(), Some("advance"));
}

pub(crate) async fn an_act_is_done_once_it_makes_sense_and_is_written_down(house: &House) {
    let store = house.open().await;
    let ids = reviewed(&store, &["o1"]).await;
    let id = ids[0].as_str();
    let until = at(60_000);
    assert_eq!(operate(&store, "nobody", Act::Replay, 300).await, Acted::NotFound);
    let refused = Acted::Refused { state: InboxState::Review };
    assert_eq!(operate(&store, id, Act::Release, 300).await, refused);
    let moved = |from, to| Acted::Done { from, to };
    let parked = moved(InboxState::Review, InboxState::Parked);
    assert_eq!(operate(&store, id, Act::Park { until }, 301).await, parked);
    assert!(claim(&store, "w", 302).await.is_empty(), "it is set aside");
    let stored = store.notification(id).await.unwrap().unwrap();
    assert_eq!(
        (stored.due_at, stored.reason.unwrap().code.as_ref()),
        (Some(until), "operator.parked")
    );
    let released = moved(InboxState::Parked, InboxState::Ready);
    assert_eq!(operate(&store, id, Act::Release, 303).await, released);
    let job = claim_one(&store, "w", 304).await;
    assert_eq!(job.lease.attempt() - job.stored.attempts_before, 1, "attempts begin anew");
    assert_eq!(operate(&store, id, Act::Discard, 305).await, Acted::Busy, "a worker has it");
    let discarded = moved(InboxState::Ready, InboxState::Done);
    assert_eq!(operate(&store, id, Act::Discard, 99_000).await, discarded);
    let late = settle(&store, settlement(&job, paid(&job)), 99_001).await;
    assert_eq!(late, Settled::LostLease, "who had it lost it");
    let stored = store.notification(id).await.unwrap().unwrap();
    assert_eq!((stored.state, stored.outcome.as_deref()), (InboxState::Done, Some("discarded")));
    assert_eq!(stored.reason.unwrap().text, "it was told");
    let again = Acted::Refused { state: InboxState::Done };
    assert_eq!(operate(&store, id, Act::Discard, 99_002).await, again);
    assert_eq!(
        acts_on(&store, id).await,
        [
            "discard: ready -> done",
            "release: parked (operator.parked) -> ready",
            "park: review (plugin.no) -> parked"
        ]
    );
    let replayed = moved(InboxState::Done, InboxState::Ready);
    assert_eq!(operate(&store, id, Act::Replay, 99_003).await, replayed, "a discard can be undone");
    assert_eq!(store.notification(id).await.unwrap().unwrap().outcome, None);
}

pub(crate) async fn an_act_without_a_written_reason_is_refused(house: &House) {
    let store = house.open().await;
    let ids = reviewed(&store, &["o1"]).await;
    for why in [String::new(), "x".repeat(1001), "a\0b".to_owned()] {
        let instruction = Instruction { why, ..instruction(&ids[0], Act::Replay) };
        assert!(store.operate(instruction, at(300)).await.is_err());
    }
    assert!(acts_on(&store, &ids[0]).await.is_empty());
    let longest = Instruction { why: "x".repeat(1000), ..instruction(&ids[0], Act::Replay) };
    assert!(store.operate(longest, at(300)).await.is_ok());
}

pub(crate) async fn a_search_finds_what_fits_newest_first_page_by_page(house: &House) {
    let store = house.open().await;
    let ids = reviewed(&store, &["o1", "o2", "o3"]).await;
    operate(&store, &ids[1], Act::Discard, 500).await;
    let with = |change: &dyn Fn(&mut Filter)| {
        let mut filter = Filter::default();
        change(&mut filter);
        filter
    };
    let order = |filter: &mut Filter, business: Option<&str>, name: &str| {
        filter.business = business.map(str::to_owned);
        filter.order_no = Some(name.to_owned());
    };
    let text = |text: &str| Some(text.to_owned());
    let all: [(Filter, &[usize]); 12] = [
        (Filter::default(), &[2, 1, 0]),
        (in_review(), &[2, 0]),
        (with(&|filter| filter.state = Some(InboxState::Done)), &[1]),
        (with(&|filter| filter.state = Some(InboxState::Parked)), &[]),
        (with(&|filter| filter.channel = text(CHANNEL)), &[2, 1, 0]),
        (with(&|filter| filter.channel = text("nowhere")), &[]),
        (with(&|filter| filter.event_type = text("payment.succeeded")), &[2, 1, 0]),
        (with(&|filter| filter.reason_code = text("operator.discarded")), &[1]),
        (with(&|filter| order(filter, Some(BUSINESS), "o3")), &[2]),
        (with(&|filter| order(filter, Some("OTHER"), "o3")), &[]),
        (with(&|filter| filter.received_from_ms = Some(at(2).as_ms())), &[2, 1]),
        (with(&|filter| filter.received_to_ms = Some(at(2).as_ms())), &[0]),
    ];
    for (filter, expected) in all {
        let found = store.search(&filter, None, 10).await.unwrap();
        let found: Vec<_> = found.iter().map(Found::id).collect();
        let expected: Vec<_> = expected.iter().map(|place| ids[*place].as_str()).collect();
        assert_eq!(found, expected, "{filter:?}");
    }
    let page = store.search(&Filter::default(), None, 2).await.unwrap();
    let last = (page[1].received_at(), page[1].id().to_owned());
    let rest = store.search(&Filter::default(), Some(&last), 2).await.unwrap();
    assert_eq!((page.len(), rest.len(), rest[0].id()), (2, 1, ids[0].as_str()));
    assert!(store.search(&with(&|filter| order(filter, None, "o3")), None, 10).await.is_err());
    assert_eq!(store.reviews().await.unwrap(), [("plugin.no".to_owned(), 2)]);
}

fn new_replay(rate_per_s: i64) -> NewReplay {
    let (who, why) = ("ada".to_owned(), "it was told".to_owned());
    NewReplay { filter: in_review(), who, why, rate_per_s }
}

pub(crate) async fn a_replay_of_many_keeps_its_rate_and_takes_each_once(house: &House) {
    let (store, other) = (house.open().await, house.open().await);
    let ids = reviewed(&store, &["o1", "o2", "o3", "o4", "o5"]).await;
    let preview = store.preview_replay(&in_review()).await.unwrap();
    assert_eq!((preview.total, preview.sample[0].id()), (5, ids[0].as_str()));
    assert!(store.replays().await.unwrap().is_empty(), "a dry run writes nothing");
    // Twenty a second: two each step, a tenth of a second apart.
    let replay = store.start_replay(new_replay(20), at(1_000)).await.unwrap();
    assert_eq!((replay.total, replay.state), (5, ReplayState::Running));
    assert_eq!(store.next_replay_at().await.unwrap(), Some(at(1_000)));
    // Two hosts that want the same step: one gets it.
    let (one, two) = tokio::join!(store.step_replay(at(1_000)), other.step_replay(at(1_000)));
    let took = [one.unwrap(), two.unwrap()];
    assert_eq!(took.iter().flatten().map(|step| step.replayed).sum::<i64>(), 2, "{took:?}");
    assert_eq!(store.step_replay(at(1_099)).await.unwrap(), None, "not before it is due");
    // One of those to come is taken out by hand.
    operate(&store, &ids[2], Act::Discard, 1_050).await;
    let step = other.step_replay(at(1_100)).await.unwrap().unwrap();
    assert_eq!((step.replayed, step.state), (2, ReplayState::Running));
    let step = store.step_replay(at(1_200)).await.unwrap().unwrap();
    assert_eq!((step.replayed, step.state), (0, ReplayState::Finished));
    assert_eq!(store.next_replay_at().await.unwrap(), None);
    let ended = store.replay(&replay.id).await.unwrap().unwrap();
    assert_eq!((ended.done, ended.skipped, ended.finished_at), (4, 0, Some(at(1_200))));
    assert_eq!(claim(&store, "w", 1_300).await.len(), 4);
    let by = format!("replay: review (plugin.no) -> ready, by replay {}", replay.id);
    assert_eq!(acts_on(&store, &ids[0]).await, [by]);
    let told = acts_on(&store, &replay.id).await;
    assert_eq!(told.len(), 2);
    assert_eq!(told[0], "replays.finish: 4 replayed, 0 left out");
}

pub(crate) async fn a_cancelled_replay_takes_no_further_step(house: &House) {
    let store = house.open().await;
    reviewed(&store, &["o1", "o2", "o3"]).await;
    let replay = store.start_replay(new_replay(10), at(1_000)).await.unwrap();
    store.step_replay(at(1_000)).await.unwrap().unwrap();
    let words = ("ada", "it was told");
    let cancelled = store.cancel_replay(&replay.id, words, at(1_001)).await.unwrap();
    assert!(matches!(&cancelled, Cancelled::Done(replay) if replay.done == 1), "{cancelled:?}");
    assert_eq!(store.step_replay(at(9_000)).await.unwrap(), None);
    let again = store.cancel_replay(&replay.id, words, at(9_001)).await.unwrap();
    assert!(matches!(again, Cancelled::Ended(_)));
    let nobody = store.cancel_replay("nobody", words, at(9_001)).await.unwrap();
    assert_eq!(nobody, Cancelled::NotFound);
    let told = acts_on(&store, &replay.id).await;
    assert_eq!(told[0], "replays.cancel: 1 of 3 were replayed");
    for (change, rate) in [(None, 1), (Some(InboxState::After), 1), (Some(InboxState::Review), 0)] {
        let filter = Filter { state: change, ..Filter::default() };
        let wrong = NewReplay { filter, ..new_replay(rate) };
        assert!(store.start_replay(wrong, at(9_002)).await.is_err());
    }
}

pub(crate) async fn replaying_one_for_ever_keeps_the_last_attempts(house: &House) {
    let store = house.open().await;
    let ids = reviewed(&store, &["o1"]).await;
    let times = ATTEMPTS_KEPT + 5;
    for n in 0..times {
        let ms = 1_000 + n * 10;
        operate(&store, &ids[0], Act::Replay, ms).await;
        let job = claim_one(&store, "w", ms + 1).await;
        let outcome = Outcome::Review(reason("plugin.no"));
        assert_eq!(
            settle(&store, settlement(&job, outcome), ms + 2).await,
            done("TO_BE_PAID", 1, 0)
        );
    }
    let found = store.inspect(&ids[0]).await.unwrap().unwrap();
    let kept = i64::try_from(found.attempts.len()).unwrap();
    assert_eq!((kept, found.attempts[0].attempt), (ATTEMPTS_KEPT + 1, times + 1 - ATTEMPTS_KEPT));
}
