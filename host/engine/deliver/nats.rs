//! A sink in NATS JetStream: published with the event's id, so that the stream drops a repeat,
//! and delivered when the stream acknowledged it.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::connection::State;
use async_nats::jetstream;
use async_nats::jetstream::message::PublishMessage;
use callgate_store::StoredEvent;

use super::{Attempt, Blame, Failure, NatsLogin, SinkSettings, message};

/// A connection that heals by itself, and the form of subjects.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    client: async_nats::Client,
    context: jetstream::Context,
    subject: String,
    timeout: Duration,
}

impl Stream {
    /// Begins to connect; does not wait for it.
    pub(super) async fn open(
        url: &str,
        (subject, login): (&str, &NatsLogin),
        settings: &SinkSettings,
    ) -> Result<Self, String> {
        let timeout = Duration::from_millis(u64::from(settings.timeout_ms));
        let name = settings.name.clone();
        let options = match login {
            NatsLogin::None => async_nats::ConnectOptions::new(),
            NatsLogin::Token(token) => {
                async_nats::ConnectOptions::with_token(token.expose().to_owned())
            }
            NatsLogin::User(user, password) => async_nats::ConnectOptions::with_user_and_password(
                user.clone(),
                password.expose().to_owned(),
            ),
        };
        let servers: Vec<async_nats::ServerAddr> = url
            .split(',')
            .map(|one| one.trim().parse())
            .collect::<Result<_, _>>()
            .map_err(|_| "expected nats://host:port, several separated by commas".to_owned())?;
        let client = options
            .name("callgate")
            .retry_on_initial_connect()
            .connection_timeout(timeout)
            .request_timeout(Some(timeout))
            .event_callback(move |event| {
                tracing::debug!(sink = %name, %event, "connection to NATS");
                async {}
            })
            .connect(servers)
            .await
            .map_err(|error| error.to_string())?;
        let mut context = jetstream::new(client.clone());
        context.set_timeout(timeout);
        Ok(Self { client, context, subject: subject.to_owned(), timeout })
    }

    pub(super) async fn deliver(&self, event: &StoredEvent) -> Attempt {
        // While there is no connection the client would keep messages and send them some time
        // later, when we have long counted them as failed.
        if self.client.connection_state() != State::Connected {
            return failed("sink.unreachable", "no connection to the NATS server".to_owned());
        }
        let body = match message::body(event) {
            Ok(body) => body,
            Err(error) => return unsendable(error.to_string()),
        };
        let publish = PublishMessage::build()
            .headers(headers(event))
            .message_id(&event.event.id)
            .payload(body.into());
        let subject = subject(&self.subject, event);
        let publishing = async {
            let acknowledged = self.context.send_publish(subject, publish).await?;
            acknowledged.await
        };
        match tokio::time::timeout(self.timeout, publishing).await {
            // Whether the stream had it already or not: it has it now.
            Ok(Ok(_)) => Attempt::Delivered,
            Ok(Err(error)) => failed("sink.broker", error.to_string()),
            Err(_) => {
                let ms = self.timeout.as_millis();
                failed("sink.timeout", format!("no acknowledgement within {ms} ms"))
            }
        }
    }
}

/// Names that begin with `nats-` belong to the server.
fn headers(event: &StoredEvent) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in &event.event.headers {
        if !name.starts_with("nats-") {
            headers.insert(name.as_str(), value.as_str());
        }
    }
    headers
}

/// Fills the template in; what NATS would read as a wildcard or a gap becomes `_`.
fn subject(template: &str, event: &StoredEvent) -> String {
    let business = tokens(&event.business).replace('.', "_");
    template.replace("{business}", &business).replace("{topic}", &tokens(&event.event.topic))
}

fn tokens(text: &str) -> String {
    let clean = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let tokens = text.split('.').map(|token| match token {
        "" => "_".to_owned(),
        token => token.chars().map(clean).collect(),
    });
    tokens.collect::<Vec<_>>().join(".")
}

fn failed(code: &'static str, text: String) -> Attempt {
    Attempt::Failed(Failure { code, text, wait_ms: None, blame: Blame::Sink })
}

fn unsendable(text: String) -> Attempt {
    Attempt::Failed(Failure { code: "sink.unsendable", text, wait_ms: None, blame: Blame::Event })
}

#[cfg(test)]
mod tests {
    use super::tokens;

    #[test]
    fn what_nats_would_misread_becomes_an_underscore() {
        for (text, expected) in [
            ("order.paid", "order.paid"),
            ("order..paid.", "order._.paid._"),
            ("order.*.>", "order._._"),
            ("a b\tc", "a_b_c"),
        ] {
            assert_eq!(tokens(text), expected);
        }
    }
}
