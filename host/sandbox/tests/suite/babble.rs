//! Guests that call the contract at random: mostly with arguments that mean something, so that the
//! checks behind the first one are met as well.

use std::fmt::Write as _;

use crate::guest::PHASES;

/// Numbers from a seed, the same everywhere (SplitMix64).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64, branch: u32) -> Self {
        let mut dice = Self(seed ^ u64::from(branch).wrapping_mul(0xd605_bbb5_8c8a_bbfd));
        dice.next();
        dice
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound.max(1)).unwrap();
        usize::try_from(self.next() % bound).unwrap()
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| u8::try_from(self.next() >> 56).unwrap()).collect()
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    fn seldom(&mut self) -> bool {
        self.below(12) == 0
    }
}

/// What an argument stands for.
#[derive(Debug, Clone, Copy)]
enum Arg {
    /// A text of one of these kinds: address and length.
    Text(&'static [&'static str]),
    /// A small number: an enum, a flag, a count.
    Small,
    /// Address and length of a list of pairs of texts.
    Pairs,
    /// Where the answer goes.
    Answer,
}

use Arg::{Answer, Pairs, Small, Text};

const COLLECTIONS: &[&str] = &["ledger", "orders", "vaults", "", "Ledger", "../x"];
const KEYS: &[&str] = &["l-1", "o-1", "l-2", "l-3", "", "a\\00b", "\\e8\\ae\\a2"];
const JSON: &[&str] = &[
    "{}",
    "{\\22a\\22:{\\22b\\22:[1,2]}}",
    "{\\22a\\22:null}",
    "{\\22a\\22:{\\22b\\22:null,\\22c\\22:\\22}\\22}}",
    "null",
    "[[[[]]]]",
    "{\\22a\\22:1",
    "\\22\\\\ud83d\\22",
    "1e999",
    "\\ff",
];
const TOPICS: &[&str] = &["order.paid", "order.lost", "", "Order Paid"];
const TEXTS: &[&str] = &["work done", "\\1b[2J", "", "\\ff\\fe", "a\\0ab"];
const PATHS: &[&str] = &["limits.max", "limits", "", "....", "limits.max.x"];

type Import = (&'static str, &'static str, &'static [Arg], &'static str);

/// Every function of the contract that a guest may import, and its answer without a place.
const IMPORTS: &[Import] = &[
    ("exchange", "notification-id", &[Answer], ""),
    ("exchange", "body", &[Answer], ""),
    ("exchange", "amount", &[Answer], ""),
    ("exchange", "occurred-at", &[Answer], ""),
    ("exchange", "summary", &[Answer], ""),
    ("exchange", "subject", &[Answer], ""),
    ("exchange", "scratch", &[Answer], ""),
    ("exchange", "target-state", &[Answer], ""),
    ("exchange", "attempt", &[], "i32"),
    ("exchange", "current-phase", &[], "i32"),
    ("exchange", "mode", &[], "i32"),
    ("exchange", "set-scratch", &[Text(JSON), Answer], ""),
    ("documents", "get", &[Text(COLLECTIONS), Text(KEYS), Answer], ""),
    ("documents", "get-many", &[Pairs, Answer], ""),
    ("documents", "put", &[Text(COLLECTIONS), Text(KEYS), Text(JSON), Small, Answer], ""),
    ("documents", "merge", &[Text(COLLECTIONS), Text(KEYS), Text(JSON), Small, Answer], ""),
    ("events", "emit", &[Text(TOPICS), Text(KEYS), Text(JSON), Pairs, Answer], ""),
    ("config", "get", &[Text(PATHS), Answer], ""),
    ("config", "revision", &[Answer], ""),
    ("log", "write", &[Small, Text(TEXTS), Pairs], ""),
    ("log", "enabled", &[Small], "i32"),
    ("clock", "now", &[], "i64"),
    ("clock", "new-id", &[Answer], ""),
];

/// The imports in text.
pub(crate) fn imports() -> String {
    let mut out = String::new();
    for (number, (interface, name, args, answer)) in IMPORTS.iter().enumerate() {
        let words = args.iter().map(|arg| match arg {
            Text(_) | Pairs => 2,
            Small | Answer => 1,
        });
        let params = "i32 ".repeat(words.sum());
        let result = if answer.is_empty() { String::new() } else { format!("(result {answer})") };
        let signature = format!("(param {params}) {result}");
        writeln!(out, "(import \"{interface}\" \"{name}\" (func $f{number} {signature}))").unwrap();
    }
    out
}

/// A guest whose phases make calls at random.
pub(crate) fn guest(dice: &mut Dice) -> String {
    let mut texts = Texts { at: 8192, data: String::new() };
    let mut out = imports();
    for (name, _) in PHASES {
        let params = if name == "after" { "(param i32 i32 i64 i32)" } else { "" };
        writeln!(out, "(func (export \"{name}\") {params} (result i32)").unwrap();
        for _ in 0..dice.below(20) {
            call(dice, &mut texts, &mut out);
        }
        writeln!(out, "{})", answer(dice, name, &mut texts)).unwrap();
    }
    out + &texts.data
}

/// Texts of a guest, in its memory.
struct Texts {
    at: usize,
    data: String,
}

impl Texts {
    /// Puts a text down; answers address and length in text.
    fn put(&mut self, text: &str) -> String {
        let at = self.at;
        let len = wat_len(text);
        writeln!(self.data, "(data (i32.const {at}) \"{text}\")").unwrap();
        self.at += len.next_multiple_of(16).max(16);
        format!("(i32.const {at}) (i32.const {len})")
    }

    /// Puts down a list of pairs of texts.
    fn put_pairs(&mut self, pairs: &[(&str, &str)]) -> String {
        let mut words = String::new();
        for (name, value) in pairs {
            for text in [name, value] {
                let at = u32::try_from(self.at).unwrap();
                let len = u32::try_from(wat_len(text)).unwrap();
                self.put(text);
                for byte in at.to_le_bytes().into_iter().chain(len.to_le_bytes()) {
                    write!(words, "\\{byte:02x}").unwrap();
                }
            }
        }
        let at = self.at;
        self.put(&words);
        format!("(i32.const {at}) (i32.const {})", pairs.len())
    }
}

/// The bytes of a text whose bytes beyond the plain ones are written as `\xx`, `\\` apart.
fn wat_len(text: &str) -> usize {
    let (mut len, mut rest) = (0, text);
    while let Some(first) = rest.chars().next() {
        let skip = match first {
            '\\' if rest.starts_with("\\\\") => 2,
            '\\' => 3,
            _ => first.len_utf8(),
        };
        rest = &rest[skip..];
        len += 1;
    }
    len
}

fn call(dice: &mut Dice, texts: &mut Texts, out: &mut String) {
    let number = dice.below(IMPORTS.len());
    let (_, _, args, answer) = IMPORTS[number];
    let args: Vec<String> = args.iter().map(|arg| argument(dice, *arg, texts)).collect();
    let call = format!("(call $f{number} {})", args.join(" "));
    let line = if answer.is_empty() { call } else { format!("(drop {call})") };
    writeln!(out, "  {line}").unwrap();
}

fn argument(dice: &mut Dice, arg: Arg, texts: &mut Texts) -> String {
    match arg {
        Text(_) | Pairs if dice.seldom() && dice.seldom() => anywhere(dice) + &anywhere(dice),
        Text(kinds) => {
            // The first ones are good.
            let kinds = if dice.seldom() { kinds } else { &kinds[..kinds.len().min(3)] };
            texts.put(dice.pick(kinds))
        }
        Small if dice.seldom() && dice.seldom() => anywhere(dice),
        Small => format!("(i32.const {})", dice.below(3)),
        Pairs => {
            let all = [("ledger", "l-1"), ("orders", "o-1"), ("ledger", "l-2"), ("x-a", "v")];
            let from = dice.below(all.len());
            texts.put_pairs(&all[from..from + dice.below(all.len() - from + 1)])
        }
        Answer if dice.seldom() && dice.seldom() => anywhere(dice),
        Answer => "(i32.const 2048)".to_owned(),
    }
}

fn anywhere(dice: &mut Dice) -> String {
    let at = match dice.below(4) {
        0 => dice.below(64),
        1 => 131_072 - dice.below(64),
        2 => 0xffff_ffff - dice.below(64),
        _ => dice.below(131_072),
    };
    format!(" (i32.const {at}) ")
}

/// What a phase answers: mostly that it is well.
fn answer(dice: &mut Dice, phase: &str, texts: &mut Texts) -> String {
    match dice.below(30) {
        0 => format!("(call $ignore {})", texts.put("nothing to do")),
        1 => "(call $tell (i32.const 2048) (i32.const 2052))".to_owned(),
        2 => anywhere(dice),
        3 if phase == "next-state" => format!("(call $move {})", texts.put("P A I D")),
        4 => "(unreachable)".to_owned(),
        _ if phase == "next-state" => "(call $move (i32.const 312) (i32.const 4))".to_owned(),
        _ => "(i32.const 0)".to_owned(),
    }
}
