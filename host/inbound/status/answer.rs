//! `GET /orders/{business}/{order_no}/status`: at once, by long poll, or as a stream of events.

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use callgate_core::time::Timestamp;
use http::{HeaderMap, StatusCode, Uri, header};
use tokio::sync::{Semaphore, watch};

use super::Settings;
use super::feed::Feed;
use super::follow::Reader;
use super::front::{Allowed, Front, Fronts};
use super::refusal::Refusal;
use super::repair::Repair;
use super::token::{Keys, Named, Pass};
use super::told::{Known, Told};
use super::told_to_stop;
use super::waiting::{Seat, Waiting};
use crate::clock::Clock;
use crate::inbound::tokens::bearer;

/// Everything that a look at an order meets on its way.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) fronts: Fronts,
    pub(super) reader: Reader,
    pub(super) waiting: Waiting,
    pub(super) repair: Repair,
    pub(super) clock: Clock,
    pub(super) settings: Arc<Settings>,
    pub(super) requests: Semaphore,
    pub(super) stopped: watch::Receiver<bool>,
}

/// The routes of the listener for front ends.
pub(super) fn router(desk: Arc<Desk>) -> Router {
    Router::new()
        .route("/orders/{business}/{order_no}/status", get(status).options(preflight))
        .fallback(async || Refusal::NoSuchPlace)
        .with_state(desk)
}

type Names = Result<Path<(String, String)>, PathRejection>;

async fn preflight(State(desk): State<Arc<Desk>>, names: Names, headers: HeaderMap) -> Response {
    let Ok(Path((business, _))) = names else { return Refusal::NoSuchPlace.into_response() };
    let fronts = desk.fronts.current();
    let mut response = StatusCode::NO_CONTENT.into_response();
    Allowed::of(fronts.get(&business), &headers).preflight(response.headers_mut());
    response
}

async fn status(
    State(desk): State<Arc<Desk>>,
    names: Names,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let Ok(Path((business, order_no))) = names else {
        return Refusal::NoSuchPlace.into_response();
    };
    let fronts = desk.fronts.current();
    let front = fronts.get(&business);
    let allowed = Allowed::of(front, &headers);
    let asked = Asked::read(&uri, headers);
    let how = asked.as_ref().map_or("plain", Asked::how);
    let named = Named { business: &business, order_no: &order_no };
    let admitted = asked.and_then(|asked| Ok((desk.admit(front, named, &asked)?, asked)));
    // Nothing of it is held while the client waits.
    drop(fronts);
    let answered = match admitted {
        Ok((pass, asked)) => desk.answer((business, order_no), pass, asked).await,
        Err(refusal) => Err(refusal),
    };
    let code = answered.as_ref().err().map_or("", |refusal| refusal.code());
    metrics::counter!("callgate_status_requests_total", "how" => how, "code" => code).increment(1);
    let mut response = answered.unwrap_or_else(IntoResponse::into_response);
    allowed.mark(response.headers_mut());
    response
}

/// What a client asks for.
#[derive(Debug)]
struct Asked {
    token: Option<String>,
    wait_ms: Option<u32>,
    version: Option<i64>,
    headers: HeaderMap,
}

impl Asked {
    fn read(uri: &Uri, headers: HeaderMap) -> Result<Self, Refusal> {
        let Query(parameters) =
            Query::<Vec<(String, String)>>::try_from_uri(uri).map_err(|_| Refusal::Query)?;
        let mut asked = Self { token: None, wait_ms: None, version: None, headers };
        for (name, value) in parameters {
            match name.as_str() {
                "token" if asked.token.is_none() => asked.token = Some(value),
                "token" => return Err(Refusal::TokenMalformed),
                "wait" if asked.wait_ms.is_none() => asked.wait_ms = Some(milliseconds(&value)?),
                "version" if asked.version.is_none() => asked.version = Some(number(&value)?),
                "wait" | "version" => return Err(Refusal::Query),
                // A parameter of somebody else, such as one against caches.
                _ => {}
            }
        }
        Ok(asked)
    }

    fn how(&self) -> &'static str {
        match (self.streams(), self.wait_ms) {
            (true, _) => "stream",
            (false, Some(_)) => "wait",
            (false, None) => "plain",
        }
    }

    fn streams(&self) -> bool {
        let mut accepted = self.headers.get_all(header::ACCEPT).iter();
        accepted.any(|value| value.to_str().is_ok_and(|kinds| kinds.contains("text/event-stream")))
    }

    /// The one token, from the header or from the address.
    fn token(&self) -> Result<&str, Refusal> {
        let sent = self.headers.contains_key(header::AUTHORIZATION);
        match (&self.token, sent) {
            (None, false) => Err(Refusal::TokenMissing),
            (Some(token), false) => Ok(token),
            (None, true) => bearer(&self.headers).ok_or(Refusal::TokenMalformed),
            (Some(_), true) => Err(Refusal::TokenMalformed),
        }
    }

    /// The version that the client of a stream had when it was cut off, or begins with.
    fn last_event(&self) -> Option<i64> {
        let last = self.headers.get("last-event-id").and_then(|value| value.to_str().ok());
        last.and_then(|last| last.parse().ok()).or(self.version)
    }
}

fn number(text: &str) -> Result<i64, Refusal> {
    text.parse().ok().filter(|number| *number >= 0).ok_or(Refusal::Query)
}

/// `20s`, `1500ms`, or whole seconds.
fn milliseconds(text: &str) -> Result<u32, Refusal> {
    let (digits, unit_ms) = match text.strip_suffix("ms") {
        Some(digits) => (digits, 1_u32),
        None => (text.strip_suffix('s').unwrap_or(text), 1000),
    };
    let fits = (1..=7).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: u32 = digits.parse().ok().filter(|_| fits).ok_or(Refusal::Query)?;
    Ok(number.saturating_mul(unit_ms))
}

impl Desk {
    /// A business that is not known has no keys, like one that has none.
    fn admit(
        &self,
        front: Option<&Front>,
        named: Named<'_>,
        asked: &Asked,
    ) -> Result<Pass, Refusal> {
        let nobody = Keys::default();
        let keys = front.map_or(&nobody, |front| &front.keys);
        keys.check(asked.token()?, named, (self.clock.now(), self.settings.token_max_s))
    }

    async fn answer(
        &self,
        name: (String, String),
        pass: Pass,
        asked: Asked,
    ) -> Result<Response, Refusal> {
        if asked.streams() {
            let (seat, told) = self.sit(name, pass).await?;
            let feed = Feed {
                seat,
                repair: self.repair.clone(),
                clock: self.clock.clone(),
                stopped: self.stopped.clone(),
                settings: Arc::clone(&self.settings),
                expires_at: pass.expires_at,
            };
            return Ok(feed.begin(told, asked.last_event()));
        }
        let known = Known::new(asked.version, &asked.headers);
        let Some(wait_ms) = asked.wait_ms else {
            // Who waits has a seat; who does not, has a place for as long as the look takes.
            let _place = self.requests.try_acquire().map_err(|_| Refusal::Busy)?;
            return Ok(self.look(&name).await?.answer(&known));
        };
        drop(asked);
        let wait_ms = wait_ms.min(self.settings.wait_max_ms);
        let ends_at = self.clock.now().plus_ms(i64::from(wait_ms)).min(pass.expires_at);
        let (seat, told) = self.sit(name, pass).await?;
        Ok(self.wait((seat, told), &known, ends_at).await.answer(&known))
    }

    /// Where the order stands now.
    async fn look(&self, name: &(String, String)) -> Result<Told, Refusal> {
        let standing = self.reader.standing(name).await?.ok_or(Refusal::UnknownOrder)?;
        self.repair.looked(&standing, self.clock.now());
        Ok(Told::of(standing))
    }

    /// Listens, and only then looks, so that no change is missed. Who asks by an alias listens
    /// under the order's own number.
    async fn sit(&self, name: (String, String), pass: Pass) -> Result<(Seat, Arc<Told>), Refusal> {
        let mut name = name;
        loop {
            let mut seat = self.waiting.sit(name.clone(), pass)?;
            let told = self.look(&name).await?;
            if told.standing.order_no != name.1 {
                name.1.clone_from(&told.standing.order_no);
                continue;
            }
            self.waiting.tell(told.standing.clone());
            // What somebody else was told may be newer; never older.
            let told = seat.look().unwrap_or_else(|| Arc::new(told));
            seat.settle();
            return Ok((seat, told));
        }
    }

    /// Waits for a version that the client does not have, or for the end of the wait.
    async fn wait(
        &self,
        (mut seat, mut told): (Seat, Arc<Told>),
        known: &Known,
        ends_at: Timestamp,
    ) -> Arc<Told> {
        let mut stopped = self.stopped.clone();
        while known.has(told.version()) {
            tokio::select! {
                () = seat.news() => {
                    let Some(news) = seat.look() else { continue };
                    if news.version() != told.version() {
                        metrics::counter!("callgate_status_woken_total", "how" => "wait")
                            .increment(1);
                    }
                    told = news;
                }
                () = self.clock.wait_until(ends_at) => break,
                () = told_to_stop(&mut stopped) => break,
            }
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::{Refusal, milliseconds, number};

    #[test]
    fn a_wait_has_a_unit_or_is_in_seconds() {
        for (text, found) in [
            ("20s", Ok(20_000)),
            ("20", Ok(20_000)),
            ("1500ms", Ok(1500)),
            ("0", Ok(0)),
            ("9999999s", Ok(u32::MAX)),
            ("", Err(Refusal::Query)),
            ("s", Err(Refusal::Query)),
            ("-1s", Err(Refusal::Query)),
            ("+1", Err(Refusal::Query)),
            ("1.5s", Err(Refusal::Query)),
            ("20m", Err(Refusal::Query)),
            ("99999999", Err(Refusal::Query)),
        ] {
            assert_eq!(milliseconds(text), found, "{text}");
        }
        assert_eq!((number("7"), number("-7")), (Ok(7), Err(Refusal::Query)));
    }
}
