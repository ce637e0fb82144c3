//! The HTTP listener: health, metrics, status as JSON and as a page, and the actions on tables. Owns the server and its bounds; decides nothing about tables.

mod actions;
mod status;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Extension, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::metrics::{self, Metrics};
use crate::ops::exit::Failure;
use crate::ops::http::actions::Peer;
use crate::pipeline::status::StatusSnapshot;

pub(crate) use actions::{Actions, Lift};

/// No request of ours carries a body worth more.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// A client that has not sent its headers by then is gone or hostile.
const HEADERS_WITHIN: Duration = Duration::from_secs(10);
/// Connections beyond these wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 64;
/// How long to wait after the machine refused to accept, such as for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// What the listener shows.
pub(crate) struct View {
    /// The config's name.
    pub(crate) name: String,
    /// Asks the pipeline how it is.
    pub(crate) snapshot: Box<dyn Fn() -> StatusSnapshot + Send + Sync>,
    /// What is served on `/metrics`.
    pub(crate) metrics: Arc<Metrics>,
    /// What a POST may do.
    pub(crate) actions: Actions,
    /// For ages.
    pub(crate) clock: Clock,
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// The routes of CONTRACT.
pub(crate) fn router(view: Arc<View>) -> Router {
    Router::new()
        .route("/", get(async || Html(include_str!("page.html"))))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(served_metrics))
        .route("/api/v1/status", get(served_status))
        .route("/api/v1/tables/{name}/{action}", post(actions::act))
        .fallback(async || {
            (
                StatusCode::NOT_FOUND,
                "not found: see /, /healthz, /readyz, /metrics, /api/v1/status\n",
            )
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(view)
}

async fn ready(State(view): State<Arc<View>>) -> Response {
    match (view.snapshot)().ready {
        Ok(()) => "ready\n".into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

async fn served_metrics(State(view): State<Arc<View>>) -> Response {
    view.metrics
        .observe(&status::moment(&(view.snapshot)(), view.clock.wall_ms()));
    match view.metrics.encode() {
        Ok(page) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], page).into_response(),
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("cannot encode metrics: {error}\n"),
        )
            .into_response(),
    }
}

async fn served_status(State(view): State<Arc<View>>) -> Response {
    let document = status::document(&view.name, &(view.snapshot)(), view.clock.wall_ms());
    ([(header::CACHE_CONTROL, "no-store")], Json(document)).into_response()
}

/// A runtime for listeners beside the pipeline. One thread is enough for a scrape and a signal, and keeps both alive when the pipeline is busy.
pub(crate) fn beside() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("lakeward-ops")
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::unavailable(format!("the machine gives no thread for HTTP: {error}"))
        })
}

/// Takes the address of `http.listen`.
pub(crate) async fn bind(listen: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(listen).await.map_err(|error| {
        let choose = "choose another `http.listen`";
        let hint = if error.kind() == ErrorKind::AddrInUse {
            format!("the port is in use; stop the other process or {choose}")
        } else if error.kind() == ErrorKind::PermissionDenied {
            format!("a port below 1024 needs privileges; {choose}")
        } else {
            format!("{error}; {choose}")
        };
        Failure::invalid(format!("cannot listen on {listen} (`http.listen`): {hint}"))
    })
}

/// Serves for ever; drop the future to stop. Each connection is a task of this runtime, at most `CONNECTIONS_MAX` of them.
#[expect(
    clippy::disallowed_methods,
    reason = "ops spawns: a slow client must not hold up the others"
)]
pub(crate) async fn serve(listener: TcpListener, router: Router, clock: Clock) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept an HTTP connection");
                clock.sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(router.clone().layer(Extension(Peer(peer))));
        tokio::spawn(async move {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADERS_WITHIN)
                .max_buf_size(BODY_BYTES_MAX)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an HTTP connection ended early");
            }
            drop(place);
        });
    }
}

#[cfg(test)]
mod tests;
