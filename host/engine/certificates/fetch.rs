//! One question for certificates, and what became of it.

use callgate_core::gateway::inquiry::{Incoming, Stamp};
use callgate_core::gateway::platform::{Admitted, HandedOut, Platform};

use crate::clock::Clock;
use crate::engine::inquire;
use crate::inbound::channel::Channel;
use crate::outbound::client::CallError;
use crate::outbound::gateway;

/// Why there is no answer to use.
struct Failed {
    code: &'static str,
    problem: String,
}

impl Failed {
    fn unsendable(problem: impl ToString) -> Self {
        Self { code: "certificates.unsendable", problem: problem.to_string() }
    }
}

/// Asks a channel's gateway; tells what may be used, where an answer was believed. Everything that
/// is wrong is logged and counted.
pub(super) async fn fetch(channel: &Channel, clock: &Clock) -> Option<Vec<Admitted>> {
    let name = channel.name.as_str();
    let asked = match channel.gateway.platform() {
        Some(platform) => ask(channel, platform, clock).await,
        None => return None,
    };
    match asked {
        Ok(HandedOut { admitted, refused }) => {
            count(name, "answered");
            let serials: Vec<_> = admitted.iter().map(Admitted::serial).collect();
            let (handed, serials) = (admitted.len(), serials.join(", "));
            tracing::info!(channel = name, handed, serials, "the gateway handed out certificates");
            for (serial, bad) in refused {
                let code = bad.code();
                tracing::error!(channel = name, serial, code, reason = %bad,
                    "a certificate that the gateway handed out is not used; those in use stay");
                metrics::counter!("callgate_certificates_refused_total",
                    "channel" => name.to_owned(), "code" => code)
                .increment(1);
            }
            Some(admitted)
        }
        Err(Failed { code, problem }) => {
            count(name, code);
            tracing::error!(
                channel = name,
                code,
                reason = problem,
                "the gateway's certificates cannot be had; those in use stay, and it is asked again"
            );
            None
        }
    }
}

async fn ask(
    channel: &Channel,
    platform: &dyn Platform,
    clock: &Clock,
) -> Result<HandedOut, Failed> {
    let timeout_ms = channel.ask.timeout_ms;
    let (caller, _) = inquire::caller(channel).map_err(Failed::unsendable)?;
    let nonce = nonce().ok_or_else(|| Failed::unsendable("no randomness"))?;
    let stamp = Stamp { now: clock.now(), nonce: &nonce };
    let outgoing = platform.ask(stamp).map_err(Failed::unsendable)?;
    let answer = gateway::send(&caller, outgoing, timeout_ms).await.map_err(|error| {
        let code = match &error {
            CallError::Timeout { .. } => "certificates.timeout",
            CallError::Refused(_) => "certificates.address",
            CallError::Unreachable(_) => "certificates.unreachable",
        };
        Failed { code, problem: error.to_string() }
    })?;
    let status = answer.status.as_u16();
    let incoming = Incoming { status, headers: &answer.headers, body: &answer.body };
    platform
        .hear(&incoming, clock.now())
        .map_err(|error| Failed { code: error.code(), problem: error.to_string() })
}

fn count(channel: &str, outcome: &'static str) {
    metrics::counter!("callgate_certificates_asked_total",
        "channel" => channel.to_owned(), "outcome" => outcome)
    .increment(1);
}

/// Thirty-two letters and digits that nobody can foresee.
fn nonce() -> Option<String> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    Some(bytes.iter().map(|byte| format!("{byte:02X}")).collect())
}
