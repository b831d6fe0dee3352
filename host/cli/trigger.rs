//! `callgate trigger`: a gateway on your own machine.
//!
//! Reading order: this file (the command), `play` (one case from step to step), `post` (one
//! callback over HTTP), `table` (what is shown); `load` (many, and what they cost).

use std::fs;
use std::io::Write;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use callgate_trigger::cases;
use callgate_trigger::channel::{Channel, Gateway};
use callgate_trigger::keys::Keys;
use clap::{Args, Subcommand};

use self::play::Player;
use super::print;
use super::trust::Trust;
use crate::clock::Clock;

mod load;

mod play;

mod post;

mod table;

/// Play a gateway.
#[derive(Debug, Args)]
pub(super) struct Trigger {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make throw-away keys and the matching channel configuration.
    Keys(KeyFolder),
    /// List the cases of each channel.
    List,
    /// Post the callbacks of a case, or of `all`, and check what comes back.
    Run(Box<Run>),
    /// Post many callbacks, and tell what the answers and the server's work took.
    Load(Box<load::Command>),
}

#[derive(Debug, Args)]
struct KeyFolder {
    /// The folder to make; it must not exist.
    #[arg(long)]
    into: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct Run {
    /// A case of `callgate trigger list`, or `all`.
    case: String,
    /// The folder that `trigger keys` made.
    #[arg(long)]
    keys: PathBuf,
    /// Where callbacks go, such as http://127.0.0.1:8080.
    #[arg(long)]
    url: String,
    /// Where orders are registered and looked at, such as http://127.0.0.1:8081. Without it,
    /// callbacks are posted and their answers judged, no more.
    #[arg(long)]
    orders_url: Option<String>,
    /// A file with the bearer token for the order calls; else the variable CALLGATE_TOKEN has it.
    #[arg(long)]
    token_file: Option<PathBuf>,
    /// One gateway only: wechat-v3, wechat-v2 or alipay.
    #[arg(long)]
    gateway: Option<Gateway>,
    /// One channel only, such as wechat-v2-hmac; else each gateway's main one.
    #[arg(long)]
    channel: Option<String>,
    /// What everything is drawn from, so that a run can be repeated; else drawn and printed.
    #[arg(long)]
    seed: Option<u64>,
    /// Orders of the case `burst`.
    #[arg(long)]
    orders: Option<u32>,
    /// How often each callback of the case `burst` is sent.
    #[arg(long)]
    deliveries: Option<u32>,
    /// Callbacks of the case `burst` under way at once.
    #[arg(long, default_value_t = 32)]
    concurrency: usize,
    /// Send again what is not answered with success, on the gateway's own schedule with its waits
    /// divided by this number.
    #[arg(long, value_name = "FASTER")]
    retry: Option<NonZeroU32>,
    #[command(flatten)]
    trust: Trust,
}

impl Trigger {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        match self.action {
            Action::Keys(folder) => folder.make(),
            Action::List => {
                list();
                Ok(ExitCode::SUCCESS)
            }
            Action::Run(run) => run.run().await,
            Action::Load(load) => load.run().await,
        }
    }
}

impl KeyFolder {
    fn make(&self) -> anyhow::Result<ExitCode> {
        let folder = &self.into;
        let shown = folder.display();
        fs::create_dir(folder).with_context(|| format!("--into: {shown} cannot be made"))?;
        let keys = Keys::generate(Clock::system().now())?;
        for file in keys.files()? {
            write_private(&folder.join(file.name), &file.content)?;
        }
        let absolute = fs::canonicalize(folder)?;
        let channels = folder.join("channels.toml");
        fs::write(&channels, keys.channels_toml(&absolute.to_string_lossy()))?;
        print(&format!(
            "{shown}: throw-away keys of all gateways\n\
             {}: the matching channels, for your configuration\n",
            channels.display()
        ));
        Ok(ExitCode::SUCCESS)
    }
}

/// Key files are for their owner alone.
fn write_private(path: &Path, content: &str) -> anyhow::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;

    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let written = options.open(path).and_then(|mut file| file.write_all(content.as_bytes()));
    written.with_context(|| format!("{} cannot be written", path.display()))
}

fn list() {
    for channel in Channel::ALL {
        print(&format!("{}\n", channel.name()));
        for (name, about) in cases::told_on(channel) {
            print(&format!("  {name:<18} {about}\n"));
        }
    }
}

impl Run {
    async fn run(&self) -> anyhow::Result<ExitCode> {
        let keys = read_keys(&self.keys)?;
        let channels = self.channels()?;
        let seed = match self.seed {
            Some(seed) => seed,
            None => new_seed()?,
        };
        print(&format!("seed {seed}\n\n"));
        let mut player = Player::new(self, keys, seed)?;
        let mut rows = Vec::new();
        table::head();
        for channel in channels {
            for case in player.cases(channel, &self.case)? {
                let row = player.play(&case).await;
                table::show(&row);
                rows.push(row);
            }
        }
        if rows.is_empty() {
            bail!("`{}` is no case of these channels; see `callgate trigger list`", self.case);
        }
        let wrong = rows.iter().filter(|row| !row.wrong.is_empty()).count();
        table::foot(rows.len(), wrong);
        Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn token(&self) -> anyhow::Result<Option<String>> {
        token(self.token_file.as_deref())
    }

    /// The channels to play: the named one, else the main one of each gateway that is meant. A
    /// run of everything tells its story on every channel.
    fn channels(&self) -> anyhow::Result<Vec<Channel>> {
        if let Some(name) = &self.channel {
            let found = Channel::ALL.into_iter().find(|channel| channel.name() == name);
            let Some(channel) = found else {
                let known: Vec<_> = Channel::ALL.iter().map(|channel| channel.name()).collect();
                bail!("--channel: `{name}` is none of {}", known.join(", "));
            };
            return Ok(vec![channel]);
        }
        let meant = |gateway: Gateway| self.gateway.is_none_or(|only| only == gateway);
        let every = self.case == "all";
        Ok(Channel::ALL
            .into_iter()
            .filter(|channel| meant(channel.gateway()))
            .filter(|channel| every || channel.gateway().main_channel() == *channel)
            .collect())
    }
}

/// Secrets come from a file or the environment, never from the command line.
fn token(file: Option<&Path>) -> anyhow::Result<Option<String>> {
    let Some(file) = file else {
        return Ok(std::env::var_os("CALLGATE_TOKEN").and_then(|token| token.into_string().ok()));
    };
    let text = fs::read_to_string(file)
        .with_context(|| format!("--token-file: {} cannot be read", file.display()))?;
    Ok(Some(text.trim().to_owned()))
}

fn read_keys(folder: &Path) -> anyhow::Result<Keys> {
    Keys::from_files(|name| fs::read_to_string(folder.join(name)).ok())
        .with_context(|| format!("--keys: {} is not of `callgate trigger keys`", folder.display()))
}

fn new_seed() -> anyhow::Result<u64> {
    let mut bytes = [0; 4];
    aws_lc_rs::rand::fill(&mut bytes).context("no randomness")?;
    Ok(u64::from(u32::from_be_bytes(bytes)))
}
