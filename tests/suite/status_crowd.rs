//! Ten thousand front ends that wait, and hosts that are not alone or do not stay.

use std::time::Duration;

use callgate::clock::Stopwatch;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::cluster::Cluster;
use crate::front::{
    ORIGIN, PATIENCE, Paid, SECRET, Said, Stream, claims, path, purchase, signed, status_toml,
    token,
};
use crate::hosts::{Addresses, Host};
use crate::house::{House, OPERATOR, TOKEN, plugins_toml};
use crate::load::Load;

/// Front ends, half of them with streams and half with long polls.
const CLIENTS: usize = 10_000;

/// Orders that they wait for.
const ORDERS: usize = 100;

/// A host for front ends, as it is seen from outside.
struct Seen {
    private: String,
    status: String,
    id: u32,
}

impl Seen {
    async fn metric(&self, http: &reqwest::Client, line: &str) -> u64 {
        let request = http.get(format!("{}/metrics", self.private)).bearer_auth(OPERATOR);
        let text = request.send().await.expect("metrics").text().await.expect("text");
        let lines = text.lines().filter(|found| found.starts_with(line));
        lines.filter_map(|found| found.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }

    async fn waiting(&self, http: &reqwest::Client, count: usize) {
        let count = u64::try_from(count).expect("a count");
        let looking = async {
            while self.metric(http, "callgate_status_waiting").await != count {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, looking).await.is_err() {
            let found = self.metric(http, "callgate_status_waiting").await;
            let asked = self.metric(http, "callgate_status_requests_total").await;
            let answered = "callgate_status_requests_total{how=\"stream\",code=\"\"}";
            let answered = self.metric(http, answered).await;
            panic!("{found} wait, {asked} were answered, {answered} of them with streams");
        }
    }

    /// Memory in use, in KiB.
    fn memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id)).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
        line.trim().trim_end_matches("kB").trim().parse().expect("a number")
    }
}

/// Ten thousand clients need as many file descriptors, here and in the server, which inherits the
/// limit.
fn raise_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    let least = 15_000;
    let most = limit.maximum.unwrap_or(u64::MAX);
    assert!(most >= least, "at most {most} open files are allowed: raise `ulimit -Hn` to {least}");
    if limit.current.is_some_and(|current| current < least) {
        let raised = Rlimit { current: Some(least), maximum: limit.maximum };
        setrlimit(Resource::Nofile, raised).expect("the limit can be raised to its maximum");
    }
}

/// One who waits, over a connection of its own.
struct Client {
    stream: TcpStream,
    heard: Vec<u8>,
    streams: bool,
}

impl Client {
    async fn ask(address: &str, order_no: &str, number: usize) -> Self {
        let stream = TcpStream::connect(address).await.expect("a connection");
        let streams = number.is_multiple_of(2);
        let seconds = 3600_usize.saturating_add(number.div_euclid(ORDERS));
        let claims = claims(order_no, i64::try_from(seconds).expect("seconds"));
        let token = signed(("k1", SECRET), &claims);
        let (query, accept) =
            if streams { ("", "text/event-stream") } else { ("?wait=100s&version=1", "*/*") };
        let head = format!(
            "GET {}{query} HTTP/1.1\r\nhost: x\r\naccept: {accept}\r\n\
             authorization: Bearer {token}\r\n\r\n",
            path(order_no)
        );
        let mut client = Self { stream, heard: Vec::new(), streams };
        client.stream.write_all(head.as_bytes()).await.expect("it is sent");
        if streams {
            client.hear("id: 1\n").await;
        }
        client
    }

    /// Reads until it has heard this.
    async fn hear(&mut self, words: &str) {
        while !self.text().contains(words) {
            let reading = self.stream.read_buf(&mut self.heard);
            let read = tokio::time::timeout(PATIENCE, reading).await.expect("it hears something");
            assert!(read.expect("a connection") > 0, "closed after {}", self.text());
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.heard).into_owned()
    }

    /// Hears of the second version, once.
    async fn is_told(&mut self) {
        let words = if self.streams { "id: 2\n" } else { "\"version\":2" };
        self.hear(words).await;
        self.hear("TO_BE_DELIVERED").await;
        assert_eq!(self.text().matches("TO_BE_DELIVERED").count(), 1, "{}", self.text());
    }
}

/// One crowd at a time: two would need more open files than most machines allow.
static CROWD_AT_ONCE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Everybody waits at one host; the callbacks come by `post`.
async fn crowd(seen: &Seen, orders: Vec<Paid>, post: impl AsyncFn(&Paid)) {
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let before = seen.memory_kib();
    let address = seen.status.trim_start_matches("http://").to_owned();
    let numbers: Vec<String> = orders.iter().map(|paid| paid.order_no.clone()).collect();
    let watch = Stopwatch::start();
    let mut coming = JoinSet::new();
    for part in 0..PARTS {
        let (address, numbers) = (address.clone(), numbers.clone());
        coming.spawn(async move {
            let mut clients = Vec::new();
            for number in (part..CLIENTS).step_by(PARTS) {
                let order_no = &numbers[number.div_euclid(2).rem_euclid(ORDERS)];
                clients.push(Client::ask(&address, order_no, number).await);
            }
            clients
        });
    }
    let groups = coming.join_all().await;
    seen.waiting(&http, CLIENTS).await;
    let (came, during) = (watch.elapsed(), seen.memory_kib());
    let watch = Stopwatch::start();
    let mut hearing = JoinSet::new();
    for mut clients in groups {
        hearing.spawn(async move {
            for client in &mut clients {
                client.is_told().await;
            }
            clients
        });
    }
    for paid in &orders {
        post(paid).await;
    }
    let groups = hearing.join_all().await;
    let told = watch.elapsed();
    let woken = seen.metric(&http, "callgate_status_woken_total").await;
    let looks = seen.metric(&http, "callgate_status_looks_total").await;
    eprintln!(
        "{CLIENTS} clients came in {came:?}, {before} KiB before and {during} KiB with them; \
         {ORDERS} changes told in {told:?}, {woken} woken, {looks} looks"
    );
    assert_eq!(woken, u64::try_from(CLIENTS).expect("a count"), "each is woken once");
    let growth = during.saturating_sub(before);
    assert!(growth < CLIENT_KIB_MAX.saturating_mul(woken), "{growth} KiB");
    drop(groups);
    seen.waiting(&http, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_clients_are_woken_once_each_on_sqlite() {
    raise_limit();
    let _alone = CROWD_AT_ONCE.lock().await;
    let Some(house) = House::start_with(&status_toml("127.0.0.1:0", ORIGIN, CROWD)) else { return };
    let mut orders = Vec::new();
    for _ in 0..ORDERS {
        orders.push(crate::front::register(&house).await);
    }
    let seen =
        Seen { private: house.private.clone(), status: house.status.clone(), id: house.id() };
    crowd(&seen, orders, async |paid| assert_eq!(house.send(&paid.message).await.0, 200)).await;
}

/// A host on PostgreSQL that answers front ends.
fn host(url: &str, more: &str) -> Option<Host> {
    let toml = format!("{}{}", plugins_toml()?, status_toml("127.0.0.1:0", ORIGIN, more));
    Some(Host::with(url, &toml, &["engine.poll_ms=100"]))
}

async fn register(http: &reqwest::Client, addresses: &Addresses) -> Paid {
    let paid = purchase();
    let url = format!("{}/orders/PRODUCT_ORDER/{}", addresses.private, paid.order_no);
    let put = http.put(url).bearer_auth(TOKEN).json(&paid.registration).send().await;
    assert_eq!(put.expect("an answer").status(), 201);
    paid
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_clients_are_woken_by_another_host_on_postgresql() {
    raise_limit();
    let _alone = CROWD_AT_ONCE.lock().await;
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.database().await;
    let (Some(mut here), Some(mut there)) = (host(&url, CROWD), host(&url, CROWD)) else { return };
    let (at_work, waited_at) = (here.start(), there.start());
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let mut orders = Vec::new();
    for _ in 0..ORDERS {
        orders.push(register(&http, &at_work).await);
    }
    let load = Load::new(1, 0);
    let seen = Seen { private: waited_at.private, status: there.status(), id: there.id() };
    crowd(&seen, orders, async |paid| assert!(load.post(&at_work, &paid.message).await)).await;
    assert!(here.stop() && there.stop());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_on_one_host_wakes_who_waits_on_another() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.database().await;
    let (Some(mut here), Some(mut there)) = (host(&url, ""), host(&url, "")) else { return };
    let (at_work, waited_at) = (here.start(), there.start());
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let paid = register(&http, &at_work).await;
    let ask = |query: &str| {
        let url = format!("{}{}{query}", there.status(), path(&paid.order_no));
        http.get(url).bearer_auth(token(&paid.order_no))
    };
    let mut stream = Stream::open(ask("")).await;
    let state = |id, state: &str| Some(Said::Status { id, state: state.to_owned() });
    assert_eq!(stream.event().await, state(1, "TO_BE_PAID"));
    let poll = tokio::spawn(crate::front::answer(ask("?wait=25s&version=1")));
    let seen = Seen { private: waited_at.private.clone(), status: there.status(), id: there.id() };
    seen.waiting(&http, 2).await;
    // The other host does the work: this one is given nothing to do and polls for changes alone.
    let load = Load::new(1, 0);
    assert!(load.post(&at_work, &paid.message).await);
    assert_eq!(stream.event().await, state(2, "TO_BE_DELIVERED"));
    let (code, tag, told) = poll.await.expect("it ends");
    assert_eq!((code, tag.as_str(), &told["version"]), (200, "\"2\"", &json!(2)));
    assert!(here.stop());
    drop(stream);
    assert!(there.stop());
}

/// A browser's event source: connects again until it hears of the second version. Tells how often
/// it was cut off.
async fn follow(http: reqwest::Client, url: String) -> u32 {
    let (mut last, mut cut) = (String::new(), 0_u32);
    loop {
        let mut request = http.get(&url).header("accept", "text/event-stream");
        if !last.is_empty() {
            request = request.header("last-event-id", &last);
        }
        if let Ok(response) = request.send().await
            && response.status().as_u16() == 200
        {
            let mut stream = Stream::of(response);
            while let Some(said) = stream.event().await {
                let Said::Status { id, .. } = said else { continue };
                if id >= 2 {
                    return cut;
                }
                last = id.to_string();
            }
            cut = cut.saturating_add(1);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_a_host_that_dies_come_again_and_see_the_change() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let listen = listener.local_addr().expect("an address").to_string();
    drop(listener);
    let Some(mut house) = House::start_with(&status_toml(&listen, ORIGIN, "")) else { return };
    for round in 0..2 {
        let paid = crate::front::register(&house).await;
        let mut clients = JoinSet::new();
        for number in 0..40 {
            let token = signed(("k1", SECRET), &claims(&paid.order_no, 600 + number));
            let url = format!("http://{listen}{}?token={token}", path(&paid.order_no));
            clients.spawn(follow(house.http.clone(), url));
        }
        crate::front::waiting(&house, 40).await;
        let sent_before = round == 0;
        if sent_before {
            // What is committed is seen after the restart, whether they heard of it or not.
            assert_eq!(house.send(&paid.message).await.0, 200);
            house = house.kill_and_restart();
        } else {
            house = house.stop_and_restart();
            assert_eq!(house.send(&paid.message).await.0, 200);
        }
        let ended = tokio::time::timeout(PATIENCE, clients.join_all()).await;
        let cut = ended.expect("everybody sees the change");
        assert!(sent_before || cut.iter().all(|cut| *cut > 0), "{cut:?}");
    }
}

/// Tasks that the clients are spread over.
const PARTS: usize = 16;

/// What one client may cost the server: its connection's buffers, most of all.
const CLIENT_KIB_MAX: u64 = 128;

/// Limits that let everybody in.
const CROWD: &str = "waiters_per_order_max = 1000\nwait_max_ms = 120000";
