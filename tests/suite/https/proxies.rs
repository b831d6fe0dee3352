//! The proxies of the documentation, as they are: real nginx and Caddy with the files of
//! `docs/examples`, but for names, ports and paths.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use callgate_trigger::channel::Channel;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::client::{Terms, http1_bytes, notice, notice_of, parse, place, post, success};
use super::terms::authority;
use crate::house::House;

/// A proxy in front of a house.
struct Proxy {
    child: Child,
    address: String,
    folder: TempDir,
}

impl Proxy {
    /// Waits until it answers.
    async fn ready(self) -> Self {
        for _ in 0..LOOKS {
            if tokio::net::TcpStream::connect(&self.address).await.is_ok() {
                return self;
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
        let said = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        panic!("the proxy never listened: {said}");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let id = self.child.id().to_string();
        // nginx ends its workers when it is asked to, not when it is killed.
        let _ = Command::new("kill").args(["-TERM", &id]).status();
        let _ = self.child.wait();
    }
}

/// A program, or loud words about what to install.
fn program(name: &str, variable: &str) -> Option<PathBuf> {
    let given = std::env::var_os(variable).map(PathBuf::from);
    let places = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"];
    let found = places.into_iter().map(|place| Path::new(place).join(name));
    if let Some(program) = given.into_iter().chain(found).find(|path| path.exists()) {
        return Some(program);
    }
    let remedy =
        format!("{name} is not there: sudo apt-get install --no-install-recommends {name}");
    assert!(std::env::var_os("CI").is_none(), "{remedy}");
    eprintln!("*** SKIPPED: {remedy}");
    None
}

/// A file of the documentation with other words for some of its own; each must be there.
fn example(name: &str, changes: &[(&str, &str)]) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples").join(name);
    let mut text = fs::read_to_string(file).expect("an example");
    for (from, to) in changes {
        assert!(text.contains(from), "{name} has no `{from}` any more");
        text = text.replace(from, to);
    }
    text
}

/// A port that was free a moment ago.
fn port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound").port()
}

async fn nginx(house: &House, keys: &Path) -> Option<Proxy> {
    let program = program("nginx", "CALLGATE_TEST_NGINX")?;
    let (folder, port) = (TempDir::new().expect("a folder"), port());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let key = |name: &str| keys.join(name).display().to_string();
    let text = example(
        "nginx.conf",
        &[
            ("worker_rlimit_nofile 65536;\n", ""),
            ("worker_connections 16384", "worker_connections 512"),
            ("/run/nginx.pid", &path("pid")),
            ("/var/log/nginx/error.log", &path("log")),
            ("/var/log/nginx/access.log", &path("access.log")),
            ("127.0.0.1:8080", place(&house.public)),
            ("listen 443 ssl http2;", &format!("listen 127.0.0.1:{port} ssl http2;")),
            ("listen [::]:443 ssl http2;", ""),
            ("pay.example.com", "localhost"),
            ("/etc/callgate/tls/fullchain.pem", &key("server.pem")),
            ("/etc/callgate/tls/privkey.pem", &key("server.key")),
        ],
    );
    // Where nginx would buffer what does not fit into memory: it must not, and is told where.
    let places = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {};\n", path(kind)))
        .concat();
    let text = text.replacen("http {\n", &format!("http {{\n{places}"), 1);
    fs::write(folder.path().join("nginx.conf"), text).expect("a file");
    let child = Command::new(program)
        .args(["-p", &path(""), "-c", &path("nginx.conf"), "-e", &path("log")])
        .args(["-g", "daemon off;"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("nginx starts");
    let address = format!("127.0.0.1:{port}");
    Some(Proxy { child, address, folder }.ready().await)
}

async fn caddy(house: &House, keys: &Path) -> Option<Proxy> {
    let program = program("caddy", "CALLGATE_TEST_CADDY")?;
    let (folder, port) = (TempDir::new().expect("a folder"), port());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let tls = format!(
        "localhost:{port} {{\n\ttls {} {}\n",
        keys.join("server.pem").display(),
        keys.join("server.key").display()
    );
    let text = example(
        "Caddyfile",
        &[
            ("{\n\tservers {", "{\n\tadmin off\n\tauto_https disable_redirects\n\tservers {"),
            ("pay.example.com {\n", &tls),
            ("127.0.0.1:8080", place(&house.public)),
        ],
    );
    fs::write(folder.path().join("Caddyfile"), text).expect("a file");
    let log = fs::File::create(folder.path().join("log")).expect("a log");
    let child = Command::new(program)
        .args(["run", "--adapter", "caddyfile", "--config", &path("Caddyfile")])
        .env("XDG_DATA_HOME", path("data"))
        .env("XDG_CONFIG_HOME", path("config"))
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("Caddy starts");
    let address = format!("127.0.0.1:{port}");
    Some(Proxy { child, address, folder }.ready().await)
}

/// A house that believes the proxy, with a channel that only `networks` may call.
fn house(networks: &str) -> Option<House> {
    let networks = format!("channels.alipay-cert.networks={networks}");
    House::start_set(&["public.trusted_proxies=[\"127.0.0.1\"]", &networks])
}

/// What holds behind every proxy.
async fn stories(house: &House, proxy: &Proxy, terms: &Terms) {
    let http2 = terms.http2(&proxy.address).await;
    for channel in [Channel::WechatV3Main, Channel::WechatV2Main, Channel::AlipayMain] {
        // Bodies arrive byte for byte, or the signature would not hold; answers leave as they are.
        let (one, two) = (notice_of(channel), notice_of(channel));
        let mut forged = notice_of(channel);
        forged.body.push(b' ');
        let refused = house.send(&forged).await;
        let mut stream = terms.connect(&proxy.address).await.expect("a handshake");
        let first = post(&mut stream, &one).await;
        assert_eq!(first, house.send(&one).await, "the same, behind the proxy and before it");
        assert_eq!(http2.post(&two).await.expect("an answer"), first);
        assert_eq!(http2.post(&forged).await.expect("an answer"), refused);
    }
    // The largest body that Callgate takes goes through, one more byte does not.
    let mut large = notice();
    large.body = vec![b'x'; 262_144];
    assert_eq!(http2.post(&large).await.expect("an answer"), (200, "fail".to_owned()));
    large.body.push(b'x');
    let status = http2.post(&large).await.map_or(413, |(status, _)| status);
    assert!(status == 413 || status == 502, "{status}");
    let mut elsewhere = notice();
    elsewhere.path = "/metrics".to_owned();
    assert_eq!(http2.post(&elsewhere).await.expect("an answer").0, 404);
    // What a client writes of itself is not believed: the proxy says where it comes from.
    let message = notice_of(Channel::AlipayCert);
    for lie in ["", "x-forwarded-for: 192.0.2.7\r\n", "forwarded: for=192.0.2.7\r\n"] {
        let bytes = http1_bytes(&message, &format!("connection: close\r\n{lie}"));
        let mut status = 502;
        // Who is not let in is refused before the body is read: a proxy that is still sending it may
        // say so in its own way.
        for _ in 0..LIES {
            let mut stream = terms.connect(&proxy.address).await.expect("a handshake");
            stream.write_all(&bytes).await.expect("bytes are sent");
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            status = parse(&String::from_utf8_lossy(&answer)).0;
            if status != 502 {
                break;
            }
        }
        assert_eq!(status, 403, "{lie}");
    }
}

/// Whoever is slow holds up the proxy, and nobody behind it.
async fn slow_sender(house: &House, proxy: &Proxy, terms: &Terms) {
    let message = notice();
    let mut bytes = http1_bytes(&message, "");
    let last = bytes.pop().expect("a body");
    let mut stream = terms.connect(&proxy.address).await.expect("a handshake");
    stream.write_all(&bytes).await.expect("bytes are sent");
    let http2 = terms.http2(&proxy.address).await;
    let other = notice();
    assert_eq!(http2.post(&other).await.expect("an answer"), success());
    let total = "callgate_callbacks_total{channel=\"alipay-main\"";
    let before = house.metric(total).await;
    stream.write_all(&[last]).await.expect("the last byte is sent");
    let mut piece = [0; 2048];
    let count = stream.read(&mut piece).await.expect("an answer");
    assert!(String::from_utf8_lossy(&piece[..count]).starts_with("HTTP/1.1 200"));
    assert_eq!(house.metric(total).await, before.saturating_add(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn callbacks_come_through_the_nginx_of_the_documentation_unchanged() {
    let (authority, keys) = authority();
    let Some(house) = house("[\"192.0.2.0/24\"]") else { return };
    let Some(proxy) = nginx(&house, keys.path()).await else { return };
    let terms = Terms::new(authority.roots());
    stories(&house, &proxy, &terms).await;
    slow_sender(&house, &proxy, &terms).await;
    let buffered = fs::read_dir(proxy.folder.path().join("client_body")).expect("a folder");
    assert_eq!(buffered.count(), 0, "no body was written to disk");
}

#[tokio::test(flavor = "multi_thread")]
async fn callbacks_come_through_the_caddy_of_the_documentation_unchanged() {
    let (authority, keys) = authority();
    let Some(house) = house("[\"192.0.2.0/24\"]") else { return };
    let Some(proxy) = caddy(&house, keys.path()).await else { return };
    let terms = Terms::new(authority.roots());
    stories(&house, &proxy, &terms).await;
    slow_sender(&house, &proxy, &terms).await;
}

/// How often a lie is told until it is answered by who is behind the proxy.
const LIES: u32 = 20;

const LOOKS: u32 = 500;

const BETWEEN_LOOKS: Duration = Duration::from_millis(20);
