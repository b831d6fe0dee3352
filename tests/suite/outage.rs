//! A sink that is down for long. Time is a value: the server runs inside the test, on a clock that
//! the test moves.

use std::time::Duration;

use callgate::clock::Clock;
use callgate::config::{Config, Layers};
use callgate::server::Server;
use callgate_store::{DeadLetters, Settings, Store};
use metrics_exporter_prometheus::PrometheusBuilder;
use tempfile::TempDir;

use crate::house::{now, plugins_toml, write_configuration};
use crate::sinks::{HttpSink, Reply, Shop, each_once_in_order};

/// A server on a clock of the test.
struct Inside {
    server: Server,
    clock: Clock,
    folder: TempDir,
}

impl Inside {
    async fn start(sinks: &str) -> Option<Self> {
        let folder = TempDir::new().expect("a folder");
        write_configuration(folder.path(), &format!("{}{sinks}", plugins_toml()?));
        let file = Some(folder.path().join("callgate.toml"));
        let config = Config::load(&Layers { file, ..Layers::default() }).expect("good");
        let clock = Clock::manual(now());
        let metrics = PrometheusBuilder::new().build_recorder().handle();
        let server = Server::start(config, clock.clone(), metrics).await.expect("it starts");
        Some(Self { server, clock, folder })
    }

    fn shop(&self) -> Shop {
        let Server { public, private, .. } = &self.server;
        Shop::new(&format!("http://{public}"), &format!("http://{private}"))
    }

    async fn store(&self) -> Store {
        let url = format!("sqlite://{}", self.folder.path().join("callgate.db").display());
        Store::open(&Settings { url, ..Settings::default() }).await.expect("the same database")
    }

    /// Waits until an order has so many events.
    async fn events(&self, store: &Store, order: &str, count: usize) {
        while store.events_of("PRODUCT_ORDER", order).await.expect("a read").len() < count {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Moves the clock, and lets the sink hear what became due, if anything did.
    async fn advance(&self, ms: i64, sink: &HttpSink) {
        let before = sink.heard().len();
        self.clock.advance_ms(ms);
        let heard = sink.when(|heard| heard.len() > before);
        // Nothing needs to be due: then the next move brings it nearer.
        let _ = tokio::time::timeout(Duration::from_millis(100), heard).await;
    }
}

/// Pauses and delays of half a minute at most, and few attempts: an hour has many more.
const SHORT: &str = "retry = { first_ms = 1000, max_ms = 30000, attempts_max = 3 }\n\
    circuit = { first_ms = 1000, max_ms = 30000 }";

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_is_down_for_an_hour_gets_everything_once_and_in_order_when_it_heals() {
    let sink = HttpSink::start_with(|_| Reply::Status(500)).await;
    let Some(inside) = Inside::start(&sink.toml("erp", SHORT)).await else { return };
    let orders = inside.shop().pay_orders(12, 3).await;
    let store = inside.store().await;
    for order in &orders {
        inside.events(&store, order, 3).await;
    }
    let start = inside.clock.now();
    while inside.clock.now().ms_since(start) < 3_600_000 {
        inside.advance(40_000, &sink).await;
    }
    let attempts = sink.heard().len();
    assert!((20..200).contains(&attempts), "{attempts} attempts in an hour");
    assert!(sink.taken().is_empty());
    sink.set_mood(|_| Reply::Status(200));
    for _ in 0..500 {
        if sink.taken().len() >= 36 {
            break;
        }
        inside.advance(5_000, &sink).await;
    }
    let dead = DeadLetters {
        sink: "erp".to_owned(),
        event_id: None,
        business: None,
        after_seq: 0,
        limit: 100,
    };
    assert_eq!(store.dead_letters(&dead).await.expect("a read"), []);
    each_once_in_order(&sink.taken(), &orders, 3);
    // Nothing more comes, not even a day later, nor from a host that starts again.
    inside.advance(86_400_000, &sink).await;
    store.close().await;
    let Inside { server, clock, folder } = inside;
    server.stop().await;
    let file = Some(folder.path().join("callgate.toml"));
    let config = Config::load(&Layers { file, ..Layers::default() }).expect("good");
    let metrics = PrometheusBuilder::new().build_recorder().handle();
    let again = Server::start(config, clock.clone(), metrics).await.expect("it starts");
    let inside = Inside { clock, server: again, folder };
    let more = inside.shop().pay_orders(1, 1).await;
    let taken = sink.when_taken(37).await;
    let all: Vec<_> = taken.into_iter().filter(|heard| heard.key() != more[0]).collect();
    each_once_in_order(&all, &orders, 3);
    inside.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wish_to_be_left_in_peace_is_heard_up_to_the_bound() {
    let mut answers = [Reply::Later(503, 20), Reply::Later(429, 7_200)].into_iter();
    let sink = HttpSink::start_with(move |_| answers.next().unwrap_or(Reply::Status(200))).await;
    let Some(inside) = Inside::start(&sink.toml("erp", SHORT)).await else { return };
    let start = inside.clock.now();
    inside.shop().pay(1).await;
    sink.when(|heard| heard.len() == 1).await;
    // Small steps find out when it comes again, to the second.
    let mut came = Vec::new();
    while sink.taken().is_empty() {
        let before = sink.heard().len();
        inside.advance(1_000, &sink).await;
        if sink.heard().len() > before {
            came.push(inside.clock.now().ms_since(start));
        }
    }
    assert_eq!(came.len(), 2, "{came:?}");
    assert!((20_000..=27_000).contains(&came[0]), "{came:?}");
    let second = came[1].saturating_sub(came[0]);
    assert!((30_000..=40_000).contains(&second), "the bound, not two hours: {came:?}");
    let ids: Vec<String> = sink.heard().into_iter().map(|heard| heard.id).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "one id");
    let times: Vec<i64> = sink.heard().iter().map(|heard| heard.timestamp).collect();
    assert!(times.is_sorted() && times[0] < times[2], "each attempt has its own time");
    inside.server.stop().await;
}
