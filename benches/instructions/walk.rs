//! The program that is counted: it takes signed callbacks up to one of the steps.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use callgate_core::gateway::Gateway;
use callgate_core::money::{Currency, Money};
use callgate_core::notification::Verified;
use callgate_core::request::Request;
use callgate_store::{
    Callback, ClaimRequest, Foreseen, Job, NewOrder, Settings, Settled, Settlement, Store,
};
use callgate_trigger::cases::Order;
use callgate_trigger::channel::{BUSINESS, Channel};
use callgate_trigger::keys::Keys;
use callgate_trigger::message::Message;
use http::{HeaderMap, HeaderName, HeaderValue};
use hyper::body::Bytes;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::acts::{at, paid, settlement, state};
use crate::floor::{Floor, door::Door};
use crate::proof;

/// How far callbacks are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// Everything is read and opened.
    Load,
    Register,
    Verify,
    /// Decided first: looked at before it is stored.
    Foresee,
    /// Decided first: stored with what was decided.
    Arrive,
    Accept,
    Claim,
    Settle,
}

impl Step {
    /// Of a callback that is stored and then run.
    pub(crate) const STORED: [Self; 6] =
        [Self::Load, Self::Register, Self::Verify, Self::Accept, Self::Claim, Self::Settle];
    /// Of one that is decided first.
    pub(crate) const DECIDED: [Self; 3] = [Self::Verify, Self::Foresee, Self::Arrive];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Register => "register",
            Self::Verify => "verify",
            Self::Foresee => "foresee",
            Self::Arrive => "arrive",
            Self::Accept => "accept",
            Self::Claim => "claim",
            Self::Settle => "settle",
        }
    }

    pub(crate) fn parse(name: &str) -> Self {
        let all = Self::STORED.into_iter().chain(Self::DECIDED);
        all.into_iter().find(|step| step.name() == name).unwrap()
    }
}

/// A signed callback, and the order that it speaks of.
pub(crate) struct Told {
    path: String,
    headers: HeaderMap,
    body: Bytes,
    order_no: String,
    amount_minor: i64,
}

impl Told {
    pub(crate) fn new(message: &Message, order: &Order) -> Self {
        let mut headers = HeaderMap::new();
        for (name, value) in &message.headers {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        Self {
            path: message.path.clone(),
            headers,
            body: message.body.clone().into(),
            order_no: order.order_no.clone(),
            amount_minor: order.amount.minor,
        }
    }

    /// As a line of a file.
    pub(crate) fn line(&self) -> String {
        let headers = self.headers.iter();
        let headers: Vec<_> =
            headers.map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        let body = String::from_utf8_lossy(&self.body);
        let (path, order_no, amount) = (&self.path, &self.order_no, self.amount_minor);
        json!([path, headers, body, order_no, amount]).to_string()
    }

    fn parse(line: &str) -> Self {
        type Line = (String, Vec<(String, String)>, String, String, i64);
        let (path, pairs, body, order_no, amount_minor): Line = serde_json::from_str(line).unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, HeaderValue::from_str(&value).unwrap());
        }
        Self { path, headers, body: body.into_bytes().into(), order_no, amount_minor }
    }

    fn verify(&self, gateway: &dyn Gateway) -> Option<Verified> {
        let request = Request {
            method: "POST",
            path: &self.path,
            query: "",
            headers: &self.headers,
            body: &self.body,
        };
        gateway.verify(&request, proof::NOW).ok()
    }
}

/// Takes all callbacks of a kind up to a step, in groups of a size.
pub(crate) fn walk((who, kind): (&str, &str), last: Step, size: usize, folder: &Path) {
    // On one thread everybody has asked before the writer looks.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let told = fs::read_to_string(folder.join(kind)).unwrap();
    let told: Vec<Told> = told.lines().map(Told::parse).collect();
    // In memory where there is such a folder: what the kernel does for a file is not counted.
    let shared = Path::new("/dev/shm");
    let home = if shared.is_dir() { TempDir::new_in(shared) } else { TempDir::new() }.unwrap();
    let url = format!("sqlite://{}", home.path().join("bench.db").display());
    if who == "floor" {
        runtime.block_on(floor(&told, (last, size), (&url, folder)));
    } else {
        let keys = Keys::from_files(|name| fs::read_to_string(folder.join(name)).ok()).unwrap();
        let gateway = proof::open(&keys, Channel::WechatV3Main);
        runtime.block_on(callgate(&told, (last, size), (&url, &*gateway, kind == "genuine")));
    }
    // The caller ends the process and nothing is dropped.
    drop(home);
}

async fn callgate(
    told: &[Told],
    (last, size): (Step, usize),
    (url, gateway, genuine): (&str, &dyn Gateway, bool),
) {
    let settings = Settings { url: url.to_owned(), ..Settings::default() };
    let store = Store::open(&settings).await.unwrap();
    if last >= Step::Register && genuine {
        for group in told.chunks(size) {
            let act = async |store: Store, new| store.register(new, at(0)).await.map(drop).unwrap();
            all(&store, group.iter().map(order).collect(), act).await;
        }
    }
    if last < Step::Verify {
        return;
    }
    let verified: Vec<_> = told.iter().filter_map(|told| told.verify(gateway)).collect();
    assert_eq!(verified.len(), if genuine { told.len() } else { 0 });
    if last == Step::Verify {
        return;
    }
    let callbacks: Vec<_> = told.iter().zip(verified).map(callback).collect();
    if last < Step::Accept {
        return decided_first(&store, callbacks, (last, size)).await;
    }
    for group in callbacks.chunks(size) {
        let act = async |store: Store, callback| {
            store.accept(callback, at(1)).await.map(drop).unwrap();
        };
        all(&store, group.to_vec(), act).await;
    }
    if last < Step::Claim {
        return;
    }
    let mut jobs = Vec::new();
    let limit = u32::try_from(size).unwrap();
    let request = || ClaimRequest { limit, owner: "bench".to_owned(), lease_ms: 60_000 };
    while jobs.len() < told.len() {
        jobs.push(store.claim(request(), at(2)).await.unwrap());
        assert_eq!(jobs.last().map(Vec::len), Some(size.min(told.len())));
        if jobs.iter().map(Vec::len).sum::<usize>() == told.len() {
            break;
        }
    }
    if last < Step::Settle {
        return;
    }
    for group in &jobs {
        let act = async |store: Store, settlement| {
            store.settle(settlement, at(3)).await.map(drop).unwrap();
        };
        all(&store, group.iter().map(settled).collect(), act).await;
    }
}

async fn decided_first(store: &Store, callbacks: Vec<Callback>, (last, size): (Step, usize)) {
    let worker = ClaimRequest { limit: 1, owner: "bench".to_owned(), lease_ms: 60_000 };
    let callbacks: Vec<_> = callbacks.into_iter().map(Arc::new).collect();
    for group in callbacks.chunks(size) {
        let mut foreseen = Vec::new();
        for callback in group {
            foreseen.push(store.foresee(callback, &worker, at(1)).await.unwrap().unwrap());
        }
        if last < Step::Arrive {
            continue;
        }
        let act = async |store: Store, (entry, settlement)| {
            let arrived = store.arrive(entry, settlement, at(3)).await.unwrap();
            assert!(matches!(arrived.settled, Settled::Done { .. }), "{arrived:?}");
        };
        // Beforehand, so that all have asked while the writer is at the first.
        let decided = foreseen.into_iter().map(|Foreseen { job, entry }| (entry, settled(&job)));
        all(store, decided.collect(), act).await;
    }
}

/// Asks for everything at once, and sees that it was one group, but for what the writer may have
/// taken before the others had asked.
async fn all<T, F>(store: &Store, asked: Vec<T>, act: impl Fn(Store, T) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let before = store.tally().groups;
    let mut tasks = JoinSet::new();
    for one in asked {
        tasks.spawn(act(store.clone(), one));
    }
    tasks.join_all().await;
    let groups = store.tally().groups - before;
    assert!(groups <= 2, "they shared no commit: {groups} groups");
}

fn order(told: &Told) -> NewOrder {
    NewOrder {
        business: BUSINESS.to_owned(),
        order_no: told.order_no.clone(),
        amount: Money { minor: told.amount_minor, currency: Currency::CNY },
        channel: Some(Channel::WechatV3Main.name().to_owned()),
        state: state("TO_BE_PAID"),
        aliases: Vec::new(),
        body: "{}".to_owned(),
    }
}

fn callback((told, verified): (&Told, Verified)) -> Callback {
    let headers = told.headers.iter();
    let headers: serde_json::Map<String, Value> =
        headers.map(|(name, value)| (name.to_string(), json!([value.to_str().unwrap()]))).collect();
    Callback {
        channel: Channel::WechatV3Main.name().to_owned(),
        business: BUSINESS.to_owned(),
        scene: Channel::WechatV3Main.scene().to_owned(),
        verified,
        headers: Value::Object(headers).to_string(),
        raw: told.body.to_vec(),
    }
}

/// What a run of the mall's processor leads to, with texts as long as its own.
fn settled(job: &Job) -> Settlement {
    let mut settlement = settlement(job, paid(job));
    settlement.scratch = Some(format!("{{\"booking\":\"{}\"}}", "x".repeat(350)));
    settlement.spent.inputs = Some(format!("{{\"subject\":\"{}\"}}", "x".repeat(350)));
    settlement.spent.phases = format!("[\"{}\"]", "x".repeat(300));
    settlement
}

async fn floor(told: &[Told], (last, size): (Step, usize), (url, folder): (&str, &Path)) {
    let (door, store) = (Door::open(folder), Floor::open(url));
    if last >= Step::Register {
        for group in told.chunks(size) {
            let orders = group.iter().map(|told| (told.order_no.clone(), told.amount_minor));
            store.register(orders.collect()).await;
        }
    }
    if last < Step::Verify {
        return;
    }
    let now_s = proof::NOW.as_ms() / 1000;
    let mut paid: Vec<_> = told
        .iter()
        .map(|told| door.verify(&told.headers, told.body.clone(), now_s).unwrap())
        .collect();
    if last < Step::Accept {
        return;
    }
    while !paid.is_empty() {
        let rest = paid.split_off(size.min(paid.len()));
        store.accept(std::mem::replace(&mut paid, rest)).await;
    }
}
