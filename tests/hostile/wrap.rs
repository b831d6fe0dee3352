//! Guests from text: wraps a `.wat` file of this folder into a component. Used by the stories of the
//! sandbox and by those of the whole server.

use std::path::Path;

use callgate_sandbox::fault::Phase;
use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::Resolve;

pub(crate) const PHASES: [(&str, Phase); 6] = [
    ("prepare", Phase::Prepare),
    ("check", Phase::Check),
    ("next-state", Phase::NextState),
    ("action", Phase::Action),
    ("save", Phase::Save),
    ("after", Phase::After),
];

const INTERFACES: [&str; 8] =
    ["types", "exchange", "documents", "events", "config", "log", "http", "clock"];

/// The project: above the crate that this file is compiled for, or that crate itself.
fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut above = here.ancestors();
    above.find(|folder| folder.join("tests/hostile").is_dir()).expect("tests/hostile is there")
}

/// The text of a guest in `tests/hostile`.
pub(crate) fn text(file: &str) -> String {
    let path = root().join("tests/hostile").join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The component of a guest in `tests/hostile`.
pub(crate) fn file(name: &str) -> Vec<u8> {
    component(&text(name))
}

/// Makes a component of the fields of a core module: see `tests/hostile/README.md`.
pub(crate) fn component(fields: &str) -> Vec<u8> {
    component_of("package test:guest; world guest {\n  @X }", fields)
}

/// As [`component`], for a world that has more than the contract: `@X` stands for the contract.
pub(crate) fn component_of(world: &str, fields: &str) -> Vec<u8> {
    let module = wat::parse_str(module(fields)).unwrap_or_else(|error| panic!("{error}"));
    embed_in(world, module).unwrap_or_else(|error| panic!("{error}"))
}

/// Makes a component of a core module that has the names of the contract in full.
#[allow(dead_code, reason = "one of the two test programs makes modules of its own")]
pub(crate) fn embed(module: Vec<u8>) -> Result<Vec<u8>, String> {
    embed_in("package test:guest; world guest {\n  @X }", module)
}

fn embed_in(world: &str, mut module: Vec<u8>) -> Result<Vec<u8>, String> {
    let mut resolve = Resolve::default();
    resolve.push_path(root().join("wit")).expect("the contract");
    let world = world.replace("@X", "include callgate:processor/processor@0.1.0;");
    let package = resolve.push_str("guest.wit", &world).expect("a world");
    let world = resolve.select_world(&[package], None).expect("one world");
    let utf8 = StringEncoding::UTF8;
    wit_component::embed_component_metadata(&mut module, &resolve, world, utf8, false)
        .expect("a module");
    let mut encoder = ComponentEncoder::default();
    let told = encoder.validate(true).module(&module).and_then(ComponentEncoder::encode);
    told.map_err(|error| format!("{error:#}"))
}

/// Lets a file's `$attack` happen in a phase, in `describe` or in a start function.
pub(crate) fn attacking(attack: &str, phase: Phase) -> String {
    let name = phase.as_str();
    let place = match phase {
        Phase::Start => "(start $attack)".to_owned(),
        Phase::Describe => {
            "(func (export \"describe\") (result i32) (call $attack) (call $describe))".to_owned()
        }
        Phase::After => "(func (export \"after\") (param i32 i32 i64 i32) (result i32)\n  \
             (call $attack) (i32.const 0))"
            .to_owned(),
        Phase::NextState => {
            "(func (export \"next-state\") (result i32) (call $attack) (call $stay))".to_owned()
        }
        Phase::Prepare | Phase::Check | Phase::Action | Phase::Save => {
            format!("(func (export \"{name}\") (result i32) (call $attack) (i32.const 0))")
        }
    };
    format!("{attack}\n{place}\n")
}

/// Lets a file's `$speak` answer for a phase.
pub(crate) fn speaking(speak: &str, phase: Phase) -> String {
    let name = phase.as_str();
    let params = if phase == Phase::After { "(param i32 i32 i64 i32)" } else { "" };
    format!("{speak}\n(func (export \"{name}\") {params} (result i32) (call $speak))\n")
}

/// The whole core module, in text.
pub(crate) fn module(fields: &str) -> String {
    let mut prelude = text("prelude.wat");
    if fields.contains("(memory ") {
        prelude = prelude.replace("(memory (export \"memory\") 2)\n", "");
    }
    if fields.contains("(export \"cabi_realloc\")") {
        prelude = prelude.replace("$realloc (export \"cabi_realloc\")", "$realloc");
    }
    let mut all = format!("{fields}\n{prelude}\n");
    let mut add = |name: &str, default: &str| {
        if !fields.contains(&format!("(export \"{name}\")")) {
            all.push_str(default);
        }
    };
    add("describe", "(func (export \"describe\") (result i32) (call $describe))\n");
    add("next-state", "(func (export \"next-state\") (result i32) (call $stay))\n");
    for name in ["prepare", "check", "action", "save"] {
        add(name, &format!("(func (export \"{name}\") (result i32) (i32.const 0))\n"));
    }
    let after = "(func (export \"after\") (param i32 i32 i64 i32) (result i32) (i32.const 0))\n";
    add("after", after);
    for name in INTERFACES {
        let short = format!("(import \"{name}\"");
        all = all.replace(&short, &format!("(import \"callgate:processor/{name}@0.1.0\""));
    }
    let plugin = "(export \"callgate:processor/plugin@0.1.0#describe\")";
    all = all.replace("(export \"describe\")", plugin);
    for (name, _) in PHASES {
        let full = format!("(export \"callgate:processor/phases@0.1.0#{name}\")");
        all = all.replace(&format!("(export \"{name}\")"), &full);
        let post = full.replace("(export \"", "(export \"cabi_post_");
        all = all.replace(&format!("(export \"cabi_post_{name}\")"), &post);
    }
    format!("(module\n{all})")
}

/// What a guest claims in `describe`, where it is to be routed apart from others.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim<'a> {
    pub(crate) name: &'a str,
    pub(crate) business: &'a str,
    /// The state of the orders it is for; also the state that it may leave for `PAID`.
    pub(crate) state: &'a str,
}

impl Claim<'_> {
    /// A `describe` that tells this, in text. Its texts stand from 7168 on.
    #[allow(dead_code, reason = "one of the two test programs has a house of many guests")]
    pub(crate) fn describe(self) -> String {
        let mut at = 7168u32;
        let mut out = String::new();
        let mut set = String::new();
        let places: [(&str, &[u32]); 3] =
            [(self.name, &[64]), (self.business, &[512]), (self.state, &[536, 544])];
        for (text, pointers) in places {
            let len = u32::try_from(text.len()).expect("short");
            out.push_str(&format!("(data (i32.const {at}) {text:?})\n"));
            for pointer in pointers {
                let after = pointer.saturating_add(4);
                set.push_str(&format!(
                    "(i32.store (i32.const {pointer}) (i32.const {at}))\n\
                     (i32.store (i32.const {after}) (i32.const {len}))\n"
                ));
            }
            at = at.saturating_add(len);
        }
        out.push_str(&format!(
            "(func $claim (result i32)\n(drop (call $describe))\n{set}(i32.const 64))\n"
        ));
        out.push_str("(func (export \"describe\") (result i32) (call $claim))\n");
        out
    }
}
