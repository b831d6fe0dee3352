//! `callgate plugin backtest`: what another version would have decided about stored notifications.
//! Works on the database directly, for reading alone; nothing it does can be seen in it.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use callgate_core::time::Timestamp;
use callgate_sandbox::plugin::Plugin;
use callgate_store::{ReadOnly, RecordedQuery};
use clap::Args;
use serde_json::json;

use super::cast::Cast;
use super::window;
use crate::cli::operate::show::escaped;
use crate::cli::{Place, print};
use crate::clock::Clock;
use crate::config::{Config, Layers};
use crate::engine::backtest::{Difference, Finding, Plan, Summary, Verdict, walk};

/// Ask what another version would have decided about stored notifications. The exit status is 0
/// where it decides alike, 1 where it does not, 2 where that cannot be told.
#[derive(Debug, Args)]
pub(in crate::cli) struct Backtest {
    #[command(flatten)]
    place: Place,
    /// The version in question: NAME@VERSION of what was pushed, or a component file.
    #[arg(value_name = "NAME@VERSION|FILE")]
    version: String,
    /// What it is held against, instead of the components that ran.
    #[arg(long, value_name = "NAME@VERSION|FILE")]
    against: Option<String>,
    /// Notifications received since then: 7d, 12h, 30m, or 2026-11-15T00:00:00Z.
    #[arg(long)]
    since: String,
    /// And before; now unless given.
    #[arg(long)]
    until: Option<String>,
    /// Of one business.
    #[arg(long)]
    business: Option<String>,
    /// Look at so many notifications at most.
    #[arg(long)]
    limit: Option<u64>,
    /// Notifications a second at most: the machine may have a server to run too.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    rate_per_s: u32,
    /// Show so many of the notifications that differ; all are counted.
    #[arg(long, default_value_t = 100)]
    show: u64,
    /// The processor's configuration for the version in question, a JSON file.
    #[arg(long, value_name = "FILE")]
    values: Option<std::path::PathBuf>,
    /// Print JSON, an object a line: notifications that differ or were left out, then the counts.
    #[arg(long)]
    json: bool,
}

impl Backtest {
    pub(in crate::cli) async fn run(self) -> ExitCode {
        match self.compare().await {
            Ok(status) => status,
            Err(error) => {
                tell(&format!("callgate: {error:#}\n"));
                ExitCode::from(COULD_NOT)
            }
        }
    }

    async fn compare(self) -> anyhow::Result<ExitCode> {
        let now = Clock::system().now();
        let from = window::moment(&self.since, now).context("--since")?;
        let to = self.until.as_deref().map(|text| window::moment(text, now)).transpose();
        let to = to.context("--until")?.unwrap_or(now);
        anyhow::ensure!(from < to, "--since {from} is not before --until {to}");
        let config =
            Config::load(&Layers::of_process(self.place.config.clone(), self.place.set.clone()))?;
        let store = ReadOnly::open(&config.store).await.context("the store")?;
        let mut cast = Cast::new(&config, store.clone()).await?;
        let values = self.values.as_deref().map(window::values).transpose()?;
        let b = cast.named(&self.version, values).await.with_context(|| self.version.clone())?;
        let against = match &self.against {
            Some(name) => Some(cast.named(name, None).await.with_context(|| name.clone())?),
            None => None,
        };
        let name = b.descriptor().name.clone();
        if let Some(a) = &against {
            let other = &a.descriptor().name;
            anyhow::ensure!(*other == name, "--against is {other}, expected a version of {name}");
        }
        let query = RecordedQuery { plugin: name, from, to, business: self.business.clone() };
        let at_once = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let plan = Plan {
            query,
            rate_per_s: self.rate_per_s,
            limit: self.limit,
            at_once,
            guests: tokio::runtime::Handle::current(),
            b: Arc::clone(&b),
        };
        let mut teller = Teller::new(&self);
        teller.title(&b, against.as_deref(), (from, to));
        let component = async |sha256: &str| match &against {
            Some(a) => anyhow::Ok(Some(Arc::clone(a))),
            None => cast.ran(sha256).await,
        };
        walk(&store, &plan, component, |finding| teller.hear(finding)).await?;
        store.close().await;
        Ok(teller.end())
    }
}

/// Tells what is found while it is found.
struct Teller {
    summary: Summary,
    json: bool,
    show: u64,
    shown: u64,
}

impl Teller {
    fn new(asked: &Backtest) -> Self {
        Self { summary: Summary::default(), json: asked.json, show: asked.show, shown: 0 }
    }

    fn title(&self, b: &Plugin, against: Option<&Plugin>, (from, to): (Timestamp, Timestamp)) {
        if self.json {
            return;
        }
        let a = against.map_or_else(|| "what ran".to_owned(), version);
        let (name, b) = (escaped(&b.descriptor().name), version(b));
        print(&format!("{name}: {b} against {a}, received from {from} to {to}\n\n"));
    }

    fn hear(&mut self, finding: &Finding) {
        self.summary.add(finding);
        let looked_at = self.summary.notifications;
        if looked_at.is_multiple_of(PROGRESS) {
            tell(&format!("{looked_at} looked at, {} differ\n", self.summary.different));
        }
        let worth = match &finding.verdict {
            Verdict::Different(_) | Verdict::NotRepeatable(_) | Verdict::Failed(_) => true,
            // Of these there may be as many as notifications; the counts say it.
            Verdict::NoComponent(_) | Verdict::NotRecorded | Verdict::Archived => self.json,
            Verdict::Same => false,
        };
        if !worth {
            return;
        }
        self.shown = self.shown.saturating_add(1);
        if self.shown > self.show {
            return;
        }
        if self.json {
            print(&format!("{}\n", finding.json()));
        } else {
            print(&told(finding));
        }
    }

    /// The counts, and the exit status.
    fn end(self) -> ExitCode {
        let summary = &self.summary;
        if self.json {
            print(&format!("{}\n", json!({ "summary": summary.json() })));
        } else {
            let left = self.shown.saturating_sub(self.show);
            if left > 0 {
                print(&format!("… and {left} more (--show)\n\n"));
            }
            print(&counts(summary));
        }
        if summary.different > 0 {
            return ExitCode::from(DIFFERENT);
        }
        if summary.compared_total() == 0 {
            tell("callgate: nothing could be compared\n");
            return ExitCode::from(COULD_NOT);
        }
        ExitCode::SUCCESS
    }
}

fn version(plugin: &Plugin) -> String {
    let short = plugin.sha256().get(..12).unwrap_or_default();
    format!("{} ({short})", plugin.descriptor().version)
}

/// One notification, a line and its differences below.
fn told(finding: &Finding) -> String {
    let stored = &finding.run.stored;
    let order = stored.subject.as_deref().unwrap_or("no order");
    let event = stored.notification.event_type.as_str();
    let mut text = format!("{}  {}  {}", escaped(&stored.id), escaped(order), escaped(event));
    match &finding.sides {
        Some((a, b)) if a.outcome == b.outcome => {
            text.push_str(&format!("  {} (otherwise)\n", escaped(&a.outcome)));
        }
        Some((a, b)) => {
            text.push_str(&format!("  {} -> {}\n", escaped(&a.outcome), escaped(&b.outcome)));
        }
        None => text.push('\n'),
    }
    match &finding.verdict {
        Verdict::Different(differences) => {
            differences.iter().for_each(|one| text.push_str(&line(one)));
        }
        Verdict::NotRepeatable(why) => {
            text.push_str(&format!("    not repeatable: {}\n", escaped(why)));
        }
        Verdict::Failed(why) => text.push_str(&format!("    failed: {}\n", escaped(why))),
        Verdict::Same | Verdict::NotRecorded | Verdict::Archived | Verdict::NoComponent(_) => {}
    }
    text.push('\n');
    text
}

/// One difference, for people.
pub(super) fn line(difference: &Difference) -> String {
    let value =
        |side: &Option<String>| side.as_deref().map_or_else(|| "nothing".to_owned(), escaped);
    let Difference { kind, place, a, b } = difference;
    let place = if place.is_empty() { String::new() } else { format!(" {}", escaped(place)) };
    if a.is_none() && b.is_none() {
        return format!("    {}{place}\n", kind.words());
    }
    format!("    {}{place}: {} -> {}\n", kind.words(), value(a), value(b))
}

fn counts(summary: &Summary) -> String {
    let compared = summary.compared_total();
    let mut text = format!(
        "{} notifications: {compared} compared, {} decided alike, {} otherwise\n",
        summary.notifications, summary.same, summary.different
    );
    for (kind, count) in &summary.kinds {
        text.push_str(&format!("  {:<10}{count}\n", kind.as_str()));
    }
    for (why, count) in &summary.left_out {
        text.push_str(&format!("left out: {count} {}\n", why.words()));
    }
    for (component, count) in &summary.components {
        text.push_str(&format!("  component {} ran {count}\n", escaped(component)));
    }
    if summary.other_fuel > 0 {
        let count = summary.other_fuel;
        text.push_str(&format!("{count} decided as recorded with other fuel than recorded\n"));
    }
    for (name, fuel) in [("A", &summary.fuel.0), ("B", &summary.fuel.1)] {
        if fuel.count() > 0 {
            let [half, most, nearly] = [50, 90, 99].map(|percent| fuel.percentile(percent));
            let max = fuel.max();
            text.push_str(&format!(
                "fuel of {name}: p50 {half}, p90 {most}, p99 {nearly}, max {max}\n"
            ));
        }
    }
    text
}

/// Writes beside the result.
fn tell(text: &str) {
    let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
}

/// Notifications between two lines of progress.
const PROGRESS: u64 = 1000;

/// B decides otherwise.
const DIFFERENT: u8 = 1;

/// It cannot be told.
const COULD_NOT: u8 = 2;
