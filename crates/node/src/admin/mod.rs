//! The admin endpoint: the whole mesh as any node sees it, over HTTP/1.1 on loopback. It reads, but for the one page that
//! forgets a member.

mod answers;
mod forget;
mod openapi;
mod views;

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::sse::{KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use axum::{Json, Router};
use farwire_wire::ChannelName;
use futures_util::stream::{Stream, unfold};
use tokio::net::TcpListener;
use tokio::sync::broadcast::error::RecvError;

use crate::shared::Shared;

pub(crate) use views::local_answer;

type App = State<Arc<Shared>>;

/// Serves until dropped. Cancel safe.
pub(crate) async fn serve(shared: Arc<Shared>, listener: TcpListener) {
    if let Err(error) = axum::serve(listener, router(shared)).await {
        tracing::error!(err = %error, "admin endpoint ended");
    }
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/openapi.json", get(|| async { Json(openapi::document()) }))
        .route("/v1/node", get(|State(shared): App| async move { Json(views::node(&shared)) }))
        .route("/v1/mesh", get(|State(shared): App| async move { Json(views::mesh(&shared)) }))
        .route("/v1/ring", get(|State(shared): App| async move { Json(views::ring(&shared)) }))
        .route("/v1/links", get(|State(shared): App| async move { Json(views::links(&shared)) }))
        .route("/v1/channels", get(|State(shared): App| async move { Json(views::channels(&shared).await) }))
        .route("/v1/channels/{name}", get(channel))
        .route("/v1/sessions", get(|State(shared): App| async move { Json(views::sessions(&shared).await) }))
        .route("/v1/slo", get(|State(shared): App| async move { Json(views::slo(&shared).await) }))
        .route("/v1/events", get(events))
        .route("/v1/members/{name}", delete(forget_member))
        .fallback(|| async { problem(StatusCode::NOT_FOUND, "no such page: / lists them") })
        .with_state(shared)
}

async fn index(State(shared): App) -> String {
    let mut page = format!("farwire node {} of mesh {}\n\n", shared.local.name, shared.local.mesh.name);
    for path in openapi::PATHS {
        page.push_str(path);
        page.push('\n');
    }
    page.push_str("DELETE /v1/members/{name}\n");
    page
}

async fn ready(State(shared): App) -> Response {
    match shared.unready() {
        None => "ready\n".into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

async fn metrics(State(shared): App) -> Response {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], shared.metrics.page()).into_response()
}

async fn channel(State(shared): App, Path(name): Path<String>) -> Response {
    match ChannelName::parse(&name) {
        Ok(name) => Json(views::channel(&shared, &name).await).into_response(),
        Err(error) => problem(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

async fn forget_member(State(shared): App, Path(name): Path<String>) -> Response {
    forget::answer(&shared, &name).await
}

async fn events(State(shared): App) -> Sse<impl Stream<Item = Result<axum::response::sse::Event, Infallible>>> {
    let stream = unfold(shared.events.watch(), |mut watcher| async move {
        let event = match watcher.recv().await {
            Ok(seen) => serde_json::to_string(&seen).ok()?,
            Err(RecvError::Lagged(count)) => format!("{{\"event\":\"missed\",\"count\":{count}}}"),
            Err(RecvError::Closed) => return None,
        };
        Some((Ok(axum::response::sse::Event::default().data(event)), watcher))
    });
    Sse::new(stream).keep_alive(KeepAlive::default())
}

fn problem(status: StatusCode, message: &str) -> Response {
    (status, Json(serde_json::json!({ "error": { "message": message } }))).into_response()
}
