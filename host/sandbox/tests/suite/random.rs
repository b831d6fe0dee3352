//! Guests that nobody wrote: random modules, random calls of the contract, spoiled components. None
//! may make the host panic, leak or stall. `CALLGATE_TEST_GUEST_SEED` tells a run again, `CALLGATE_TEST_GUESTS` makes it longer.

use std::time::Duration;

use arbitrary::Unstructured;
use callgate_sandbox::fault::{FaultKind, Phase};
use callgate_sandbox::limits::Limits;
use callgate_sandbox::load::{LoadError, Source};
use callgate_sandbox::plugin::Plugin;
use callgate_sandbox::run::{Draft, Report, Stop};

use crate::babble::{self, Dice};
use crate::guest::{
    PHASES, component, embed, file, load_source, module, neighbour_works, patient, run, run_after,
    sandbox, source, text,
};

/// Little of everything: a guest that loops is not worth waiting for.
fn small() -> Limits {
    let limits = Limits { fuel: 200_000, describe_fuel: 200_000, ..patient() };
    Limits { memory_bytes: 16 << 20, host_calls: 500, ..limits }
}

fn seed() -> u64 {
    let given = std::env::var_os("CALLGATE_TEST_GUEST_SEED");
    let given = given.and_then(|seed| seed.to_str().and_then(|seed| seed.parse().ok()));
    let seed = given.unwrap_or_else(|| {
        let id = uuid::Uuid::now_v7().as_u64_pair();
        id.0 ^ id.1
    });
    eprintln!("CALLGATE_TEST_GUEST_SEED={seed}");
    seed
}

/// What became of many guests.
#[derive(Debug, Default)]
struct Tally {
    refused: usize,
    stopped: usize,
    through: usize,
}

impl Tally {
    /// Loads a guest and runs it; nothing may take longer than its limits allow.
    async fn meet(&mut self, bytes: Vec<u8>, what: &str) {
        let source = Source { limits: small(), ..source(bytes) };
        let Ok(loaded) = tokio::time::timeout(PATIENCE, load_source(source)).await else {
            panic!("{what}: loading stalls")
        };
        let plugin = match loaded {
            Ok(plugin) => plugin,
            Err(error) => {
                assert!(!of_the_host(&error), "{what}: {error}");
                self.refused += 1;
                return;
            }
        };
        let first = self.run(&plugin, what).await;
        let second = self.run(&plugin, what).await;
        assert_eq!(first.result, second.result, "{what}: it decides otherwise the second time");
        let fuel = |report: &Report<Draft>| -> Vec<u64> {
            report.costs.iter().map(|cost| cost.fuel).collect()
        };
        assert_eq!(fuel(&first), fuel(&second), "{what}: the same run burns the same fuel");
        match first.result {
            Ok(draft) => {
                keeps_to_its_limits(&draft, what);
                self.through += 1;
            }
            Err(_) => self.stopped += 1,
        }
    }

    async fn run(&self, plugin: &Plugin, what: &str) -> Report<Draft> {
        let Ok(report) = tokio::time::timeout(PATIENCE, run(plugin)).await else {
            panic!("{what}: a run stalls")
        };
        let Ok(after) = tokio::time::timeout(PATIENCE, run_after(plugin)).await else {
            panic!("{what}: the phase after the commit stalls")
        };
        for stop in [report.result.as_ref().err(), after.result.as_ref().err()] {
            if let Some(Stop::Fault(fault)) = stop {
                assert_ne!(fault.kind, FaultKind::Host, "{what}: {fault}");
                assert_ne!(fault.kind, FaultKind::Deadline, "{what}: {fault}");
            }
        }
        report
    }
}

fn of_the_host(error: &LoadError) -> bool {
    match error {
        LoadError::Host(_) | LoadError::SlowCompile { .. } => true,
        LoadError::Describe(fault) => fault.kind == FaultKind::Host,
        _ => false,
    }
}

fn keeps_to_its_limits(draft: &Draft, what: &str) {
    let limits = small();
    assert!(draft.writes.len() <= limits.documents_written, "{what}");
    assert!(draft.events.len() <= limits.events, "{what}");
    for write in &draft.writes {
        let ours = write.name.collection == "ledger" || write.name.key == "o-1";
        assert!(ours, "{what}: wrote {}", write.name);
        serde_json::from_str::<serde_json::Value>(&write.body).expect("JSON");
    }
    for event in &draft.events {
        assert_eq!(event.topic, "order.paid", "{what}");
        serde_json::from_str::<serde_json::Value>(&event.payload).expect("JSON");
    }
}

/// Meets many guests, and looks at what they leave.
async fn meet_all(count: u32, mut make: impl FnMut(&mut Dice) -> Option<Vec<u8>>) -> Tally {
    let more = std::env::var_os("CALLGATE_TEST_GUESTS");
    let more = more.and_then(|count| count.to_str().and_then(|count| count.parse().ok()));
    let (seed, count) = (seed(), more.unwrap_or(count));
    let mut tally = Tally::default();
    let mut before = 0;
    for number in 0..count {
        // A guest is told again by the seed and its number, without all before it.
        let mut dice = Dice::new(seed, number);
        let Some(bytes) = make(&mut dice) else { continue };
        tally.meet(bytes, &format!("seed {seed}, guest {number}")).await;
        if number == count / 4 {
            before = resident_kib();
        }
    }
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < GROWTH_KIB, "seed {seed}: {grown} KiB more than after a quarter of them");
    neighbour_works().await;
    eprintln!("{tally:?}, {grown} KiB more");
    tally
}

#[tokio::test]
async fn random_modules_harm_nobody() {
    let shape = wat::parse_str(module(&babble::imports())).unwrap();
    let tally = meet_all(MODULES, |dice| smith(dice, &shape)).await;
    assert!(tally.stopped + tally.through > tally.refused, "too few of them run: {tally:?}");
}

#[tokio::test]
async fn random_calls_of_the_contract_harm_nobody() {
    let tally = meet_all(CALLERS, |dice| Some(component(&babble::guest(dice)))).await;
    assert!(tally.through > 0, "none of them is through: {tally:?}");
    assert_eq!(tally.refused, 0, "{tally:?}");
}

#[tokio::test]
async fn spoiled_components_harm_nobody() {
    let good = file("good.wat");
    let tally = meet_all(SPOILED, |dice| {
        let mut bytes = good.clone();
        let at = dice.below(bytes.len() - 8) + 8;
        match dice.below(4) {
            0 => bytes.truncate(at),
            1 => bytes[at] = u8::try_from(dice.below(256)).unwrap(),
            _ => bytes[at] ^= 1 << dice.below(8),
        }
        Some(bytes)
    })
    .await;
    assert!(tally.refused > 0, "{tally:?}");
}

/// A random module with the exports of the contract, of which `describe` alone is as it must be.
fn smith(dice: &mut Dice, shape: &[u8]) -> Option<Vec<u8>> {
    let config = wasm_smith::Config {
        available_imports: Some(shape.to_vec()),
        exports: Some(shape.to_vec()),
        max_imports: 12,
        max_funcs: 24,
        max_instructions: 120,
        // Beside the one that the contract wants.
        max_memories: 0,
        max_memory32_bytes: 1 << 20,
        max_table_elements: 1000,
        max_tables: 2,
        max_data_segments: 3,
        max_element_segments: 3,
        disallow_traps: dice.below(2) == 0,
        memory64_enabled: false,
        threads_enabled: false,
        compact_imports_enabled: false,
        // Those to the outside need the collector, which this engine is built without.
        reference_types_enabled: dice.below(10) == 0,
        shared_everything_threads_enabled: false,
        gc_enabled: false,
        exceptions_enabled: false,
        relaxed_simd_enabled: false,
        custom_page_sizes_enabled: false,
        wide_arithmetic_enabled: false,
        ..wasm_smith::Config::default()
    };
    let bytes = dice.bytes(16 << 10);
    let module = wasm_smith::Module::new(config, &mut Unstructured::new(&bytes)).ok()?;
    let printed = wasmprinter::print_bytes(module.to_bytes()).unwrap();
    let mut lines: Vec<&str> =
        printed.lines().filter(|line| !line.contains("plugin@0.1.0#describe")).collect();
    assert_eq!(lines.pop(), Some(")"));
    let prelude = text("prelude.wat");
    let (_, describe) = prelude.split_once(";; test/guest 1.0.0").unwrap();
    let export = r#"(export "callgate:processor/plugin@0.1.0#describe" (func $describe))"#;
    let all = format!("{}\n;;{describe}\n{export})", lines.join("\n"));
    let module = wat::parse_str(&all).unwrap_or_else(|error| panic!("{error}"));
    embed(module).ok()
}

#[test]
fn every_phase_is_among_the_exports_of_a_random_module() {
    let shape = module(&babble::imports());
    for (name, phase) in PHASES {
        assert!(shape.contains(&format!("phases@0.1.0#{name}")), "{phase}");
        assert_ne!(phase, Phase::Describe);
    }
    assert!(sandbox().slots_free() > 0);
}

/// Memory of this process that is in use, in KiB.
pub(crate) fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

const MODULES: u32 = 300;
const CALLERS: u32 = 300;
const SPOILED: u32 = 400;

/// Far above what any limit of a small guest allows, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(60);

/// All stories share a process, and each keeps something.
const GROWTH_KIB: u64 = 200 << 10;
