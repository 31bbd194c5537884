//! As much of an HTTP client as asking the admin endpoint needs.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Gets a page: its status and body. `None` while nobody listens.
///
/// # Panics
/// When the answer is not HTTP.
pub async fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    ask("GET", address, path).await
}

/// Deletes what a page stands for: the status and body of the answer. `None` while nobody listens.
///
/// # Panics
/// When the answer is not HTTP.
pub async fn delete(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    ask("DELETE", address, path).await
}

async fn ask(method: &str, address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = format!("{method} {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head and a body");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("an answer has a status");
    Some((status, body.to_owned()))
}

/// Gets a page of JSON.
///
/// # Panics
/// When nobody listens, or the answer is not JSON.
pub async fn get_json(address: SocketAddr, path: &str) -> Value {
    let (status, body) = get(address, path).await.expect("the admin endpoint listens");
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).expect("the page is JSON")
}
