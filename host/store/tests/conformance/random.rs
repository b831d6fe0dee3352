//! Thousands of stories of chance; one that fails is cut down to the acts that it needs.
//!
//! `CALLGATE_TEST_MODEL_SEED` repeats a run, `CALLGATE_TEST_MODEL_CASES` makes it longer.

use std::collections::BTreeSet;

use callgate_store::Store;
use sqlx::{AnyConnection, Connection as _};

use crate::house::House;
use crate::memory::Dice;
use crate::model::{Model, Story};

pub(crate) async fn thousands_of_random_stories_agree_with_a_small_model(house: &House) {
    let first = number("CALLGATE_TEST_MODEL_SEED").unwrap_or_else(drawn);
    let usual = if house.settings.url.starts_with("sqlite") { CASES } else { CASES_OF_A_SERVER };
    let cases = number("CALLGATE_TEST_MODEL_CASES").unwrap_or(usual);
    eprintln!("random stories: CALLGATE_TEST_MODEL_SEED={first} repeats this run");
    let mut teller = Teller::new(house, Model::Right).await;
    for seed in first..first.saturating_add(cases) {
        let acts = acts(seed);
        if teller.tell(&acts).await.is_err() {
            panic!("seed {seed}: {}", teller.shortest(acts).await);
        }
    }
    let all = ["conflict", "done", "lost-lease", "released", "repeated"];
    assert_eq!(
        teller.answers.iter().copied().collect::<Vec<_>>(),
        all,
        "the acts leave something untold"
    );
    teller.store.unwrap().close().await;
}

pub(crate) async fn a_difference_is_found_and_cut_down_to_a_few_acts(house: &House) {
    let mut teller = Teller::new(house, Model::Wrong).await;
    let mut seed = 1;
    let shortest = loop {
        let acts = acts(seed);
        if teller.tell(&acts).await.is_err() {
            break teller.shortest(acts).await;
        }
        seed += 1;
    };
    // One message, and the same again.
    assert_eq!(shortest.lines().filter(|line| line.contains(" ms: ")).count(), 2, "{shortest}");
    assert!(shortest.contains("comes again"), "{shortest}");
}

/// Tells stories, each in an empty inbox.
struct Teller<'a> {
    house: &'a House,
    model: Model,
    cleaner: AnyConnection,
    /// Between stories; each hands it on.
    store: Option<Store>,
    told: u64,
    answers: BTreeSet<&'static str>,
}

impl<'a> Teller<'a> {
    async fn new(house: &'a House, model: Model) -> Self {
        let store = Some(Story::open(house).await);
        let cleaner = AnyConnection::connect(&house.settings.url).await.unwrap();
        Self { house, model, cleaner, store, told: 0, answers: BTreeSet::new() }
    }

    /// Tells one story; the error is what was done and what differs.
    async fn tell(&mut self, acts: &[u64]) -> Result<(), String> {
        sqlx::raw_sql("delete from inbox").execute(&mut self.cleaner).await.unwrap();
        self.told += 1;
        let store = self.store.take().unwrap();
        let mut story = Story::new(self.house, store, (format!("s{}", self.told), self.model));
        let mut difference = Ok(());
        for act in acts {
            difference = story.act(*act).await;
            if difference.is_err() {
                break;
            }
        }
        if difference.is_ok() {
            difference = story.compare().await;
        }
        let told = story.told.join("\n");
        self.answers.append(&mut story.answers);
        self.store = Some(story.end());
        difference.map_err(|difference| format!("{told}\nand then: {difference}"))
    }

    /// Leaves out what can be left out of a story that fails, in ever smaller pieces.
    async fn shortest(&mut self, mut acts: Vec<u64>) -> String {
        let mut words = String::new();
        let mut piece = acts.len();
        while piece > 0 {
            let mut from = 0;
            while from < acts.len() {
                let to = (from + piece).min(acts.len());
                let without = [&acts[..from], &acts[to..]].concat();
                match self.tell(&without).await {
                    Ok(()) => from = to,
                    Err(found) => (acts, words) = (without, found),
                }
            }
            piece /= 2;
        }
        if words.is_empty() {
            words = self.tell(&acts).await.err().unwrap_or_else(|| "not again".to_owned());
        }
        format!("{} acts are enough\n{words}", acts.len())
    }
}

fn acts(seed: u64) -> Vec<u64> {
    let mut dice = Dice::new(seed);
    (0..ACTS).map(|_| dice.number()).collect()
}

/// A seed for this run.
fn drawn() -> u64 {
    let bytes = uuid::Uuid::now_v7().into_bytes();
    bytes.iter().fold(0, |sum, byte| (sum * 257 + u64::from(*byte)) % 1_000_000_000)
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var_os(name)?;
    Some(text.to_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| {
        panic!("{name} is {}, expected a number", text.display());
    }))
}

/// Stories of one run on SQLite.
const CASES: u64 = 1_500;

/// Stories of one run on PostgreSQL, where each act is several trips to the server.
const CASES_OF_A_SERVER: u64 = 500;

/// Acts of one story: enough that orders meet, few enough to be read.
const ACTS: u64 = 32;
