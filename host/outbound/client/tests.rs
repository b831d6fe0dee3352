//! Addresses, names and paths: what is reached and what is refused.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use http::{HeaderMap, Method};
use tokio::net::TcpListener;

use super::{CallError, Caller, Endpoint, NotReachable, Outgoing};
use crate::outbound::address::Reach;
use crate::outbound::resolve::Names;

fn caller(url: &str, reach: Reach) -> Result<Caller, NotReachable> {
    Caller::new(Endpoint { url: url.parse().expect("a URL"), reach, timeout_ms: 1000 })
}

#[test]
fn addresses_of_the_house_are_refused_unless_allowed() {
    for url in [
        "https://127.0.0.1/hook",
        "https://[::1]/hook",
        "https://[::ffff:10.0.0.1]/hook",
        "https://169.254.169.254/latest",
        // Other spellings of 127.0.0.1, which a URL reads as such.
        "https://2130706433/",
        "https://0x7f.1/",
    ] {
        let refused = caller(url, Reach::Public).expect_err(url);
        assert!(matches!(refused, NotReachable::Private { .. }), "{url}: {refused}");
        assert!(caller(url, Reach::Anywhere).is_ok(), "{url}");
    }
}

#[test]
fn other_schemes_and_passwords_are_refused() {
    for url in ["http://example.com/", "ftp://example.com/", "https://u:p@example.com/"] {
        let refused = caller(url, Reach::Public).expect_err(url);
        assert!(matches!(refused, NotReachable::Url { .. }), "{url}: {refused}");
    }
    assert!(caller("https://example.com/hook", Reach::Public).is_ok());
}

#[tokio::test]
async fn a_name_that_leads_into_the_house_is_refused_when_it_is_connected_to() {
    let caller = caller("https://localhost:1/hook", Reach::Public).expect("a name is no address");
    let refused = caller.probe().await.expect_err("localhost is private");
    assert!(matches!(refused, NotReachable::Private { .. }), "{refused}");
    let error = caller.post(HeaderMap::new(), Vec::new()).await.expect_err("refused");
    assert!(matches!(error, CallError::Refused(_)), "{error}");
}

fn get(path: &str) -> Outgoing {
    Outgoing {
        method: Method::GET,
        path: path.to_owned(),
        headers: HeaderMap::new(),
        body: Vec::new(),
        timeout_ms: 1000,
        answer_bytes_max: 100,
    }
}

/// A caller whose name has another address each time it is looked up, as who rebinds names does:
/// first one of the internet, then one of this machine.
fn rebound(reach: Reach, port: u16) -> (Caller, Arc<AtomicU32>) {
    let looks = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&looks);
    let names = Names::Told(Arc::new(move |_| {
        let first = counted.fetch_add(1, Ordering::SeqCst) == 0;
        let address: SocketAddr = if first { "8.8.8.8:0" } else { "127.0.0.1:0" }.parse().unwrap();
        vec![address]
    }));
    let url = format!("https://rebound.example:{port}/").parse().unwrap();
    (Caller::build(Endpoint { url, reach, timeout_ms: 1000 }, Vec::new(), names).unwrap(), looks)
}

#[tokio::test]
async fn a_name_that_was_public_and_is_private_when_it_is_connected_to_is_refused() {
    let house = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (caller, looks) = rebound(Reach::Public, house.local_addr().unwrap().port());
    caller.probe().await.expect("the first look finds a public address");
    let refused = caller.send(get("/")).await.expect_err("the second finds a private one");
    assert!(matches!(refused, CallError::Refused(NotReachable::Private { .. })), "{refused}");
    assert_eq!(looks.load(Ordering::SeqCst), 2, "no look that nobody checks");
    let knock = tokio::time::timeout(std::time::Duration::from_millis(50), house.accept()).await;
    assert!(knock.is_err(), "nobody connected");
}

#[tokio::test]
async fn the_addresses_that_were_checked_are_those_that_are_connected_to() {
    // The same name, allowed: whoever looks is connected to what the look said.
    let house = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (caller, looks) = rebound(Reach::Anywhere, house.local_addr().unwrap().port());
    caller.probe().await.unwrap();
    let (knock, answer) = tokio::join!(house.accept(), async {
        tokio::time::timeout(std::time::Duration::from_millis(300), caller.send(get("/"))).await
    });
    assert!(knock.is_ok());
    assert!(!matches!(answer, Ok(Ok(_))), "nobody speaks TLS there");
    assert_eq!(looks.load(Ordering::SeqCst), 2);
}

#[test]
fn one_private_address_among_several_refuses_the_name() {
    let names = Names::Told(Arc::new(|_| {
        ["8.8.8.8:0", "10.0.0.1:0"].map(|address| address.parse().unwrap()).to_vec()
    }));
    let url = "https://mixed.example/".parse().unwrap();
    let endpoint = Endpoint { url, reach: Reach::Public, timeout_ms: 1000 };
    let caller = Caller::build(endpoint, Vec::new(), names).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let refused = runtime.block_on(caller.probe()).expect_err("one is private");
    assert!(matches!(refused, NotReachable::Private { .. }), "{refused}");
}

#[test]
fn a_path_stays_below_the_base_address() {
    let below = |base: &str, path: &str| {
        let caller = caller(base, Reach::Public).unwrap();
        caller.below(path).map(|url| url.to_string()).ok()
    };
    for (base, path, expected) in [
        ("https://erp.example", "/", "https://erp.example/"),
        ("https://erp.example/", "/a?b=c", "https://erp.example/a?b=c"),
        ("https://erp.example/api/v2/", "/a", "https://erp.example/api/v2/a"),
        ("https://erp.example/api", "/a%2Fb", "https://erp.example/api/a%2Fb"),
    ] {
        assert_eq!(below(base, path).as_deref(), Some(expected), "{base} and {path}");
    }
    for (base, path) in [
        ("https://erp.example/api", ""),
        ("https://erp.example", ".evil.example/"),
        ("https://erp.example", "@evil.example/"),
        ("https://erp.example", ":8443/"),
        ("https://erp.example/api", "/../x"),
        ("https://erp.example/api", "/%2e%2e/x"),
        ("https://erp.example/api", "/a/../../x"),
        ("https://erp.example/api", "2/x"),
    ] {
        assert_eq!(below(base, path), None, "{base} and {path}");
    }
}
