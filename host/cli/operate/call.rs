//! One call to the operator calls of a server.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use reqwest::Url;
use serde_json::{Map, Value};

use crate::cli::trust::Trust;

/// Which server, and as whom. The token comes from the environment or a file: what stands on the
/// command line is read by everybody on the machine.
#[derive(Debug, Args)]
pub(in crate::cli) struct Server {
    /// The private listener, such as http://127.0.0.1:8081.
    #[arg(long, env = "CALLGATE_OPERATOR_URL")]
    url: String,
    /// A file with an operator's bearer token; else it is taken from CALLGATE_OPERATOR_TOKEN.
    #[arg(long, env = "CALLGATE_OPERATOR_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    trust: Trust,
}

impl Server {
    pub(in crate::cli) fn calls(&self) -> anyhow::Result<Calls> {
        self.within(PATIENCE)
    }

    /// For calls that have something compiled, which may take minutes.
    pub(in crate::cli) fn patient(&self) -> anyhow::Result<Calls> {
        self.within(COMPILING)
    }

    fn within(&self, patience: Duration) -> anyhow::Result<Calls> {
        let (url, token) = (&self.url, self.token()?);
        let http = self.trust.client(patience)?;
        let base = Url::parse(url).with_context(|| format!("--url: `{url}` is no URL"))?;
        anyhow::ensure!(!base.cannot_be_a_base(), "--url: `{url}` is no http URL");
        Ok(Calls { http, base, token })
    }

    fn token(&self) -> anyhow::Result<String> {
        let Some(file) = &self.token_file else {
            let token = std::env::var_os(TOKEN).and_then(|token| token.into_string().ok());
            return token.with_context(|| {
                format!("who asks? Put an operator's token into {TOKEN}, or give --token-file FILE")
            });
        };
        let text = fs::read_to_string(file)
            .with_context(|| format!("--token-file: {} cannot be read", file.display()))?;
        Ok(text.trim().to_owned())
    }
}

/// Speaks to a server as an operator.
#[derive(Debug)]
pub(in crate::cli) struct Calls {
    http: reqwest::Client,
    base: Url,
    token: String,
}

impl Calls {
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

/// The variable with the token.
const TOKEN: &str = "CALLGATE_OPERATOR_TOKEN";
