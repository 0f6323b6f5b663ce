//! The metrics endpoint: `GET /metrics`, one request at a time.
//!
//! One thread answers one connection after the other and closes each, so a scraper that hangs costs the others a second
//! and the pipeline nothing.

use crate::{Error, Result};
use distributary_runtime::metrics::Metrics;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// How long a client may take to ask, or to take its answer.
const CLIENT_WAIT: Duration = Duration::from_secs(1);
/// A request is a line and some headers; what is longer is none of ours.
const REQUEST_BYTES_MAX: usize = 8 * 1024;

/// Starts it; returns where it listens.
pub(super) fn start(address: SocketAddr, metrics: Metrics) -> Result<SocketAddr> {
    let failed = |source| Error::Io { what: format!("listening for metrics on {address} (see `metrics_listen`)"), source };
    let listener = TcpListener::bind(address).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let serve = move || {
        for client in listener.incoming().flatten() {
            // A client that went away asks again.
            let _ = answer(client, &metrics);
        }
    };
    std::thread::Builder::new().name("metrics".into()).spawn(serve).map_err(failed)?;
    Ok(bound)
}

fn answer(mut client: TcpStream, metrics: &Metrics) -> std::io::Result<()> {
    client.set_read_timeout(Some(CLIENT_WAIT))?;
    client.set_write_timeout(Some(CLIENT_WAIT))?;
    let request = request_line(&mut client)?;
    let (status, kind, body) = respond(&request, metrics);
    let length = body.len();
    write!(client, "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

/// The first line, once the headers have ended.
fn request_line(client: &mut TcpStream) -> std::io::Result<String> {
    let (mut request, mut piece) = (Vec::new(), [0; 1024]);
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let n = client.read(&mut piece)?;
        if n == 0 || request.len() + n > REQUEST_BYTES_MAX {
            return Err(std::io::ErrorKind::InvalidData.into());
        }
        request.extend_from_slice(&piece[..n]);
    }
    Ok(String::from_utf8_lossy(&request).lines().next().unwrap_or_default().to_string())
}

fn respond(request: &str, metrics: &Metrics) -> (&'static str, &'static str, String) {
    let mut words = request.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    match (method, path.split('?').next()) {
        ("GET", Some("/metrics")) => ("200 OK", Metrics::CONTENT_TYPE, metrics.encode_text()),
        (_, Some("/metrics")) => ("405 Method Not Allowed", "text/plain", "only GET\n".into()),
        _ => ("404 Not Found", "text/plain", "the metrics are at /metrics\n".into()),
    }
}
