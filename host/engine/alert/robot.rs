//! Webhooks that are told of alerts: the robots of Feishu, DingTalk and WeCom, and plain JSON.
//!
//! Sources, read 2026-11-22: the robots' own pages on custom bots. Feishu signs with a key of
//! `{seconds}\n{secret}` over nothing, in the body; DingTalk with the secret over
//! `{milliseconds}\n{secret}`, in the query; WeCom's key stands in the address. All three answer
//! 200 where they take nothing, so their bodies count. Each hears 20 messages a minute (Feishu 100,
//! and 5 a second).

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use callgate_core::outcome::Reason;
use callgate_core::secret::Secret;
use callgate_core::time::Timestamp;
use callgate_store::{Notice, Severity, Turn};
use http::{HeaderMap, HeaderValue, StatusCode};
use reqwest::{Certificate, Url};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::engine::deliver::signature::{SigningSecret, sign};
use crate::outbound::address::Reach;
use crate::outbound::client::{Answer, CallError, Caller, Endpoint, NotReachable};

/// Whose robot it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RobotKind {
    /// Feishu, and Lark.
    Feishu,
    /// DingTalk.
    Dingtalk,
    /// WeCom.
    Wecom,
    /// Anybody who takes JSON, signed as Standard Webhooks where there is a secret.
    Json,
}

/// Settings of one webhook. `Debug` shows neither its address, which holds a key, nor its secret.
#[derive(Clone)]
pub struct WebhookSettings {
    /// Its name, which stands for it everywhere.
    pub name: String,
    /// Whose robot it is.
    pub kind: RobotKind,
    /// Where to post.
    pub url: Url,
    /// What signs, where something does.
    pub secret: Option<Secret>,
    /// From which severity on it is told.
    pub least: Severity,
    /// Messages a minute, all hosts together.
    pub per_minute: u32,
    /// How long one attempt may take, in milliseconds.
    pub timeout_ms: u32,
    /// Whether it may be a private address.
    pub reach: Reach,
    /// Who signs its certificate; those that the machine trusts where there is none.
    pub roots: Vec<Certificate>,
}

impl fmt::Debug for WebhookSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookSettings")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// A webhook that can be told.
pub struct Robot {
    settings: WebhookSettings,
    caller: Caller,
    signing: Option<SigningSecret>,
}

impl fmt::Debug for Robot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.settings, f)
    }
}

/// What is said.
#[derive(Debug, Clone, Copy)]
pub(super) enum Said<'a> {
    /// An alert.
    Notice(&'a Notice),
    /// That it can be heard.
    Test,
}

/// Who says it, and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sender<'a> {
    /// The machine's name.
    pub(super) host: &'a str,
    /// The message's id: the same on every attempt.
    pub(super) id: &'a str,
    /// When it is sent.
    pub(super) now: Timestamp,
}

/// Why a webhook was not told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NotTold {
    pub(super) reason: Reason,
    /// The webhook's wish when to come again, in milliseconds.
    pub(super) wait_ms: Option<u32>,
}

impl Robot {
    /// Makes a robot; reaches nobody.
    ///
    /// # Errors
    /// The field that is wrong, and what was expected; nothing of the address or the secret.
    pub fn new(settings: WebhookSettings) -> Result<Self, (&'static str, String)> {
        let WebhookSettings { url, reach, timeout_ms, roots, .. } = &settings;
        let endpoint = Endpoint { url: url.clone(), reach: *reach, timeout_ms: *timeout_ms };
        let caller = Caller::trusting(endpoint, roots.clone()).map_err(|error| match error {
            NotReachable::Private { .. } => {
                ("url", "leads to a private address, which allow_private must allow".to_owned())
            }
            NotReachable::Unknown { .. } | NotReachable::Url { .. } => ("url", error.to_string()),
        })?;
        let signing = match (settings.kind, &settings.secret) {
            (RobotKind::Json, Some(secret)) => {
                let parsed = SigningSecret::parse(secret.expose());
                Some(parsed.map_err(|problem| ("secret", problem.to_owned()))?)
            }
            (RobotKind::Wecom, Some(_)) => {
                let problem = "found one, expected none: WeCom's key stands in the address";
                return Err(("secret", problem.to_owned()));
            }
            (_, Some(secret)) if secret.expose().is_empty() => {
                return Err((
                    "secret",
                    "found an empty text, expected the robot's secret".to_owned(),
                ));
            }
            (_, _) => None,
        };
        Ok(Self { settings, caller, signing })
    }

    /// Its settings.
    #[must_use]
    pub fn settings(&self) -> &WebhookSettings {
        &self.settings
    }

    /// Says something once.
    pub(super) async fn say(&self, said: Said<'_>, sender: Sender<'_>) -> Result<(), NotTold> {
        let message = message(&self.settings, self.signing.as_ref(), (said, sender));
        let query: Vec<(&str, &str)> =
            message.query.iter().map(|(name, value)| (*name, value.as_str())).collect();
        match self.caller.post_with(&query, message.headers, message.body).await {
            Ok(answer) => judge(self.settings.kind, &answer),
            Err(error) => Err(unanswered(&error)),
        }
    }
}

/// One message as it is posted.
struct Message {
    query: Vec<(&'static str, String)>,
    headers: HeaderMap,
    body: Vec<u8>,
}

fn message(
    settings: &WebhookSettings,
    signing: Option<&SigningSecret>,
    (said, sender): (Said<'_>, Sender<'_>),
) -> Message {
    let (mut query, mut headers) = (Vec::new(), HeaderMap::new());
    let text = text(said, sender);
    let secret = settings.secret.as_ref().map(Secret::expose);
    let body = match settings.kind {
        RobotKind::Feishu => {
            let mut body = json!({ "msg_type": "text", "content": { "text": text } });
            if let (Some(secret), Some(body)) = (secret, body.as_object_mut()) {
                let seconds = sender.now.as_ms().div_euclid(1000);
                body.insert("timestamp".to_owned(), seconds.to_string().into());
                body.insert("sign".to_owned(), feishu_sign(secret, seconds).into());
            }
            body
        }
        RobotKind::Dingtalk => {
            if let Some(secret) = secret {
                let ms = sender.now.as_ms();
                query.push(("timestamp", ms.to_string()));
                query.push(("sign", dingtalk_sign(secret, ms)));
            }
            json!({ "msgtype": "text", "text": { "content": text } })
        }
        RobotKind::Wecom => json!({ "msgtype": "text", "text": { "content": cut(&text) } }),
        RobotKind::Json => plain(said, sender),
    };
    let body = body.to_string().into_bytes();
    if let Some(signing) = signing {
        let seconds = sender.now.as_ms().div_euclid(1000);
        let signature = sign(std::slice::from_ref(signing), (sender.id, seconds), &body);
        let texts = [("webhook-id", sender.id), ("webhook-signature", signature.as_str())];
        for (name, value) in texts {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        }
        headers.insert("webhook-timestamp", HeaderValue::from(seconds));
    }
    Message { query, headers, body }
}

/// What people read. Robots that want a keyword find `Callgate` in each message.
fn text(said: Said<'_>, Sender { host, now, .. }: Sender<'_>) -> String {
    let Said::Notice(notice) = said else {
        let now = now.format_beijing();
        return format!("[Callgate] test: alerts reach you here.\n{now} (UTC+8), host {host}");
    };
    let Notice { turn, condition, severity, summary, since, raised_at, at } = notice;
    let lasted = at.ms_since(*since).max(0) / 60_000;
    let (since, raised) = (since.format_beijing(), raised_at.format_beijing());
    let severity = severity.as_str();
    match turn {
        Turn::Raised => format!(
            "[Callgate] {severity}: {condition}\n{summary}\nsince {since} (UTC+8), host {host}\n\
             what to do: docs/monitoring.md"
        ),
        Turn::Lasting => format!(
            "[Callgate] still {severity}: {condition}\n{summary}\nfor {lasted} min, since {since} \
             (UTC+8), host {host}\nwhat to do: docs/monitoring.md"
        ),
        Turn::Recovered => format!(
            "[Callgate] recovered: {condition}\nlasted {lasted} min, raised {raised} (UTC+8), \
             host {host}"
        ),
    }
}

/// The same for machines.
fn plain(said: Said<'_>, Sender { host, id, now }: Sender<'_>) -> Value {
    match said {
        Said::Test => json!({ "type": "callgate.alert.test", "id": id, "host": host,
            "at_ms": now.as_ms() }),
        Said::Notice(notice) => json!({
            "type": "callgate.alert",
            "id": id,
            "turn": notice.turn,
            "condition": notice.condition,
            "severity": notice.severity,
            "summary": notice.summary,
            "since_ms": notice.since.as_ms(),
            "raised_at_ms": notice.raised_at.as_ms(),
            "at_ms": notice.at.as_ms(),
            "host": host,
        }),
    }
}

/// WeCom takes 2048 bytes.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(WECOM_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    text.get(..end).unwrap_or_default()
}

fn feishu_sign(secret: &str, seconds: i64) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, format!("{seconds}\n{secret}").as_bytes());
    STANDARD.encode(hmac::sign(&key, b""))
}

fn dingtalk_sign(secret: &str, ms: i64) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    STANDARD.encode(hmac::sign(&key, format!("{ms}\n{secret}").as_bytes()))
}

/// A robot says with a number in its body whether it took the message; plain JSON with its status.
fn judge(kind: RobotKind, answer: &Answer) -> Result<(), NotTold> {
    let status = answer.status;
    let wait_ms = (status == StatusCode::TOO_MANY_REQUESTS).then_some(MINUTE_MS);
    if !status.is_success() {
        let text = format!("status {}, expected 2xx", status.as_u16());
        return Err(NotTold { reason: Reason::new("alerts.status", text), wait_ms });
    }
    let names: &[&str] = match kind {
        RobotKind::Json => return Ok(()),
        RobotKind::Feishu => &["code", "StatusCode"],
        RobotKind::Dingtalk | RobotKind::Wecom => &["errcode"],
    };
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let code = names.iter().find_map(|name| body.get(name)?.as_i64());
    match code {
        Some(0) => Ok(()),
        Some(code) => {
            let wait_ms = TOO_FAST.contains(&code).then_some(MINUTE_MS);
            let text = format!("the robot answers {code}, expected 0");
            Err(NotTold { reason: Reason::new("alerts.refused", text), wait_ms })
        }
        None => {
            let text = "the answer is none of this robot's; are kind and url right?";
            Err(NotTold { reason: Reason::new("alerts.refused", text), wait_ms: None })
        }
    }
}

fn unanswered(error: &CallError) -> NotTold {
    let (code, text) = match error {
        CallError::Timeout { .. } => ("alerts.timeout", error.to_string()),
        CallError::Refused(_) => ("alerts.address", "the address must not be reached".to_owned()),
        CallError::Unreachable(_) => ("alerts.unreachable", error.to_string()),
    };
    NotTold { reason: Reason::new(code, text), wait_ms: None }
}

/// Too many messages: Feishu's two numbers, DingTalk's two, WeCom's.
const TOO_FAST: [i64; 5] = [9_499, 11_232, 130_101, 410_100, 45_009];

const MINUTE_MS: u32 = 60_000;

/// With room for a few bytes more.
const WECOM_BYTES_MAX: usize = 2_000;

#[cfg(test)]
mod tests;
