//! `callgate trigger load`: many callbacks, signed beforehand, and what the server made of them.
//!
//! Reading order: this file (the command), `fire` (when what is sent), `wire` (how), `seen` (what
//! the server shows of itself), `figures` (what is printed).

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use callgate_trigger::channel::{BUSINESS, Channel};
use callgate_trigger::keys::Keys;
use callgate_trigger::load::{Kind, Load, Mix, Shot};
use clap::Args;
use serde_json::json;

use self::figures::Figures;
use self::fire::{Fire, Fired, Pace};
use self::seen::{Effects, Processes};
use self::wire::{Request, authority};
use super::{new_seed, read_keys, token};
use crate::cli::print;
use crate::clock::{Clock, Stopwatch};

mod figures;

mod fire;

mod seen;

mod wire;

/// The arguments of `callgate trigger load`.
#[derive(Debug, Args)]
pub(super) struct Command {
    /// The folder that `trigger keys` made.
    #[arg(long)]
    keys: PathBuf,
    /// Where callbacks go, such as http://127.0.0.1:8080; several for several hosts.
    #[arg(long, required = true)]
    url: Vec<String>,
    /// The private listener: orders are registered at the first, and each one's metrics read.
    /// Without it callbacks are posted, no more.
    #[arg(long)]
    orders_url: Vec<String>,
    /// A file with the bearer token for the order calls; else the variable CALLGATE_TOKEN has it.
    #[arg(long)]
    token_file: Option<PathBuf>,
    /// How many callbacks.
    #[arg(long, default_value_t = 10_000)]
    callbacks: u32,
    /// A channel, as often as you like; orders go to them in turn.
    #[arg(long, default_value = "wechat-v3-main")]
    channel: Vec<String>,
    /// Connections that are kept.
    #[arg(long, default_value = "64")]
    connections: NonZeroUsize,
    /// Callbacks a second, whatever the server does; without it as fast as the answers come.
    #[arg(long)]
    rate: Option<NonZeroU32>,
    #[command(flatten)]
    shares: Shares,
    /// What everything is drawn from; else drawn and printed.
    #[arg(long)]
    seed: Option<u64>,
    /// A process of the server, or the first one of a database's: processor time and memory of it
    /// and all that it started are read.
    #[arg(long)]
    pid: Vec<u32>,
    /// How long to wait for the effects behind the answers, in milliseconds.
    #[arg(long, default_value_t = 60_000)]
    settle_ms: u64,
    /// Leave orders unregistered: their callbacks are kept and wait.
    #[arg(long)]
    unregistered: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Percents of what is sent; the rest is genuine and new.
#[derive(Debug, Clone, Copy, Args)]
struct Shares {
    /// Earlier callbacks once more, in percent.
    #[arg(long, default_value_t = 0)]
    repeated: u32,
    /// One bit flipped after signing, in percent.
    #[arg(long, default_value_t = 0)]
    forged: u32,
    /// Naming a key that nobody knows, in percent.
    #[arg(long, default_value_t = 0)]
    unknown_key: u32,
    /// A header missing, or a field twice, in percent.
    #[arg(long, default_value_t = 0)]
    malformed: u32,
    /// With a body that is too large, in percent.
    #[arg(long, default_value_t = 0)]
    oversized: u32,
}

/// Everything that will be sent.
struct Prepared {
    registrations: Vec<Request>,
    callbacks: Vec<Request>,
    kinds: BTreeMap<Kind, u64>,
}

impl Command {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let seed = match self.seed {
            Some(seed) => seed,
            None => new_seed()?,
        };
        let hosts = self.url.iter().map(|url| authority(url)).collect::<Result<Vec<_>, _>>()?;
        let private =
            self.orders_url.iter().map(|url| authority(url)).collect::<Result<Vec<_>, _>>()?;
        let watch = Stopwatch::start();
        let prepared = self.prepare(seed, &hosts, &private)?;
        if !self.json {
            let (callbacks, seconds) = (prepared.callbacks.len(), watch.elapsed().as_secs());
            print(&format!("seed {seed}: {callbacks} callbacks signed in {seconds} s\n"));
        }
        if let Some(first) = private.first() {
            self.register(first, prepared.registrations).await?;
        }
        let genuine = prepared.kinds.get(&Kind::Genuine).copied().unwrap_or(0);
        let pace = self.rate.map_or(Pace::Free, |rate| Pace::PerSecond(rate.get()));
        let fire = Fire { hosts, connections: self.connections.get(), pace };
        let before = (Processes::read(&self.pid), self.effects(&private).await);
        let watch = Stopwatch::start();
        let Fired { hits, took } = fire.all(prepared.callbacks).await?;
        let answered = Processes::read(&self.pid);
        let (effects, whole) = match before.1 {
            Some(earlier) if !self.unregistered => {
                let effects = self.settled(&private, &earlier, genuine).await?;
                (Some(effects), Some(watch.elapsed()))
            }
            Some(_) | None => (None, None),
        };
        let settled = Processes::read(&self.pid);
        let mut figures = Figures::of(hits);
        figures.seed = seed;
        figures.kinds = prepared.kinds;
        (figures.took, figures.whole, figures.effects) = (took, whole, effects);
        figures.processes = [before.0, answered, settled];
        print(&if self.json { figures.json() } else { figures.text() });
        Ok(if figures.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Signs everything, on every processor there is.
    fn prepare(&self, seed: u64, hosts: &[String], private: &[String]) -> anyhow::Result<Prepared> {
        let keys = read_keys(&self.keys)?;
        let channels = self.channels()?;
        let Shares { repeated, forged, unknown_key, malformed, oversized } = self.shares;
        let mix = Mix { repeated, forged, unknown_key, malformed, oversized };
        let at = Clock::system().now();
        let load = Load::new((&keys, &channels), at, seed, (self.callbacks, mix))?;
        let shots = load.shots();
        let host = hosts.first().map_or("", String::as_str);
        let callbacks = signed(&load, &keys, &shots, host)?;
        let mut kinds: BTreeMap<Kind, u64> = BTreeMap::new();
        for shot in &shots {
            let count = kinds.entry(shot.kind).or_default();
            *count = count.saturating_add(1);
        }
        let registrations = match private.first() {
            Some(host) if !self.unregistered => self.registrations(&load, &shots, host)?,
            Some(_) | None => Vec::new(),
        };
        Ok(Prepared { registrations, callbacks, kinds })
    }

    fn registrations(
        &self,
        load: &Load,
        shots: &[Shot],
        host: &str,
    ) -> anyhow::Result<Vec<Request>> {
        let token = token(self.token_file.as_deref())?
            .context("--orders-url needs --token-file or the variable CALLGATE_TOKEN")?;
        let genuine = shots.iter().filter(|shot| shot.kind == Kind::Genuine);
        let orders = genuine.filter_map(|shot| load.order(shot.order));
        Ok(orders
            .map(|order| {
                let body = json!({
                    "amount_minor": order.amount.minor,
                    "currency": order.amount.currency,
                    "channel": order.channel.name(),
                    "state": order.state,
                });
                let path = format!("/orders/{BUSINESS}/{}", order.order_no);
                Request::call(("PUT", &path), host, &token, &body.to_string())
            })
            .collect())
    }

    async fn register(&self, host: &str, registrations: Vec<Request>) -> anyhow::Result<()> {
        if registrations.is_empty() {
            return Ok(());
        }
        let fire =
            Fire { hosts: vec![host.to_owned()], connections: REGISTERING, pace: Pace::Free };
        let fired = fire.all(registrations).await.context("registering orders")?;
        match fired.hits.iter().find_map(|hit| hit.wrong.as_ref()) {
            None => Ok(()),
            Some(wrong) => bail!("an order could not be registered: {wrong:?}"),
        }
    }

    /// The effects so far, over all hosts; `None` where one does not show them.
    async fn effects(&self, private: &[String]) -> Option<Effects> {
        let token = std::env::var_os("CALLGATE_OPERATOR_TOKEN")
            .and_then(|token| token.into_string().ok())
            .unwrap_or_default();
        let mut sum: Option<Effects> = None;
        for host in private {
            let one = Effects::ask(host, &token).await?;
            sum = Some(sum.unwrap_or_default().and(&one));
        }
        sum
    }

    /// Waits until every genuine callback has had its effect.
    async fn settled(
        &self,
        private: &[String],
        earlier: &Effects,
        genuine: u64,
    ) -> anyhow::Result<Effects> {
        let watch = Stopwatch::start();
        loop {
            let now = self.effects(private).await.context("the metrics are gone")?;
            let effects = now.since(earlier);
            if effects.count >= genuine || watch.elapsed() >= Duration::from_millis(self.settle_ms)
            {
                return Ok(effects);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    fn channels(&self) -> anyhow::Result<Vec<Channel>> {
        let known: Vec<_> = Channel::ALL.iter().map(|channel| channel.name()).collect();
        let find = |name: &String| {
            let found = Channel::ALL.into_iter().find(|channel| channel.name() == name);
            found.with_context(|| format!("--channel: `{name}` is none of {}", known.join(", ")))
        };
        self.channel.iter().map(find).collect()
    }
}

/// Signs the callbacks. A repeat takes the bytes of what it repeats.
fn signed(load: &Load, keys: &Keys, shots: &[Shot], host: &str) -> anyhow::Result<Vec<Request>> {
    let at = Clock::system().now();
    let sign = |shot: &Shot| -> anyhow::Result<Option<Request>> {
        if shot.kind == Kind::Repeated {
            return Ok(None);
        }
        Ok(Some(Request::callback(&load.message(keys, *shot, at)?, host)))
    };
    let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let share = shots.len().div_ceil(threads).max(1);
    let parts = std::thread::scope(|scope| {
        let parts: Vec<_> = shots
            .chunks(share)
            .map(|chunk| scope.spawn(move || chunk.iter().map(sign).collect::<Vec<_>>()))
            .collect();
        parts.into_iter().map(std::thread::ScopedJoinHandle::join).collect::<Vec<_>>()
    });
    let mut genuine: Vec<Request> = Vec::new();
    let mut requests = Vec::with_capacity(shots.len());
    let parts = parts.into_iter().map(|part| part.ok().context("a thread that signs ended badly"));
    let parts = parts.collect::<Result<Vec<_>, _>>()?;
    for (shot, request) in shots.iter().zip(parts.into_iter().flatten()) {
        let request = match request? {
            Some(request) => request,
            None => {
                let earlier = usize::try_from(shot.order).unwrap_or(usize::MAX);
                genuine.get(earlier).cloned().context("a repeat of what was not sent")?
            }
        };
        if shot.kind == Kind::Genuine {
            genuine.push(request.clone());
        }
        requests.push(request);
    }
    Ok(requests)
}

/// Connections that register orders: below the private listener's default limit of requests.
const REGISTERING: usize = 64;

/// The pause between two looks at the metrics: each counts what is open, which is paid by the
/// server that is measured.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
