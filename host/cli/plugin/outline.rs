//! What a component imports and exports, read from its bytes alone: nothing is compiled.

use callgate_sandbox::text::printable;
use wasmparser::{Parser, Payload};

/// Names on the outside of a component.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outline {
    /// What it wants from its host.
    pub(super) imports: Vec<String>,
    /// What it offers.
    pub(super) exports: Vec<String>,
}

/// Reads the outline; what is inside modules and components within is passed over.
///
/// # Errors
/// Why the bytes are no component.
#[expect(clippy::wildcard_enum_match_arm, reason = "every other section is passed over")]
pub(super) fn outline(component: &[u8]) -> anyhow::Result<Outline> {
    let mut outline = Outline::default();
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(component) {
        match payload? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                depth = depth.saturating_add(1);
            }
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    outline.imports.push(printable(import?.name.name, NAME_BYTES));
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    outline.exports.push(printable(export?.name.name, NAME_BYTES));
                }
            }
            _ => {}
        }
    }
    Ok(outline)
}

const NAME_BYTES: usize = 256;
