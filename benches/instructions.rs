//! How many instructions each step of a callback takes: from a request's head and body to the
//! settled order, on SQLite, alone and in groups, and the floor's own steps beside it.
//!
//! A count does not hang on what else the machine does, so it tells a change of a few percent that
//! times do not. Each program below runs under callgrind up to one step more than the one before:
//! what a step takes is the difference, all threads together, divided by the callbacks. Instructions
//! of the kernel (sockets, fsync) are not counted, and there is no sandbox: its memory is more than
//! valgrind can reserve.
//!
//! `cargo bench --bench instructions -- callbacks=512`; needs valgrind.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    clippy::as_conversions,
    clippy::float_arithmetic,
    clippy::disallowed_methods,
    reason = "a benchmark ends where something is wrong, and prints ratios"
)]

use callgate_trigger::{channel, keys, message};

#[path = "../host/store/tests/conformance/acts.rs"]
#[expect(dead_code, reason = "the stories use the rest")]
mod acts;
#[path = "instructions/count.rs"]
mod count;
#[path = "floor/mod.rs"]
#[expect(dead_code, reason = "the line uses the rest")]
mod floor;
#[path = "../host/trigger/proof.rs"]
#[expect(dead_code, reason = "the stories use the rest")]
mod proof;
#[path = "instructions/walk.rs"]
mod walk;

/// What the verbs of the stories need to know of their gateway.
mod gateway {
    pub(crate) const AMOUNT: i64 = 8_800;
    pub(crate) const BUSINESS: &str = callgate_trigger::channel::BUSINESS;
}

use std::path::Path;

use callgate_trigger::channel::Channel;
use callgate_trigger::load::{Kind, Load, Mix, Shot};
use count::{Count, PARTS};
use tempfile::TempDir;
use walk::{Step, Told};

/// The server has it, so its work is in the figures.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Callbacks of a group: alone, and as under load.
const SIZES: [usize; 2] = [1, 64];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let ["--walk", who, kind, step, size, folder] = words.as_slice() {
        walk::walk((who, kind), Step::parse(step), size.parse().unwrap(), Path::new(folder));
        // What is dropped from here on is no step of a callback.
        std::process::exit(0);
    }
    let callbacks = words.iter().find_map(|word| word.strip_prefix("callbacks="));
    let callbacks: u32 = callbacks.map_or(512, |text| text.parse().unwrap());
    let folder = TempDir::new().unwrap();
    prepare(folder.path(), callbacks);
    let count = |who: &str, kind: &str, step: Step, size: usize| {
        count::count(&["--walk", who, kind, step.name(), &size.to_string()], folder.path())
    };
    println!("\n| instructions of a callback | all | {} |", PARTS.map(|part| part.0).join(" | "));
    println!("|---|---|{}", "---|".repeat(PARTS.len()));
    for kind in [Kind::Forged, Kind::UnknownKey] {
        let [before, after] =
            [Step::Load, Step::Verify].map(|step| count("callgate", kind.name(), step, 1));
        row(&format!("verify, {}", kind.name()), &after.since(&before), callbacks);
    }
    for who in ["callgate", "floor"] {
        for size in SIZES {
            let mut before = count(who, "genuine", Step::Load, size);
            let mut verified = before;
            for step in Step::STORED.into_iter().skip(1) {
                // The floor's acceptance is all that it does.
                if who == "floor" && step > Step::Accept {
                    continue;
                }
                let after = count(who, "genuine", step, size);
                // Verifying is the same whatever the group.
                if step != Step::Verify || size == SIZES[0] {
                    let group = if step == Step::Verify {
                        String::new()
                    } else {
                        format!(", in groups of {size}")
                    };
                    let name = format!("{who}: {}{group}", step.name());
                    row(&name, &after.since(&before), callbacks);
                }
                if step == Step::Verify {
                    verified = after;
                }
                before = after;
            }
            if who == "floor" {
                continue;
            }
            before = verified;
            for step in Step::DECIDED.into_iter().skip(1) {
                let after = count(who, "genuine", step, size);
                let name = format!("{who}: {}, in groups of {size}", step.name());
                row(&name, &after.since(&before), callbacks);
                before = after;
            }
        }
    }
}

/// Signs everything beforehand: that is not what is counted.
fn prepare(folder: &Path, callbacks: u32) {
    let keys = proof::keys();
    for file in keys.files().unwrap() {
        std::fs::write(folder.join(file.name), file.content).unwrap();
    }
    let channels = [Channel::WechatV3Main];
    let load = Load::new((keys, &channels), proof::NOW, 7, (callbacks, Mix::default())).unwrap();
    for kind in [Kind::Genuine, Kind::Forged, Kind::UnknownKey] {
        let told = (0..callbacks).map(|order| {
            let message = load.message(keys, Shot { kind, order }, proof::NOW).unwrap();
            Told::new(&message, &load.order(order).unwrap())
        });
        let lines: Vec<String> = told.map(|told| told.line()).collect();
        std::fs::write(folder.join(kind.name()), lines.join("\n")).unwrap();
    }
}

fn row(name: &str, count: &Count, callbacks: u32) {
    let each = |found: u64| format!("{:.1}k", found as f64 / f64::from(callbacks) / 1000.0);
    let parts = count.parts.map(each).join(" | ");
    println!("| {name} | {} | {parts} |", each(count.all));
}
