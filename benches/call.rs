//! What a run costs: instantiate, one phase, all phases of the mall's payment processor on fresh
//! instances, with a store in memory outside; beside it the same code compiled natively, on the
//! host in memory that the SDK has for tests. And what loading costs where the code was compiled
//! before.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::float_arithmetic,
    clippy::arithmetic_side_effects,
    reason = "a benchmark ends where something is wrong, and prints ratios"
)]

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Duration;

use callgate_processor::testing::{self, House};
use callgate_sandbox::engine::{Sandbox, SandboxSettings};
use callgate_sandbox::fault::Phase;
use callgate_sandbox::grants::Grants;
use callgate_sandbox::limits::Limits;
use callgate_sandbox::load::Source;
use callgate_sandbox::outside::{Document, DocumentRef, Outside, OutsideError, Pending};
use callgate_sandbox::plugin::Plugin;
use callgate_sandbox::run::{Commit, Cost, Draft, Money, Notification, Report, RunInput, RunMode};
use criterion::Criterion;
use order_payment::OrderPayment;
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::time::Instant;

const ORDER_BODY: &str =
    r#"{"buyer":"b-7","items":[{"sku":"A-1","count":2},{"sku":"B-9","count":1}]}"#;

/// The resource of a WeChat Pay v3 callback, as the host hands it over.
const BODY: &str = r#"{"transaction_id":"4200001234202611220000000001","amount":{"payer_total":1999,
"total":1999,"currency":"CNY","payer_currency":"CNY"},"mchid":"1900000001","trade_state":"SUCCESS",
"bank_type":"OTHERS","promotion_detail":[],"success_time":"2026-11-22T10:00:00+08:00","payer":
{"openid":"o-payer-0000000000000000"},"out_trade_no":"1001","appid":"wx0000000000000001",
"trade_state_desc":"paid","trade_type":"JSAPI","attach":"","scene_info":{"device_id":""}}"#;

/// A store of nothing but the order, which the host has already.
struct Empty;

impl Outside for Empty {
    fn documents<'a>(
        &'a mut self,
        names: &'a [DocumentRef],
    ) -> Pending<'a, Result<Vec<Option<Document>>, OutsideError>> {
        let found = vec![None; names.len()];
        Box::pin(std::future::ready(Ok(found)))
    }
}

fn input() -> RunInput {
    let money = || Some(Money { minor: 1999, currency: "CNY".to_owned() });
    let text = |text: &str| text.to_owned();
    RunInput {
        notification: Notification {
            id: text("01a20468-06ad-73d3-96f1-2f38650e9f9b"),
            channel: text("wechat-v3-main"),
            business: text("PRODUCT_ORDER"),
            scene: text("WE_CHAT_PAY"),
            event_type: text("payment.succeeded"),
            delivery_key: text("EV-2026112210000000000000000001"),
            meaning_key: text("payment:4200001234202611220000000001:succeeded"),
            order_no: Some(text("1001")),
            transaction_id: Some(text("4200001234202611220000000001")),
            refund_id: None,
            refund_no: None,
            payer: Some(text("o-payer-0000000000000000")),
            amount: money(),
            refunded_total: None,
            order_amount: money(),
            occurred_at: Some(1_795_312_800_000),
            received_at: 1_795_312_801_000,
            body: text(BODY),
        },
        subject: Some(Document {
            name: DocumentRef { collection: text("orders"), key: text("1001") },
            version: 1,
            state: text("TO_BE_PAID"),
            body: text(ORDER_BODY),
            updated_at: 1_795_312_700_000,
        }),
        mode: RunMode::Live,
        attempt: 1,
        now_ms: 1_795_312_802_000,
        scratch: String::new(),
    }
}

fn source(file: &Path) -> Source {
    let set = |name: &str| [name.to_owned()].into_iter().collect();
    Source {
        bytes: std::fs::read(file).unwrap(),
        limits: Limits::default(),
        grants: Grants { write: set("ledger"), topics: set("order.paid"), ..Grants::default() },
        config: json!({}),
    }
}

async fn run(plugin: &Plugin) -> Report<Draft> {
    let report = plugin.run(input(), Box::new(Empty)).await;
    let draft = report.result.as_ref().unwrap();
    assert_eq!((draft.writes.len(), draft.events.len()), (2, 1));
    report
}

async fn run_after(plugin: &Plugin, scratch: String) {
    let commit = Commit {
        state: "TO_BE_DELIVERED".to_owned(),
        version: 2,
        events: 1,
        target: Some("TO_BE_DELIVERED".to_owned()),
    };
    let input = RunInput { scratch, ..input() };
    assert!(plugin.run_after(input, commit, Box::new(Empty)).await.result.unwrap().is_empty());
}

fn native() {
    let mut house = House::new();
    house.order("1001", "TO_BE_PAID", &json!({ "buyer": "b-7" }));
    let amount = || callgate_processor::Money::new(1999, "CNY");
    let told = testing::Notification::new("n-1", "payment.succeeded", "PRODUCT_ORDER")
        .scene("WE_CHAT_PAY")
        .channel("wechat-v3-main")
        .order_no("1001")
        .transaction_id("4200001234202611220000000001")
        .payer("o-payer-0000000000000000")
        .amount(amount())
        .order_amount(amount())
        .occurred_at_ms(1_795_312_800_000);
    let run = house.run::<OrderPayment>(&told);
    assert_eq!(black_box(run).events.len(), 1);
}

/// Times of many rounds; the middle one is what the table says.
#[derive(Default)]
struct Times(Vec<Duration>);

impl Times {
    fn add(&mut self, time: Duration) -> Duration {
        self.0.push(time);
        time
    }

    fn micros(&mut self, percent: usize) -> f64 {
        self.0.sort_unstable();
        let place = self.0.len() * percent / 100;
        self.0.get(place).map_or(0.0, |time| time.as_secs_f64() * 1e6)
    }
}

/// One row of the table in `README.md`.
fn measure(
    criterion: &mut Criterion,
    name: &str,
    rival_us: f64,
    mut round: impl FnMut() -> Duration,
) -> f64 {
    let mut times = Times::default();
    criterion.bench_function(&format!("call/{name}"), |bencher| {
        bencher.iter_custom(|rounds| (0..rounds).map(|_| times.add(round())).sum());
    });
    let (low, middle) = (times.micros(10), times.micros(50));
    let ratio = if rival_us > 0.0 { format!("{:.1}", middle / rival_us) } else { "-".to_owned() };
    println!("| {name} | {low:.1} | {middle:.1} | {ratio} |");
    middle
}

fn timed(act: impl FnOnce()) -> Duration {
    let started = Instant::now();
    act();
    started.elapsed()
}

/// The time of one phase, from the report of a whole run.
fn phase(runtime: &Runtime, plugin: &Plugin, which: Phase) -> Duration {
    let costs = runtime.block_on(run(plugin)).costs;
    costs.into_iter().find(|cost| cost.phase == which).unwrap().duration
}

/// What is the same in every run, on every machine.
fn tell(report: &Report<Draft>) {
    let fuel = |cost: &Cost| format!("{} {}", cost.phase, cost.fuel);
    let fuel: Vec<_> = report.costs.iter().map(fuel).collect();
    println!("fuel: {}", fuel.join(", "));
    println!("calls of the host: {}; memory: {} bytes", report.host_calls, report.memory_bytes);
}

fn main() {
    let folder = std::env::var_os("CALLGATE_TEST_PLUGINS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/plugins"),
        PathBuf::from,
    );
    let file = folder.join("order-payment.wasm");
    if !file.exists() {
        println!("{} is not built: run `cargo xtask plugins`", file.display());
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let cache = std::env::temp_dir().join(format!("callgate-bench-{}", std::process::id()));
    let sandbox = || {
        let cache_dir = Some(cache.clone());
        Sandbox::new(SandboxSettings { cache_dir, ..SandboxSettings::default() }).unwrap()
    };
    let house = sandbox();
    let plugin = runtime.block_on(house.load(source(&file))).unwrap();
    tell(&runtime.block_on(run(&plugin)));
    let mut criterion = Criterion::default()
        .sample_size(50)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    println!("| act | p10 us | median us | times native |");
    println!("|---|---|---|---|");
    let rival = measure(&mut criterion, "native", 0.0, || timed(native));
    for (name, which) in [
        ("instantiate", Phase::Start),
        ("one phase: check", Phase::Check),
        ("one phase: save", Phase::Save),
    ] {
        measure(&mut criterion, name, rival, || phase(&runtime, &plugin, which));
    }
    measure(&mut criterion, "five phases, to the draft", rival, || {
        timed(|| drop(runtime.block_on(run(&plugin))))
    });
    measure(&mut criterion, "six phases, the last on its own instance", rival, || {
        timed(|| {
            runtime.block_on(async {
                let report = run(&plugin).await;
                run_after(&plugin, report.scratch).await;
            });
        })
    });
    let source = source(&file);
    measure(&mut criterion, "load, compiled before", rival, || {
        let source = source.clone();
        timed(|| drop(runtime.block_on(house.load(source)).unwrap()))
    });
    measure(&mut criterion, "engine and load, compiled before", rival, || {
        let source = source.clone();
        timed(|| drop(runtime.block_on(sandbox().load(source)).unwrap()))
    });
    criterion.final_summary();
    std::fs::remove_dir_all(&cache).unwrap();
}
