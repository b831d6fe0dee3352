//! From the text of a manifest to its fields, each with its line.

use std::collections::{BTreeMap, BTreeSet};

use callgate_sandbox::descriptor::{
    Edge, ROUTES_MAX, Route, TRANSITIONS_MAX, check_route, is_name,
};
use callgate_sandbox::grants::Grants;
use callgate_sandbox::limits::Limits;
use callgate_sandbox::text::{is_code, is_collection, is_topic};
use serde::Deserialize;
use toml::Spanned;

use crate::manifest::{Lines, Manifest};
use crate::refused::{Refused, shown};
use crate::schema::Schema;

/// A manifest as TOML has it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: Spanned<String>,
    version: Spanned<String>,
    sha256: Spanned<String>,
    contract: Spanned<String>,
    routes: Spanned<Vec<Spanned<WrittenRoute>>>,
    transitions: Option<Spanned<Vec<Spanned<WrittenEdge>>>>,
    #[serde(default)]
    grants: WrittenGrants,
    #[serde(default)]
    limits: BTreeMap<String, Spanned<u64>>,
    config_schema: Option<toml::Table>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRoute {
    business: String,
    scene: String,
    event_type: String,
    state: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenEdge {
    from: String,
    to: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct WrittenGrants {
    read: Vec<Spanned<String>>,
    write: Vec<Spanned<String>>,
    topics: Vec<Spanned<String>>,
    endpoints: Vec<Spanned<String>>,
    blind_writes: Option<Spanned<bool>>,
}

/// Reads and checks all of it.
pub(crate) fn manifest(body: &[u8]) -> Result<Manifest, Refused> {
    let text = text(body)?;
    let written: Written = toml::from_str(text).map_err(|error| Refused::Syntax {
        line: line_at(text, error.span().map_or(0, |span| span.start)),
        problem: shown(error.message().trim_end()),
    })?;
    let mut reader = Reader { text, lines: Lines::default() };
    let name = reader.take("name", written.name);
    if !is_name(&name) {
        return Err(reader.refuse(
            "name",
            &name,
            "up to 128 of a-z A-Z 0-9 . _ - / such as `shop/order-payment`",
        ));
    }
    let version = reader.version("version", written.version)?;
    let contract = reader.version("contract", written.contract)?;
    let sha256 = reader.take("sha256", written.sha256);
    let is_hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    if sha256.len() != 64 || !sha256.bytes().all(is_hex) {
        let expected = "64 digits of 0-9 a-f: the SHA-256 of the component";
        return Err(reader.refuse("sha256", &sha256, expected));
    }
    let routes = reader.routes(written.routes)?;
    let transitions = written.transitions.map(|edges| reader.transitions(edges)).transpose()?;
    let mut grants = reader.grants(written.grants)?;
    grants.businesses = Some(routes.iter().map(|route| route.business.clone()).collect());
    let limits = reader.limits(written.limits)?;
    let config_schema = written.config_schema.map(Schema::from_toml);
    Ok(Manifest {
        name,
        version,
        sha256,
        contract,
        routes,
        transitions,
        grants,
        limits,
        config_schema: config_schema.transpose()?,
        lines: reader.lines,
    })
}

struct Reader<'a> {
    text: &'a str,
    lines: Lines,
}

impl Reader<'_> {
    /// Notes the line of a field.
    fn take<T>(&mut self, field: &str, value: Spanned<T>) -> T {
        self.note(field, value.span().start);
        value.into_inner()
    }

    fn note(&mut self, field: &str, at: usize) {
        let line = line_at(self.text, at);
        self.lines.0.entry(field.to_owned()).or_insert(line);
    }

    fn refuse(&self, field: &str, found: &str, expected: &str) -> Refused {
        let problem = format!("found `{}`, expected {expected}", shown(found));
        Refused::Field { line: self.lines.of(field), field: field.to_owned(), problem }
    }

    fn fail(&self, field: &str, problem: String) -> Refused {
        Refused::Field { line: self.lines.of(field), field: field.to_owned(), problem }
    }

    fn version(&mut self, field: &str, value: Spanned<String>) -> Result<semver::Version, Refused> {
        let value = self.take(field, value);
        semver::Version::parse(&value)
            .map_err(|_| self.refuse(field, &value, "a semantic version such as 1.2.3"))
    }

    fn routes(
        &mut self,
        written: Spanned<Vec<Spanned<WrittenRoute>>>,
    ) -> Result<Vec<Route>, Refused> {
        let written = self.take("routes", written);
        if written.is_empty() || written.len() > ROUTES_MAX {
            let problem = format!("found {} routes, expected 1 to {ROUTES_MAX}", written.len());
            return Err(self.fail("routes", problem));
        }
        let mut known = BTreeSet::new();
        let mut routes = Vec::with_capacity(written.len());
        for (number, route) in written.into_iter().enumerate() {
            let field = format!("routes[{number}]");
            let at = route.span().start;
            let WrittenRoute { business, scene, event_type, state } = self.take(&field, route);
            self.note(&format!("business.{business}"), at);
            let route = Route { business, scene, event_type, state };
            check_route(&route).map_err(|problem| self.fail(&field, problem))?;
            if !known.insert(route.clone()) {
                return Err(self.fail(&field, format!("the route {route} stands here twice")));
            }
            routes.push(route);
        }
        Ok(routes)
    }

    fn transitions(
        &mut self,
        written: Spanned<Vec<Spanned<WrittenEdge>>>,
    ) -> Result<Vec<Edge>, Refused> {
        let written = self.take("transitions", written);
        if written.len() > TRANSITIONS_MAX {
            let problem = format!("found {}, limit is {TRANSITIONS_MAX}", written.len());
            return Err(self.fail("transitions", problem));
        }
        let mut edges = Vec::with_capacity(written.len());
        for (number, edge) in written.into_iter().enumerate() {
            let field = format!("transitions[{number}]");
            let WrittenEdge { from, to } = self.take(&field, edge);
            if let Some(state) = [&from, &to].into_iter().find(|state| !is_code(state)) {
                return Err(self.refuse(&field, state, "states of 1 to 64 of A-Z a-z 0-9 _ -"));
            }
            edges.push(Edge { from, to });
        }
        Ok(edges)
    }

    fn grants(&mut self, written: WrittenGrants) -> Result<Grants, Refused> {
        let blind_writes =
            written.blind_writes.is_some_and(|value| self.take("grants.blind_writes", value));
        let collection = Rule { fits: is_collection, words: "a-z, then up to 63 of a-z 0-9 _ -" };
        let topic = Rule { fits: is_topic, words: "1 to 128 of a-z 0-9 . _ -" };
        Ok(Grants {
            read: self.names("read", written.read, collection)?,
            write: self.names("write", written.write, collection)?,
            topics: self.names("topics", written.topics, topic)?,
            endpoints: self.names("endpoints", written.endpoints, collection)?,
            blind_writes,
            ..Grants::default()
        })
    }

    fn names(
        &mut self,
        kind: &str,
        written: Vec<Spanned<String>>,
        rule: Rule,
    ) -> Result<BTreeSet<String>, Refused> {
        let mut names = BTreeSet::new();
        for name in written {
            let at = name.span().start;
            let field = format!("grants.{kind}.{}", shown(name.get_ref()));
            self.note(&field, at);
            let name = name.into_inner();
            if !(rule.fits)(&name) {
                return Err(self.refuse(&field, &name, rule.words));
            }
            names.insert(name);
        }
        Ok(names)
    }

    fn limits(
        &mut self,
        written: BTreeMap<String, Spanned<u64>>,
    ) -> Result<BTreeMap<String, u64>, Refused> {
        let known = limit_values(&Limits::default());
        let mut limits = BTreeMap::new();
        for (name, value) in written {
            let field = format!("limits.{}", shown(&name));
            let value = self.take(&field, value);
            if !known.contains_key(&name) {
                let names: Vec<&str> = known.keys().map(String::as_str).collect();
                let problem = format!("there is no such limit, expected {}", names.join(", "));
                return Err(self.fail(&field, problem));
            }
            let one = BTreeMap::from([(name.clone(), value)]);
            if limits_of(&one).is_err() {
                return Err(self.refuse(&field, &value.to_string(), "a smaller number"));
            }
            limits.insert(name, value);
        }
        Ok(limits)
    }
}

/// What a name must be.
#[derive(Clone, Copy)]
struct Rule {
    fits: fn(&str) -> bool,
    words: &'static str,
}

/// The text of a manifest: nothing that an editor, a terminal or a reviewer would see otherwise
/// than it is.
fn text(body: &[u8]) -> Result<&str, Refused> {
    let line = |at: usize| {
        let before = body.get(..at).unwrap_or(body);
        before.iter().filter(|byte| **byte == b'\n').count().saturating_add(1)
    };
    let text = std::str::from_utf8(body).map_err(|error| Refused::Syntax {
        line: line(error.valid_up_to()),
        problem: "not UTF-8".to_owned(),
    })?;
    let hides = |c: char| !matches!(c, '\n' | '\t') && callgate_sandbox::text::steers(c);
    match text.char_indices().find(|(_, c)| hides(*c)) {
        None => Ok(text),
        Some((at, '\r')) => Err(Refused::Syntax {
            line: line(at),
            problem: "ends with a carriage return, expected a line feed alone; what changes line \
                      ends breaks signatures"
                .to_owned(),
        }),
        Some((at, c)) => Err(Refused::Syntax {
            line: line(at),
            problem: format!("found {}, which shows as something else", c.escape_default()),
        }),
    }
}

fn line_at(text: &str, at: usize) -> usize {
    let before = text.get(..text.floor_char_boundary(at)).unwrap_or(text);
    before.bytes().filter(|byte| *byte == b'\n').count().saturating_add(1)
}

/// Every limit by its name.
pub(crate) fn limit_values(limits: &Limits) -> BTreeMap<String, u64> {
    let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(limits) else {
        return BTreeMap::new();
    };
    fields.into_iter().filter_map(|(name, value)| Some((name, value.as_u64()?))).collect()
}

/// The limits from their values; what is not named keeps its default.
pub(crate) fn limits_of(values: &BTreeMap<String, u64>) -> Result<Limits, Refused> {
    let fields = values.iter().map(|(name, value)| (name.clone(), (*value).into())).collect();
    serde_json::from_value(serde_json::Value::Object(fields)).map_err(|error| Refused::Field {
        line: 1,
        field: "limits".to_owned(),
        problem: shown(&error.to_string()),
    })
}
