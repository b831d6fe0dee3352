//! A real browser: a page of a shop waits for an order by events and by long poll, across origins,
//! and shows that it is paid when the callback has come.
//!
//! Chromium is driven by its own driver, which speaks HTTP (W3C WebDriver).

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::front::{Paid, path, register, status_toml, token, waiting};
use crate::house::House;

/// The programs of Debian's packages `chromium` and `chromium-driver`; `None`, said loudly, where
/// they are missing, which CI does not put up with.
fn programs() -> Option<(PathBuf, PathBuf)> {
    let find = |variable: &str, name: &str| {
        let given = std::env::var_os(variable).map(PathBuf::from);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::split_paths(&path).map(|folder| folder.join(name));
        given.into_iter().chain(folders).find(|program| program.is_file())
    };
    let browser = find("CALLGATE_TEST_CHROMIUM", "chromium");
    let driver = find("CALLGATE_TEST_CHROMEDRIVER", "chromedriver");
    if let (Some(browser), Some(driver)) = (browser, driver) {
        return Some((browser, driver));
    }
    let remedy = "no chromium and chromedriver were found: run `cargo xtask test`, or install the \
                  Debian packages chromium and chromium-driver";
    assert!(std::env::var_os("CI").is_none(), "{remedy}");
    eprintln!("*** SKIPPED: {remedy}");
    None
}

/// The shop's own web server: one page, on an origin of its own.
fn shop() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let origin = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut head = BufReader::new(stream.try_clone().expect("the same")).lines();
            while head.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            let page = page_of_the_documentation();
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/html; charset=utf-8\r\n\
                 content-length: {}\r\nconnection: close\r\n\r\n{page}",
                page.len()
            );
            // A browser that has gone wants no page.
            let _ = stream.write_all(answer.as_bytes());
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = stream.read(&mut [0; 1]);
        }
    });
    origin
}

/// What the documentation calls a complete page.
fn page_of_the_documentation() -> &'static str {
    let (_, page) = include_str!("../../docs/status.md").split_once("```html\n").expect("a page");
    page.split_once("```").expect("its end").0
}

/// A driver and the one browser that it drives.
struct Browser {
    child: Child,
    session: String,
    http: reqwest::Client,
    _profile: tempfile::TempDir,
}

impl Browser {
    async fn open((browser, driver): &(PathBuf, PathBuf)) -> Self {
        let mut child = Command::new(driver)
            .arg("--port=0")
            // A group of its own, so that its browser ends with it.
            .process_group(0)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver starts");
        let mut lines = BufReader::new(child.stdout.take().expect("standard output")).lines();
        // "ChromeDriver was started successfully on port 40123."
        let port = lines
            .find_map(|line| {
                let line = line.expect("a line");
                let (_, port) = line.split_once("successfully on port ")?;
                port.trim_end_matches('.').parse::<u16>().ok()
            })
            .expect("chromedriver listens");
        // Nobody reads further lines, and nobody may wait for them to be read.
        std::thread::spawn(move || lines.count());
        let profile = tempfile::TempDir::new().expect("a folder for the browser");
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build();
        let mut opened = Self {
            child,
            session: format!("http://127.0.0.1:{port}/session"),
            http: http.expect("a client"),
            _profile: profile,
        };
        let folder = format!("--user-data-dir={}", opened._profile.path().display());
        // Containers have a small /dev/shm, and their root no sandbox.
        let args = [
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--no-proxy-server",
            "--no-first-run",
            "--disable-crash-reporter",
            folder.as_str(),
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "binary": browser, "args": args },
            "timeouts": { "script": 60_000, "pageLoad": 60_000 } } } });
        let session = opened.call("", wanted).await;
        let id = session["sessionId"].as_str().expect("a session");
        opened.session = format!("{}/{id}", opened.session);
        opened
    }

    /// A call of the driver; its value.
    async fn call(&self, path: &str, body: Value) -> Value {
        let request = self.http.post(format!("{}{path}", self.session)).json(&body);
        let response = request.send().await.expect("the driver answers");
        let status = response.status();
        let answer: Value = response.json().await.expect("JSON");
        assert!(status.is_success(), "{path}: {answer:#}");
        answer["value"].clone()
    }

    async fn visit(&self, url: &str) {
        self.call("/url", json!({ "url": url })).await;
    }

    /// Waits until the page shows this, and tells how it says that it waits.
    async fn when(&self, state: &str) -> Value {
        let script = format!(
            "const done = arguments[arguments.length - 1], \
             state = document.getElementById('state'), how = document.getElementById('how'); \
             const look = () => state.textContent === '{state}' && done(how.textContent); \
             new MutationObserver(look).observe(state, {{ childList: true }}); look();"
        );
        self.call("/execute/async", json!({ "script": script, "args": [] })).await
    }

    /// What the page shows now.
    async fn shows(&self) -> Value {
        let script = "return document.getElementById('state').textContent";
        self.call("/execute/sync", json!({ "script": script, "args": [] })).await
    }

    async fn close(self) {
        let closed = self.http.delete(&self.session).send().await;
        assert!(closed.expect("the driver answers").status().is_success());
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let group = format!("-{}", self.child.id());
        // Where a story ended early, the browser is still there.
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.child.wait();
    }
}

/// The address of the shop's page for an order.
fn page(shop: &str, house: &House, (paid, how, token): (&Paid, &str, &str)) -> String {
    let order = &paid.order_no;
    let place = format!("{}{}", house.status, path(order)).replace('/', "%2F").replace(':', "%3A");
    format!("{shop}/?order={order}&how={how}&token={token}&status={place}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_waits_shows_paid_when_the_callback_has_come() {
    let Some(programs) = programs() else { return };
    let shop = shop();
    let Some(house) = House::start_with(&status_toml("127.0.0.1:0", &shop, "")) else { return };
    let browser = Browser::open(&programs).await;
    for (how, shown) in [("events", "by events"), ("poll", "by long poll")] {
        let paid = register(&house).await;
        let token = token(&paid.order_no);
        browser.visit(&page(&shop, &house, (&paid, how, &token))).await;
        assert_eq!(browser.when("waiting").await, shown);
        waiting(&house, 1).await;
        assert_eq!(house.send(&paid.message).await.0, 200);
        assert_eq!(browser.when("paid").await, shown);
        // Who leaves the page waits no more; who comes back to it waits again, or sees the end.
        browser.visit("about:blank").await;
        waiting(&house, 0).await;
        browser.call("/back", json!({})).await;
        assert_eq!(browser.when("paid").await, shown);
        browser.visit("about:blank").await;
        waiting(&house, 0).await;
    }
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_whose_host_is_restarted_connects_again_and_shows_paid() {
    let Some(programs) = programs() else { return };
    let shop = shop();
    // The same address before and after.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let listen = listener.local_addr().expect("an address").to_string();
    drop(listener);
    let toml = status_toml(&listen, &shop, "retry_ms = 100");
    let Some(house) = House::start_with(&toml) else { return };
    let browser = Browser::open(&programs).await;
    let paid = register(&house).await;
    let token = token(&paid.order_no);
    browser.visit(&page(&shop, &house, (&paid, "events", &token))).await;
    browser.when("waiting").await;
    let house = house.kill_and_restart();
    assert_eq!(house.send(&paid.message).await.0, 200);
    assert_eq!(browser.when("paid").await, "by events");
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_without_a_good_token_or_of_another_origin_shows_nothing() {
    let Some(programs) = programs() else { return };
    let (shop, stranger) = (shop(), shop());
    let Some(house) = House::start_with(&status_toml("127.0.0.1:0", &shop, "")) else { return };
    let browser = Browser::open(&programs).await;
    let paid = register(&house).await;
    let good = token(&paid.order_no);
    for (how, shown) in [("poll", "by long poll"), ("events", "by long poll")] {
        browser.visit(&page(&shop, &house, (&paid, how, "cgs1.k1.e30.AAAA"))).await;
        assert_eq!(browser.when("refused").await, shown, "also after {how} were refused");
    }
    // The browser itself keeps the answer from a page of another origin.
    browser.visit(&page(&stranger, &house, (&paid, "events", &good))).await;
    let place = format!("{}{}?token={good}", house.status, path(&paid.order_no));
    let tried = format!("fetch('{place}').then(() => 'read', () => 'kept')");
    let script = format!("const done = arguments[arguments.length - 1]; {tried}.then(done)");
    let found = browser.call("/execute/async", json!({ "script": script, "args": [] })).await;
    assert_eq!(found, "kept");
    assert_eq!(browser.shows().await, "connecting");
    browser.close().await;
}

/// How long the driver may take: the browser starts in it.
const PATIENCE: Duration = Duration::from_secs(120);
