//! One call to the operator calls of a server.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use reqwest::Url;
use serde_json::{Map, Value};

/// Speaks to a server as an operator.
#[derive(Debug)]
pub(in crate::cli) struct Calls {
    http: reqwest::Client,
    base: Url,
    token: String,
}

/// The bearer token of an operator: secrets come from a file or the environment, never from the
/// command line, which everybody on the machine can read.
pub(in crate::cli) fn token(file: Option<&Path>) -> anyhow::Result<String> {
    let Some(file) = file else {
        let found = std::env::var_os("CALLGATE_OPERATOR_TOKEN");
        let found = found.and_then(|token| token.into_string().ok());
        return found.context("expected --token-file or the variable CALLGATE_OPERATOR_TOKEN");
    };
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("--token-file: {} cannot be read", file.display()))?;
    Ok(text.trim().to_owned())
}

impl Calls {
    pub(in crate::cli) fn new(url: &str, token: &str) -> anyhow::Result<Self> {
        Self::within(url, token, PATIENCE)
    }

    /// For calls that have something compiled, which may take minutes.
    pub(in crate::cli) fn patient(url: &str, token: &str) -> anyhow::Result<Self> {
        Self::within(url, token, COMPILING)
    }

    fn within(url: &str, token: &str, patience: Duration) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .timeout(patience)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .context("the HTTP client cannot be made")?;
        let base = Url::parse(url).with_context(|| format!("--url: `{url}` is no URL"))?;
        anyhow::ensure!(!base.cannot_be_a_base(), "--url: `{url}` is no http URL");
        Ok(Self { http, base, token: token.to_owned() })
    }

    pub(in crate::cli) async fn get(
        &self,
        path: &[&str],
        fields: &Map<String, Value>,
    ) -> anyhow::Result<Value> {
        let mut url = self.address(path);
        for (name, value) in fields {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            url.query_pairs_mut().append_pair(name, &text);
        }
        self.answer(self.http.get(url)).await
    }

    /// Posts bytes as they are.
    pub(in crate::cli) async fn send(&self, path: &[&str], body: Vec<u8>) -> anyhow::Result<Value> {
        self.answer(self.http.post(self.address(path)).body(body)).await
    }

    pub(in crate::cli) async fn post(&self, path: &[&str], body: &Value) -> anyhow::Result<Value> {
        self.answer(self.http.post(self.address(path)).json(body)).await
    }

    /// Whatever an id consists of, it stays one part of the path.
    fn address(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut parts) = url.path_segments_mut() {
            parts.pop_if_empty().push("operator").extend(path);
        }
        url
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> anyhow::Result<Value> {
        let response = request.bearer_auth(&self.token).send().await.context("the call")?;
        let status = response.status();
        let text = response.text().await.context("the answer")?;
        let answer: Value = serde_json::from_str(&text).with_context(|| {
            format!("the answer {status} is no JSON; is --url the private one?")
        })?;
        if status.is_success() {
            return Ok(answer);
        }
        let word = |name: &str| {
            let word = answer.get("error").and_then(|error| error.get(name)?.as_str());
            word.unwrap_or_default().to_owned()
        };
        anyhow::bail!("{} {}: {}", status.as_u16(), word("code"), word("message"))
    }
}

/// Longer than a component may take to come and to compile.
const COMPILING: Duration = Duration::from_secs(300);

/// Longer than any call should take.
const PATIENCE: Duration = Duration::from_secs(30);
