//! `cargo xtask demo`: the main job, on embedded SQLite, with signed callbacks.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail};
use clap::Args;

use crate::{plugins, workspace};

/// What the demo does after its table.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Stop after the table and leave nothing running.
    #[arg(long)]
    once: bool,
}

impl Demo {
    /// Builds everything, serves in a fresh folder, fires the cases and prints the table.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let built = plugins::build()?;
        let callgate = workspace::build_callgate()?;
        let folder = fresh_folder()?;
        let tokens = Tokens { order: new_token(&callgate)?, operator: new_token(&callgate)? };
        run(Command::new(&callgate).args(["trigger", "keys", "--into"]).arg(folder.join("keys")))?;
        sign(&callgate, &folder, &built)?;
        fs::write(folder.join("callgate.toml"), configuration(&folder, &tokens)?)?;
        let mut server = Server::start(&callgate, &folder, self.once)?;
        let table = Command::new(&callgate)
            .args(["trigger", "run", "all"])
            .arg("--keys")
            .arg(folder.join("keys"))
            .args(["--url", &format!("http://{}", server.public)])
            .args(["--orders-url", &format!("http://{}", server.private)])
            .env("CALLGATE_TOKEN", &tokens.order.plain)
            .status()
            .context("callgate trigger cannot be started")?;
        if !table.success() {
            server.stop()?;
            bail!("a case came out other than expected; the log is {}", server.log.display());
        }
        if self.once {
            return server.stop();
        }
        say(&server, &folder, &tokens);
        server.child.wait().context("the server cannot be waited for")?;
        Ok(())
    }
}

/// What to look at next.
fn say(server: &Server, folder: &Path, tokens: &Tokens) {
    let keys = folder.join("keys");
    println!(
        "\nThe server goes on until you press Ctrl-C. Look around:\n\
         \n  one more callback   target/debug/callgate trigger run payment --keys {keys} \\\n\
         \x20                     --url http://{public} --orders-url http://{private}\n\
         \x20                     (with CALLGATE_TOKEN={token})\n\
         \x20 an order            curl -H 'Authorization: Bearer {token}' \\\n\
         \x20                     http://{private}/orders/PRODUCT_ORDER/<order number of the table>\n\
         \x20 metrics             curl -H 'Authorization: Bearer {operator}' http://{private}/metrics\n\
         \x20 the log             {log}\n\
         \x20 the configuration   {config}\n\
         \x20 the documentation   docs/\n",
        keys = keys.display(),
        public = server.public,
        private = server.private,
        token = tokens.order.plain,
        operator = tokens.operator.plain,
        log = server.log.display(),
        config = folder.join("callgate.toml").display(),
    );
}

struct Tokens {
    order: Token,
    operator: Token,
}

struct Token {
    plain: String,
    sha256: String,
}

fn new_token(callgate: &Path) -> anyhow::Result<Token> {
    let output = Command::new(callgate).arg("token").output().context("callgate token")?;
    let text = String::from_utf8(output.stdout).context("callgate token: not UTF-8")?;
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name))
            .map(|value| value.trim().to_owned())
            .with_context(|| format!("callgate token printed no {name}"))
    };
    Ok(Token { plain: field("token:")?, sha256: field("token_sha256:")? })
}

/// A folder that no run used before, under `target/`.
fn fresh_folder() -> anyhow::Result<PathBuf> {
    let parent = workspace::root().join("target/demo");
    fs::create_dir_all(&parent)?;
    for number in 1..10_000u32 {
        let folder = parent.join(format!("{number}"));
        match fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(error).with_context(|| format!("{} cannot be made", folder.display()));
            }
        }
    }
    bail!("{} is full of old demos: remove it", parent.display());
}

/// Signs the processors as their team would, with a key of the business that is thrown away.
fn sign(callgate: &Path, folder: &Path, built: &plugins::Built) -> anyhow::Result<()> {
    let keys = folder.join("keys");
    let business = ["--business", "PRODUCT_ORDER", "--id", "demo"];
    let mut keygen = Command::new(callgate);
    run(keygen.args(["plugin", "keygen"]).args(business).arg("--into").arg(&keys))?;
    fs::create_dir(folder.join("plugins"))?;
    for name in PROCESSORS {
        let (component, copy) = (built.component(name)?, component(folder, name));
        fs::copy(&component, &copy)
            .with_context(|| format!("{} cannot be copied", component.display()))?;
        let draft = workspace::root().join("plugins").join(name).join("plugin.toml");
        let mut sign = Command::new(callgate);
        sign.args(["plugin", "sign"]).arg(draft).arg("--component").arg(copy);
        run(sign.args(business).arg("--key").arg(keys.join("demo.key")))?;
    }
    Ok(())
}

fn component(folder: &Path, name: &str) -> PathBuf {
    folder.join("plugins").join(format!("{name}.wasm"))
}

fn configuration(folder: &Path, tokens: &Tokens) -> anyhow::Result<String> {
    let channels = folder.join("keys/channels.toml");
    let channels = fs::read_to_string(&channels)
        .with_context(|| format!("{} cannot be read", channels.display()))?;
    let (order, operator) = (&tokens.order.sha256, &tokens.operator.sha256);
    let plugins = PROCESSORS.map(|name| {
        format!(
            "[plugins.{name}]\nfile = \"plugins/{name}.wasm\"\n\
             manifest = \"plugins/{name}.manifest\"\n\n"
        )
    });
    Ok(format!(
        "[store]\nurl = \"sqlite://callgate.db\"\n\n\
         [operator]\ntoken_sha256 = [\"{operator}\"]\n\n\
         [businesses.PRODUCT_ORDER]\ntoken_sha256 = [\"{order}\"]\n\n\
         # Whose signature makes a plugin one of this business, and what it may ask for.\n\
         [[businesses.PRODUCT_ORDER.plugin_keys]]\nid = \"demo\"\n\
         public_key_file = \"keys/demo.pub\"\n\n\
         [businesses.PRODUCT_ORDER.policy]\nwrite = [\"ledger\"]\ntopics = [\"order.*\"]\n\n\
         {plugins}{channels}",
        plugins = plugins.concat(),
    ))
}

struct Server {
    child: Child,
    public: String,
    private: String,
    log: PathBuf,
}

impl Server {
    /// The usual ports where they are free and the server is to stay, else free ones.
    fn start(callgate: &Path, folder: &Path, once: bool) -> anyhow::Result<Self> {
        if !once && let Ok(server) = Self::start_on(callgate, folder, ["8080", "8081"]) {
            return Ok(server);
        }
        Self::start_on(callgate, folder, ["0", "0"])
    }

    fn start_on(callgate: &Path, folder: &Path, ports: [&str; 2]) -> anyhow::Result<Self> {
        let [public, private] = ports;
        let log = folder.join("callgate.log");
        let mut child = Command::new(callgate)
            .args(["serve", "--config"])
            .arg(folder.join("callgate.toml"))
            .args(["--set", &format!("public.listen=127.0.0.1:{public}")])
            .args(["--set", &format!("private.listen=127.0.0.1:{private}")])
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&log)?)
            .spawn()
            .with_context(|| format!("{} cannot be started", callgate.display()))?;
        let stdout = child.stdout.take().context("the server has no output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let address = |name: &str| {
            line.split_whitespace().find_map(|word| word.strip_prefix(name)).map(str::to_owned)
        };
        match (address("public="), address("private=")) {
            (Some(public), Some(private)) => Ok(Self { child, public, private, log }),
            _ => {
                child.wait()?;
                let log_text = fs::read_to_string(&log).unwrap_or_default();
                bail!("the server did not start:\n{log_text}")
            }
        }
    }

    /// Asks the server to end, as an operator would, and waits for it.
    fn stop(&mut self) -> anyhow::Result<()> {
        run(Command::new("kill").args(["-TERM", &self.child.id().to_string()]))?;
        let status = self.child.wait().context("the server cannot be waited for")?;
        if status.success() {
            Ok(())
        } else {
            bail!("the server ended with {status}; the log is {}", self.log.display())
        }
    }
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    workspace::run(command)
}

/// The mall's processors.
const PROCESSORS: [&str; 2] = ["order-payment", "order-refund"];
