//! Runs the targets on a stable toolchain: a fixed number of mutated inputs each.
//!
//! `--runs N` inputs a target (2000), `--seed S` to have a run again (drawn and printed without),
//! `--target NAME` for one target alone, `--input FILE` to run one kept input through it, `--out
//! DIR` where a failing input is kept (the current directory). The exit code is not zero where a
//! promise broke.
#![forbid(unsafe_code)]

use std::error::Error;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::panic::catch_unwind;
use std::path::PathBuf;
use std::process::ExitCode;

use callgate_fuzz::mutate::{Draw, Stock};
use callgate_fuzz::{TARGETS, Target, Verdict};

struct Wanted {
    runs: u64,
    seed: u64,
    target: Option<String>,
    input: Option<PathBuf>,
    out: PathBuf,
}

impl Wanted {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let mut wanted = Self {
            runs: 2000,
            seed: RandomState::new().build_hasher().finish(),
            target: None,
            input: None,
            out: PathBuf::from("."),
        };
        while let Some(name) = words.next() {
            let value = words.next().ok_or_else(|| format!("{name} wants a value"))?;
            match name.as_str() {
                "--runs" => wanted.runs = value.parse()?,
                "--seed" => wanted.seed = value.parse()?,
                "--target" => wanted.target = Some(value),
                "--input" => wanted.input = Some(PathBuf::from(value)),
                "--out" => wanted.out = PathBuf::from(value),
                _ => return Err(format!("{name} is not known, see the head of main.rs").into()),
            }
        }
        Ok(wanted)
    }

    fn targets(&self) -> Result<Vec<&'static Target>, Box<dyn Error>> {
        let is_wanted =
            |target: &&Target| self.target.as_deref().is_none_or(|it| it == target.name);
        let targets: Vec<_> = TARGETS.iter().filter(is_wanted).collect();
        match (targets.is_empty(), targets.len() > 1 && self.input.is_some()) {
            (true, _) => Err(format!("no such target, there are {}", names()).into()),
            (_, true) => Err(format!("--input wants one --target of {}", names()).into()),
            (false, false) => Ok(targets),
        }
    }
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let wanted = Wanted::read(std::env::args().skip(1))?;
    let targets = wanted.targets()?;
    if let (Some(path), [target]) = (&wanted.input, targets.as_slice()) {
        println!("{}: {:?}", target.name, (target.run)(&std::fs::read(path)?));
        return Ok(ExitCode::SUCCESS);
    }
    println!("seed {}", wanted.seed);
    let mut is_sound = true;
    for target in targets {
        is_sound &= fuzz(target, &wanted)?;
    }
    Ok(if is_sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs one target; `false` where a promise broke, after keeping the input.
fn fuzz(target: &Target, wanted: &Wanted) -> Result<bool, Box<dyn Error>> {
    let seeds = (target.seeds)();
    if let Some(at) = seeds.iter().position(|seed| (target.run)(seed) != Verdict::Taken) {
        return Err(
            format!("{}: seed {at} is refused, so nothing would be tried", target.name).into()
        );
    }
    let stock = Stock::new(seeds, target.tokens);
    let mut draw = Draw::new(wanted.seed);
    let mut taken: u64 = 0;
    for run in 0..wanted.runs {
        let input = stock.input(&mut draw);
        match catch_unwind(|| (target.run)(&input)) {
            Ok(Verdict::Taken) => taken += 1,
            Ok(Verdict::Refused) => {}
            Err(_) => {
                let path = wanted.out.join(format!("{}-{}-{run}.input", target.name, wanted.seed));
                std::fs::write(&path, &input)?;
                println!("{}: broken at run {run}, input kept in {}", target.name, path.display());
                return Ok(false);
            }
        }
    }
    let refused = wanted.runs - taken;
    println!("{}: {} runs, {taken} taken, {refused} refused", target.name, wanted.runs);
    Ok(true)
}

fn names() -> String {
    TARGETS.map(|target| target.name).join(", ")
}
