//! A schema registry for the demo: one subject, one schema, on loopback, as Confluent clients ask for it. Keeps nothing and registers nothing.

use std::net::SocketAddr;

use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

/// The id in every frame of the demo.
pub(crate) const SCHEMA_ID: u32 = 1;

/// The routes that a decoder asks for.
pub(crate) fn router(subject: &'static str, schema: &'static str) -> Router {
    let latest = move |Path((asked, version)): Path<(String, String)>| async move {
        if asked != subject || !matches!(version.as_str(), "latest" | "1") {
            return missing(40401, "Subject not found.");
        }
        Json(json!({ "subject": subject, "version": 1, "id": SCHEMA_ID, "schemaType": "AVRO", "schema": schema })).into_response()
    };
    let by_id = move |Path(id): Path<String>| async move {
        if id != SCHEMA_ID.to_string() {
            return missing(40403, "Schema not found");
        }
        Json(json!({ "schemaType": "AVRO", "schema": schema })).into_response()
    };
    Router::new()
        .route(
            "/subjects",
            get(move || async move { Json(json!([subject])) }),
        )
        .route("/subjects/{subject}/versions/{version}", get(latest))
        .route("/schemas/ids/{id}", get(by_id))
}

fn missing(code: u32, message: &str) -> Response {
    (
        StatusCode::NOT_FOUND,
        Json(json!({ "error_code": code, "message": message })),
    )
        .into_response()
}

/// Where clients find it.
pub(crate) fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}
