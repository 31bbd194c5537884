//! A small HTTP/1.1 client for admin endpoints and the control of `farwire up`: one request per connection, JSON both ways.
//!
//! Not for anything else: no TLS, no redirects, no proxies. Invariants: a call ends within its time, and keeps at most
//! [`ANSWER_BYTES_MAX`] of an answer; only a [`Stream`] goes on, and keeps nothing. An answer of any status is an answer;
//! only its absence is an error.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// What the other side said.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// The status, whatever it is.
    pub(crate) status: StatusCode,
    /// The body, whole.
    pub(crate) body: Bytes,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Errors
    /// `NotJson` when it is something else.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, HttpError> {
        serde_json::from_slice(&self.body).map_err(HttpError::NotJson)
    }
}

/// An answer that comes piece by piece, for as long as this is held.
#[derive(Debug)]
pub(crate) struct Stream {
    /// The status, whatever it is.
    pub(crate) status: StatusCode,
    body: Incoming,
    /// What moves the bytes.
    _connection: JoinSet<()>,
}

impl Stream {
    /// The next bytes; none at the end. Waits as long as it takes. Cancel safe.
    ///
    /// # Errors
    /// `Exchange` when the connection broke.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, HttpError> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|err| HttpError::Exchange(err.into()))?;
            if let Ok(bytes) = frame.into_data() {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum HttpError {
    /// Not `http://host:port/path`. Nothing was sent.
    Address(String),
    /// Nobody listens there. Nothing was sent.
    Connect(io::Error),
    /// The connection broke, or what came was not HTTP. The request may have been carried out.
    Exchange(Box<dyn std::error::Error + Send + Sync>),
    /// No whole answer within the time. The request may have been carried out.
    TimedOut,
    /// The answer is not the JSON that was expected.
    NotJson(serde_json::Error),
}

impl std::error::Error for HttpError {}

impl std::fmt::Display for HttpError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(url) => {
                write!(f, "\"{}\" is not an address like http://127.0.0.1:7480/v1/mesh", url.escape_debug())
            }
            Self::Connect(err) => write!(f, "nobody answers: {err}"),
            Self::Exchange(err) => write!(f, "the connection broke: {err}"),
            Self::TimedOut => f.write_str("no answer in time"),
            Self::NotJson(err) => write!(f, "the answer is not the JSON that was expected: {err}"),
        }
    }
}

/// Reads `url` within `patience`. Cancel safe.
///
/// # Errors
/// When there is no answer.
pub(crate) async fn get(url: &str, patience: Duration) -> Result<Answer, HttpError> {
    request(Method::GET, url, Bytes::new(), patience).await
}

/// Sends `body` to `url` and waits up to `patience` for the answer. Not cancel safe: the request may have been carried out.
///
/// # Errors
/// When there is no answer.
pub(crate) async fn post(url: &str, body: &impl Serialize, patience: Duration) -> Result<Answer, HttpError> {
    let body = serde_json::to_vec(body).map_err(|err| HttpError::Exchange(err.into()))?;
    request(Method::POST, url, body.into(), patience).await
}

/// Deletes what is at `url` and waits up to `patience` for the answer. Not cancel safe: it may have been deleted.
///
/// # Errors
/// When there is no answer.
pub(crate) async fn delete(url: &str, patience: Duration) -> Result<Answer, HttpError> {
    request(Method::DELETE, url, Bytes::new(), patience).await
}

/// Begins to read `url`; the head of the answer comes within `patience`. Cancel safe.
///
/// # Errors
/// When there is no answer.
pub(crate) async fn stream(url: &str, patience: Duration) -> Result<Stream, HttpError> {
    let (authority, request) =
        prepare(Method::GET, url, Bytes::new()).ok_or_else(|| HttpError::Address(url.to_owned()))?;
    let failed = |err: hyper::Error| HttpError::Exchange(err.into());
    let head = async {
        let stream = TcpStream::connect(authority).await.map_err(HttpError::Connect)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
        let mut moving = JoinSet::new();
        // What goes wrong with the connection also comes out of the body.
        moving.spawn(async move { drop(connection.await) });
        let (head, body) = sender.send_request(request).await.map_err(failed)?.into_parts();
        Ok(Stream { status: head.status, body, _connection: moving })
    };
    tokio::time::timeout(patience, head).await.unwrap_or(Err(HttpError::TimedOut))
}

async fn request(method: Method, url: &str, body: Bytes, patience: Duration) -> Result<Answer, HttpError> {
    let (authority, request) = prepare(method, url, body).ok_or_else(|| HttpError::Address(url.to_owned()))?;
    tokio::time::timeout(patience, exchange(&authority, request)).await.unwrap_or(Err(HttpError::TimedOut))
}

fn prepare(method: Method, url: &str, body: Bytes) -> Option<(String, Request<Full<Bytes>>)> {
    let uri: Uri = url.parse().ok()?;
    let authority =
        uri.authority().filter(|authority| uri.scheme_str() == Some("http") && authority.port().is_some())?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, authority.as_str())
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONNECTION, "close");
    Some((authority.to_string(), request.body(Full::new(body)).ok()?))
}

async fn exchange(authority: &str, request: Request<Full<Bytes>>) -> Result<Answer, HttpError> {
    let stream = TcpStream::connect(authority).await.map_err(HttpError::Connect)?;
    let failed = |err: hyper::Error| HttpError::Exchange(err.into());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let answer = async move {
        let response = sender.send_request(request).await.map_err(failed)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(HttpError::Exchange)?;
        Ok(Answer { status, body: body.to_bytes() })
    };
    // The connection moves the bytes; what goes wrong with it also comes out of the answer.
    let (answer, _) = futures_util::future::join(answer, connection).await;
    answer
}

/// The largest answer is `/v1/channels` of a busy node.
const ANSWER_BYTES_MAX: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing;
    use axum::{Json, Router};
    use serde_json::{Value, json};

    const PATIENCE: Duration = Duration::from_secs(10);

    async fn serve() -> String {
        let echo = |Json(body): Json<Value>| async move { (StatusCode::CREATED, Json(json!({ "got": body }))) };
        let router = Router::new()
            .route("/echo", routing::post(echo))
            .route("/gone", routing::get(StatusCode::GONE).delete(StatusCode::NO_CONTENT))
            .route("/never", routing::get(std::future::pending::<StatusCode>))
            .route("/large", routing::get(|| async { vec![b'x'; ANSWER_BYTES_MAX + 1] }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}")
    }

    #[tokio::test]
    async fn json_goes_there_and_back() {
        let url = serve().await + "/echo";
        let answer = post(&url, &json!({ "a": 1 }), PATIENCE).await.expect("an answer");
        assert_eq!(answer.status, StatusCode::CREATED);
        assert_eq!(answer.json::<Value>().expect("JSON"), json!({ "got": { "a": 1 } }));
    }

    #[tokio::test]
    async fn any_status_is_an_answer() {
        let url = serve().await + "/gone";
        let gone = get(&url, PATIENCE).await.expect("an answer");
        assert_eq!((gone.status, gone.body.is_empty()), (StatusCode::GONE, true));
        assert!(matches!(gone.json::<Value>(), Err(HttpError::NotJson(_))));
        assert_eq!(delete(&url, PATIENCE).await.expect("an answer").status, StatusCode::NO_CONTENT);
    }

    #[tokio::test]
    async fn a_stream_is_read_to_its_end_and_its_head_comes_in_time() {
        let base = serve().await;
        let mut large = stream(&format!("{base}/large"), PATIENCE).await.expect("an answer");
        let mut bytes = 0;
        while let Some(part) = large.next().await.expect("a part") {
            bytes += part.len();
        }
        assert_eq!((large.status, bytes), (StatusCode::OK, ANSWER_BYTES_MAX + 1));
        let never = stream(&format!("{base}/never"), Duration::from_millis(20)).await;
        assert!(matches!(never, Err(HttpError::TimedOut)), "{never:?}");
    }

    #[tokio::test]
    async fn a_call_ends_without_an_answer() {
        let base = serve().await;
        let never = get(&format!("{base}/never"), Duration::from_millis(20)).await;
        assert!(matches!(never, Err(HttpError::TimedOut)), "{never:?}");
        let large = get(&format!("{base}/large"), PATIENCE).await;
        assert!(matches!(large, Err(HttpError::Exchange(_))));
        let unused =
            tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port").local_addr().expect("bound");
        assert!(matches!(get(&format!("http://{unused}/"), PATIENCE).await, Err(HttpError::Connect(_))));
        for bad in ["", "127.0.0.1:1", "https://a:1/", "http://a/", "http://a:1/ b"] {
            assert!(matches!(get(bad, PATIENCE).await, Err(HttpError::Address(_))), "{bad}");
        }
    }
}
