//! `log`: never fails, never blocks; over quota, lines are dropped and counted.

use std::fmt::Write;

use crate::bindings::callgate::processor::log::{Host, Level};
use crate::fault::Phase;
use crate::limits::LOG_LINE_BYTES;
use crate::outside::{LogLevel, LogLine};
use crate::state::RunState;
use crate::text;

impl Host for RunState {
    fn write(
        &mut self,
        level: Level,
        message: String,
        fields: Vec<(String, String)>,
    ) -> wasmtime::Result<()> {
        let size = fields.iter().fold(message.len(), |sum, (name, value)| {
            sum.saturating_add(name.len()).saturating_add(value.len())
        });
        self.note(size, 0)?;
        let limits = &self.terms.limits;
        let bytes = self.meter.log_bytes.saturating_add(size.min(LOG_LINE_BYTES));
        if self.meter.log_lines >= limits.log_lines || bytes > limits.log_bytes {
            self.meter.log_lines_dropped = self.meter.log_lines_dropped.saturating_add(1);
            return Ok(());
        }
        self.meter.log_lines = self.meter.log_lines.saturating_add(1);
        self.meter.log_bytes = bytes;
        self.hand_on(level.into(), &message, &fields);
        Ok(())
    }

    fn enabled(&mut self, level: Level) -> wasmtime::Result<bool> {
        self.note(0, 0)?;
        let level = level.into();
        // A start function must not learn whether there is a run: what a plugin does when it is
        // described is what it does later.
        let before = matches!(self.phase, Phase::Start | Phase::Describe);
        let wanted = match self.run_if_any() {
            Some(run) if !before => run.outside.log_enabled(level),
            Some(_) | None => level.traced(),
        };
        let limits = &self.terms.limits;
        Ok(wanted && self.meter.log_lines < limits.log_lines)
    }
}

impl RunState {
    fn hand_on(&mut self, level: LogLevel, message: &str, fields: &[(String, String)]) {
        let terms = self.terms.clone();
        let phase = self.phase;
        let message = text::printable(message, LOG_LINE_BYTES);
        let fields = joined(fields, LOG_LINE_BYTES.saturating_sub(message.len()));
        let mut line = LogLine {
            plugin: &terms.name,
            version: &terms.version,
            notification: "",
            phase,
            level,
            message: &message,
            fields: &fields,
        };
        match self.run_if_any() {
            Some(run) => {
                line.notification = &run.input.notification.id;
                run.outside.log(&line);
            }
            None => line.trace(),
        }
    }
}

/// The fields as one text, cut at a field where it gets too long.
fn joined(fields: &[(String, String)], bytes_max: usize) -> String {
    let mut out = String::new();
    for (name, value) in fields {
        let name = text::printable(name, FIELD_NAME_BYTES);
        let value = text::cut(value, LOG_LINE_BYTES);
        if out.len().saturating_add(name.len()).saturating_add(value.len()) > bytes_max {
            break;
        }
        let separator = if out.is_empty() { "" } else { " " };
        // Quoted and escaped, so that a value cannot pass for a further field.
        let _ = write!(out, "{separator}{name}={value:?}");
    }
    out
}

const FIELD_NAME_BYTES: usize = 64;

impl From<Level> for LogLevel {
    fn from(level: Level) -> Self {
        match level {
            Level::Trace => Self::Trace,
            Level::Debug => Self::Debug,
            Level::Info => Self::Info,
            Level::Warn => Self::Warn,
            Level::Error => Self::Error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::joined;

    fn fields(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn a_value_cannot_pass_for_a_further_field() {
        let text = joined(&fields(&[("a", "1\" b=\"2\n\u{202e}"), ("c", "3")]), 100);
        assert_eq!(text, r#"a="1\" b=\"2\n\u{202e}" c="3""#);
    }

    #[test]
    fn fields_are_cut_where_they_get_too_long() {
        assert_eq!(joined(&fields(&[("a", "12"), ("b", "34")]), 9), r#"a="12" b="34""#);
        assert_eq!(joined(&fields(&[("a", "12"), ("b", "34")]), 8), r#"a="12""#);
    }
}
