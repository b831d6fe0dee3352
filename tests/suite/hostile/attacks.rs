//! Who attacks how, and what must become of the notification.

use callgate_sandbox::fault::Phase;

use super::wrap::{PHASES, attacking, speaking, text};

/// An attacker: a guest with an order state of its own, so that one server can hold all.
#[derive(Debug, Clone)]
pub(super) struct Attack {
    /// Also the name of the guest and, in capitals, the state of the orders it gets.
    pub(super) name: String,
    /// The fields of its core module.
    pub(super) fields: String,
    /// Lines of its `limits`.
    pub(super) limits: String,
    pub(super) end: End,
}

/// What must become of the notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// A person must look, for this reason, whose text holds these words.
    Review(&'static str, &'static str),
    /// It is through, with so many events: the limit was obeyed.
    Done(usize),
    /// The guest says that there is nothing to do, and why.
    Ignored(&'static str),
}

impl Attack {
    fn new(name: &str, fields: String, end: End) -> Self {
        Self { name: name.to_owned(), fields, limits: String::new(), end }
    }

    fn limited(mut self, limits: &str) -> Self {
        self.limits.push_str(limits);
        self.limits.push('\n');
        self
    }
}

/// All of them.
pub(super) fn all() -> Vec<Attack> {
    let mut all = machine();
    all.extend(in_each_phase());
    all.extend(lies());
    all.extend(floods());
    all.extend(trespasses());
    all
}

fn harm(file: &str, phase: Phase, code: &'static str, words: &'static str) -> Attack {
    let name = file.replace('_', "-");
    let fields = attacking(&text(&format!("{file}.wat")), phase);
    Attack::new(&name, fields, End::Review(code, words))
}

/// Without end: time, memory, stack.
fn machine() -> Vec<Attack> {
    let grow = |pages: u32| format!("(func $attack (drop (memory.grow (i32.const {pages}))))");
    let grown = |name, pages, end| {
        let fields = attacking(&grow(pages), Phase::Check);
        Attack::new(name, fields, end).limited("memory_bytes = 655360")
    };
    let fuel = "sandbox.fuel";
    vec![
        harm("tail_loop", Phase::Check, fuel, "fuel"),
        harm("realloc_loops", Phase::Check, fuel, "fuel"),
        Attack::new(
            "post-loops",
            format!("{}\n{}", text("post_loops.wat"), attacking("(func $attack)", Phase::Save)),
            End::Review(fuel, "in save"),
        ),
        Attack::new(
            "loop-with-all-fuel",
            attacking(&text("loop.wat"), Phase::Check),
            End::Review("sandbox.deadline", "used up its 20 ms"),
        )
        .limited("fuel = 9000000000000\ncheck_ms = 20"),
        harm("copy", Phase::Action, "sandbox.deadline", "used up its 40 ms")
            .limited("fuel = 9000000000000\naction_ms = 40"),
        harm("recurse", Phase::Action, "sandbox.trap", "call stack exhausted"),
        harm("grow_memory", Phase::Check, "sandbox.memory", "limit is 67108864"),
        harm("touch_memory", Phase::Check, "sandbox.memory", "limit is 67108864")
            .limited("fuel = 9000000000000"),
        harm("grow_table", Phase::Check, "sandbox.memory", "limit is 20000"),
        grown("all-memory", 8, End::Done(0)),
        grown("a-page-more", 9, End::Review("sandbox.memory", "limit is 655360")),
    ]
}

/// An endless loop and a trap, wherever a guest is called.
fn in_each_phase() -> Vec<Attack> {
    let mut all = Vec::new();
    for (name, phase) in PHASES {
        for (file, code) in [("loop", "sandbox.fuel"), ("trap", "sandbox.trap")] {
            let fields = attacking(&text(&format!("{file}.wat")), phase);
            all.push(Attack::new(&format!("{file}-in-{name}"), fields, End::Review(code, name)));
        }
    }
    all
}

/// What is handed over is not what it says.
fn lies() -> Vec<Attack> {
    let contract = "sandbox.contract";
    let says = |file: &str, phase, code, words| {
        let fields = speaking(&text(&format!("{file}.wat")), phase);
        Attack::new(&file.replace('_', "-"), fields, End::Review(code, words))
    };
    let answers = |name: &str, len: usize, end| {
        let pages = len.div_euclid(65536).saturating_add(2);
        let fields = format!(
            "(func $speak (result i32)\n  (drop (memory.grow (i32.const {pages})))\n  \
             (memory.fill (i32.const 8192) (i32.const 120) (i32.const {len}))\n  \
             (call $ignore (i32.const 8192) (i32.const {len})))"
        );
        let attack = Attack::new(name, speaking(&fields, Phase::Check), end);
        attack.limited("fuel = 9000000000000")
    };
    vec![
        harm("bad_utf8", Phase::Check, contract, "utf-8"),
        harm("out_of_bounds", Phase::Check, contract, "out of bounds"),
        harm("long_list", Phase::Check, contract, "out of bounds"),
        harm("bad_level", Phase::Check, contract, "in check"),
        harm("realloc_lies", Phase::Check, contract, "in check"),
        harm("realloc_calls", Phase::Check, contract, "leave"),
        Attack::new(
            "post-calls",
            format!("{}\n{}", text("post_calls.wat"), attacking("(func $attack)", Phase::Save)),
            End::Review(contract, "leave"),
        ),
        says("bad_answer", Phase::Check, contract, "in check"),
        says("bad_pointer", Phase::Check, contract, "in check"),
        says("reject", Phase::Check, "plugin.bad-code", "Not A Code"),
        answers("answer-half-a-mib", 1 << 19, End::Ignored("xxxx")),
        answers("answer-50-mb", 50_000_000, End::Review("sandbox.quota", "too much data")),
        Attack::new(
            // The text would reach far beyond what the guest may have: 100 MB that do not exist.
            "answer-100-mb",
            speaking(
                "(func $speak (result i32) (call $ignore (i32.const 0) (i32.const 100000000)))",
                Phase::Check,
            ),
            End::Review(contract, "out of bounds"),
        ),
        harm("huge_text", Phase::Check, "sandbox.quota", "too much data"),
        harm("huge_list", Phase::Check, "sandbox.quota", "too much data"),
    ]
}

/// More of everything, whatever the answer.
fn floods() -> Vec<Attack> {
    let quota = "sandbox.quota";
    let words = "after its quota was used up";
    let emits = |name: &str, limit: u32| {
        let fields = attacking(&text("many_events.wat"), Phase::Save);
        let end = usize::try_from(limit).expect("few");
        Attack::new(name, fields, End::Done(end)).limited(&format!("events = {limit}"))
    };
    vec![
        harm("flood_calls", Phase::Check, quota, words),
        harm("flood_log", Phase::Check, quota, words),
        harm("flood_large_log", Phase::Check, quota, words),
        harm("flood_events", Phase::Action, quota, words),
        harm("flood_documents", Phase::Check, quota, words),
        harm("flood_writes", Phase::Action, quota, words),
        harm("flood_merge", Phase::Action, quota, words),
        harm("flood_summary", Phase::Prepare, quota, words).limited("bytes_out = 1000000"),
        emits("many-events", 100),
        emits("few-events", 3),
        Attack::new("log-lines", attacking(&text("log_lines.wat"), Phase::Check), End::Done(0)),
        Attack::new(
            "events-then-trap",
            format!(
                "{}\n(func (export \"save\") (result i32) unreachable)",
                attacking(&text("many_events.wat"), Phase::Action)
            ),
            End::Review("sandbox.trap", "in save"),
        ),
    ]
}

/// What belongs to others, to other phases, or to nobody.
fn trespasses() -> Vec<Attack> {
    let told = |name: &str, speak: &str, phase, code| {
        Attack::new(name, speaking(speak, phase), End::Review(code, ""))
    };
    let scratch = |name: &str, depth: u32, words| {
        let deep = text("deep_scratch.wat").replace("const 65", &format!("const {depth}"));
        Attack::new(name, speaking(&deep, Phase::Check), End::Ignored(words))
    };
    let (denied, invalid) = ("plugin.denied", "plugin.invalid");
    let (get, put) = (text("get.wat"), text("put.wat"));
    let (emit, header) = (text("emit.wat"), text("header.wat"));
    vec![
        told("reads-in-prepare", &get, Phase::Prepare, denied),
        told("writes-in-check", &put, Phase::Check, denied),
        told("writes-in-next-state", &put, Phase::NextState, denied),
        told("emits-in-check", &emit, Phase::Check, denied),
        told("emits-in-next-state", &emit, Phase::NextState, denied),
        told("writes-after", &put, Phase::After, denied),
        told("reads-a-vault", &get.replace("ledger", "vaults"), Phase::Check, denied),
        told("writes-a-vault", &put.replace("ledger", "vaults"), Phase::Save, denied),
        told("writes-an-order", &put.replace("ledger", "orders"), Phase::Save, denied),
        told("writes-upwards", &put.replace("ledger", "../dgr"), Phase::Save, invalid),
        told("writes-half", &put.replace(":1}", ":1]"), Phase::Save, invalid),
        told("emits-elsewhere", &emit.replace("order.paid", "order.lost"), Phase::Save, denied),
        told("header-of-the-host", &header.replace("trace\"", "date \""), Phase::Save, invalid),
        told("header-injected", &header.replace("t-1", "\\0d\\0ax"), Phase::Save, invalid),
        Attack::new("header-obeyed", speaking(&header, Phase::Save), End::Ignored("ok")),
        Attack::new(
            "undeclared",
            text("undeclared.wat"),
            End::Review("order.illegal-step", "ELSEWHERE"),
        ),
        Attack::new(
            "bad-state",
            text("bad_state.wat"),
            End::Review("sandbox.contract", "chose a state that is not"),
        ),
        Attack::new(
            "preload",
            text("preload.wat"),
            End::Review("sandbox.contract", "`vaults` is not granted"),
        ),
        harm("absent_subject", Phase::Save, "engine.races-lost", "does not hold"),
        told("other-codes", &text("fickle.wat"), Phase::Check, "plugin.c*"),
        scratch("deep-scratch-obeyed", 64, "ok"),
        scratch("deep-scratch", 65, "nested 65 deep, limit is 64"),
    ]
}
