//! `POST /api/v1/tables/{name}/pause|resume|flush`: who may ask, and what is answered. Owns the rule of `http.token`; the orders are obeyed by the pipeline.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::config::settings::Secret;
use crate::error::Kind;
use crate::ops::exit::Failure;
use crate::ops::http::View;
use crate::pipeline::{Answer, Order, Orders};

/// How long an order may take: a flush waits for the store.
const OBEYED_WITHIN: Duration = Duration::from_secs(60);

/// Lifts what a table waits for, as `lakeward resume` does, and tells what that was.
pub(crate) type Lift = Box<
    dyn Fn(String) -> Pin<Box<dyn Future<Output = Result<Vec<String>, Failure>> + Send>>
        + Send
        + Sync,
>;

/// What a POST may do.
pub(crate) struct Actions {
    /// To the control thread.
    pub(crate) orders: Orders,
    /// What a POST must carry that does not come over loopback.
    pub(crate) token: Option<Secret>,
    /// For a table that is suspended.
    pub(crate) lift: Lift,
}

/// The other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) SocketAddr);

/// Serves one action.
pub(super) async fn act(
    State(view): State<Arc<View>>,
    Extension(Peer(peer)): Extension<Peer>,
    Path((name, action)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    if let Err((code, reason)) = may_act(peer, &headers, view.actions.token.as_ref()) {
        return refused(code, reason);
    }
    let order = match action.as_str() {
        "pause" => Order::Pause,
        "resume" => Order::Resume,
        "flush" => Order::Flush,
        _ => {
            return refused(
                StatusCode::NOT_FOUND,
                format!("no action `{action}`; there are pause, resume, flush"),
            );
        }
    };
    tracing::info!(table = name, action, %peer, "asked over HTTP");
    let obeyed = view
        .clock
        .timeout(OBEYED_WITHIN, view.actions.orders.give(&name, order))
        .await;
    match obeyed {
        Some(Some(Answer::Done)) if order == Order::Resume => resumed(&view, name).await,
        Some(Some(Answer::Done)) => done(&name, &action, &[]),
        Some(Some(Answer::UnknownTable)) => refused(
            StatusCode::NOT_FOUND,
            format!("this process runs no table `{name}`"),
        ),
        Some(Some(Answer::Refused(reason))) => {
            refused(StatusCode::CONFLICT, format!("table `{name}`: {reason}"))
        }
        Some(None) => refused(
            StatusCode::SERVICE_UNAVAILABLE,
            "the sink takes no orders now".to_owned(),
        ),
        None => refused(
            StatusCode::GATEWAY_TIMEOUT,
            format!(
                "`{action}` of table `{name}` was not done within {} s; it may still be",
                OBEYED_WITHIN.as_secs()
            ),
        ),
    }
}

/// A table that is suspended needs more than an order: what stands between it and its topics is accepted, in a commit.
async fn resumed(view: &View, name: String) -> Response {
    let snapshot = (view.snapshot)();
    let is_suspended = snapshot
        .tables
        .iter()
        .any(|table| table.name == name && table.state.is_suspended());
    if !is_suspended {
        return done(&name, "resume", &[]);
    }
    match (view.actions.lift)(name.clone()).await {
        Ok(lifted) => done(&name, "resume", &lifted),
        Err(failure) if failure.kind() == Kind::Unavailable => {
            refused(StatusCode::SERVICE_UNAVAILABLE, failure.to_string())
        }
        Err(failure) => refused(StatusCode::CONFLICT, failure.to_string()),
    }
}

/// POSTs over loopback are open, but not to pages in a browser that runs there; all others need the token.
fn may_act(
    peer: SocketAddr,
    headers: &HeaderMap,
    token: Option<&Secret>,
) -> Result<(), (StatusCode, String)> {
    let carried = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    match (carried, token) {
        (Some(carried), Some(token)) if is_same(carried, token.reveal().as_bytes()) => {
            return Ok(());
        }
        (Some(_), _) => {
            let reason = "the token is not that of `http.token`";
            return Err((StatusCode::UNAUTHORIZED, reason.to_owned()));
        }
        (None, _) => {}
    }
    if !peer.ip().to_canonical().is_loopback() {
        let reason = if token.is_some() {
            "a POST that does not come over loopback needs `Authorization: Bearer` with `http.token`"
        } else {
            "a POST that does not come over loopback needs a token; set `http.token`"
        };
        return Err((StatusCode::UNAUTHORIZED, reason.to_owned()));
    }
    if headers.contains_key(header::ORIGIN) {
        let reason = "a page of a browser needs `Authorization: Bearer` with `http.token`";
        return Err((StatusCode::FORBIDDEN, reason.to_owned()));
    }
    Ok(())
}

/// Takes as long for a near miss as for a far one.
fn is_same(carried: &[u8], token: &[u8]) -> bool {
    carried.len() == token.len()
        && carried
            .iter()
            .zip(token)
            .fold(0, |differs, (one, other)| differs | (one ^ other))
            == 0
}

fn done(name: &str, action: &str, lifted: &[String]) -> Response {
    let document = serde_json::json!({ "table": name, "done": action, "lifted": lifted });
    Json(document).into_response()
}

fn refused(code: StatusCode, reason: String) -> Response {
    (code, Json(serde_json::json!({ "error": reason }))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(peer: &str, lines: &[(header::HeaderName, &str)], token: Option<&str>, expected: u16) {
        let headers = lines
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().unwrap()))
            .collect();
        let token = token.map(Secret::new);
        let verdict = may_act(peer.parse().unwrap(), &headers, token.as_ref());
        let code = verdict.map_or_else(|(code, _)| code.as_u16(), |()| 200);
        assert_eq!(code, expected, "{peer} {lines:?}");
    }

    #[test]
    fn posts_are_open_over_loopback_and_need_the_token_elsewhere() {
        let token = Some("secret");
        for (peer, open) in [
            ("127.0.0.1:1", 200),
            ("[::1]:1", 200),
            ("[::ffff:127.0.0.1]:1", 200),
            ("10.0.0.7:1", 401),
            ("[2001:db8::1]:1", 401),
        ] {
            check(peer, &[], token, open);
            check(peer, &[], None, open);
            check(
                peer,
                &[(header::AUTHORIZATION, "Bearer secret")],
                token,
                200,
            );
            for wrong in ["Bearer secreT", "Bearer ", "Bearer secret2"] {
                check(peer, &[(header::AUTHORIZATION, wrong)], token, 401);
            }
        }
        check(
            "10.0.0.7:1",
            &[(header::AUTHORIZATION, "secret")],
            token,
            401,
        );
        check(
            "10.0.0.7:1",
            &[(header::AUTHORIZATION, "Bearer ")],
            None,
            401,
        );
    }

    #[test]
    fn a_page_of_a_browser_does_not_pass_for_its_machine() {
        let page = (header::ORIGIN, "http://evil.example");
        check(
            "127.0.0.1:1",
            std::slice::from_ref(&page),
            Some("secret"),
            403,
        );
        let signed = [page, (header::AUTHORIZATION, "Bearer secret")];
        check("127.0.0.1:1", &signed, Some("secret"), 200);
    }
}
