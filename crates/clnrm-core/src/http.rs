//! One small HTTP/1.1 request: for readiness checks, metrics and HTTP steps.
//!
//! Deliberately absent: TLS, redirects, connection reuse and proxies. Services are local, and a test must see
//! exactly what the server answered.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use hyper::{HeaderMap, Response, Uri};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// How long and how large an exchange may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest time from the first packet to the last byte of the body.
    pub timeout: Duration,
    /// Largest body in bytes.
    pub max_body_bytes: usize,
}

/// What the server answered, whatever the status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    /// Whether the server announced where the body ends. If not, a body that was cut off looks complete.
    pub fn announced_its_end(&self) -> bool {
        self.headers.contains_key(CONTENT_LENGTH) || self.headers.contains_key(TRANSFER_ENCODING)
    }
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum HttpError {
    /// The URL cannot be read, or has no host.
    #[error("`{url}` is not a URL such as http://127.0.0.1:8080/path")]
    InvalidUrl { url: String },
    /// Only `http://` is spoken.
    #[error("`{url}` needs {scheme}, which is not supported: only http:// is")]
    NotSupported { url: String, scheme: String },
    /// The method, a header name or a header value holds characters that HTTP forbids.
    #[error("the request is not valid HTTP")]
    InvalidRequest {
        /// What is wrong with it.
        source: hyper::http::Error,
    },
    #[error("no connection to {address}")]
    Connect {
        /// Host and port.
        address: String,
        source: io::Error,
    },
    /// The limit in time was reached.
    #[error("timed out after {} s", .after.as_secs_f64())]
    TimedOut { after: Duration },
    /// The limit in size was reached.
    #[error("answered with more than {limit_bytes} bytes")]
    TooLarge { limit_bytes: usize },
    /// The connection ended too early, or what came is not HTTP.
    #[error("the answer is cut off or is not HTTP")]
    Broken {
        /// What the HTTP library found.
        source: hyper::Error,
    },
}

/// Sends one request over a connection of its own and reads the whole answer.
///
/// `headers` are added to `Host` and `Content-Length`, which are set from `url` and `body`.
///
/// Errors: see [`HttpError`]; an answer with status 500 is an answer.
pub async fn request(
    method: &str,
    url: &str,
    headers: &BTreeMap<String, String>,
    body: Vec<u8>,
    limits: Limits,
) -> Result<Answer, HttpError> {
    let mut request = hyper::Request::builder().method(method);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request
        .body(Full::new(Bytes::from(body)))
        .map_err(|source| HttpError::InvalidRequest { source })?;
    send(url, request, limits, |_| ()).await
}

/// Sends a GET. `connected` is called with the connection before anything is sent.
///
/// Errors: as [`request`].
pub(crate) async fn get(
    url: &str,
    limits: Limits,
    connected: impl FnOnce(&TcpStream),
) -> Result<Answer, HttpError> {
    send(url, hyper::Request::new(Full::default()), limits, connected).await
}

async fn send(
    url: &str,
    mut request: hyper::Request<Full<Bytes>>,
    limits: Limits,
    connected: impl FnOnce(&TcpStream),
) -> Result<Answer, HttpError> {
    let destination = Destination::parse(url)?;
    *request.uri_mut() = destination.path;
    let exchange = async {
        let address = (destination.host.as_str(), destination.port);
        let stream = TcpStream::connect(address)
            .await
            .map_err(|source| HttpError::Connect {
                address: destination.authority.clone(),
                source,
            })?;
        connected(&stream);
        if !request.headers().contains_key(HOST) {
            let host = destination
                .authority
                .parse()
                .map_err(|_| HttpError::InvalidUrl {
                    url: url.to_owned(),
                })?;
            request.headers_mut().insert(HOST, host);
        }
        exchange(stream, request, limits.max_body_bytes).await
    };
    tokio::time::timeout(limits.timeout, exchange)
        .await
        .unwrap_or(Err(HttpError::TimedOut {
            after: limits.timeout,
        }))
}

#[derive(Debug)]
struct Destination {
    /// Without the brackets of an IPv6 address.
    host: String,
    port: u16,
    /// Host and port as they stand in the URL.
    authority: String,
    /// Path and query.
    path: Uri,
}

impl Destination {
    fn parse(url: &str) -> Result<Self, HttpError> {
        let invalid = || HttpError::InvalidUrl {
            url: url.to_owned(),
        };
        let uri: Uri = url.parse().map_err(|_| invalid())?;
        match uri.scheme_str() {
            Some("http") => {}
            Some(scheme) => {
                return Err(HttpError::NotSupported {
                    url: url.to_owned(),
                    scheme: scheme.to_owned(),
                });
            }
            None => return Err(invalid()),
        }
        let host = uri
            .host()
            .filter(|host| !host.is_empty())
            .ok_or_else(invalid)?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            host: host
                .trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned(),
            port: uri.port_u16().unwrap_or(80),
            authority: match uri.port_u16() {
                Some(port) => format!("{host}:{port}"),
                None => host.to_owned(),
            },
            path: path.parse().map_err(|_| invalid())?,
        })
    }
}

async fn exchange(
    stream: TcpStream,
    request: hyper::Request<Full<Bytes>>,
    max_body_bytes: usize,
) -> Result<Answer, HttpError> {
    let broken = |source| HttpError::Broken { source };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    // A set of one: the connection is closed when this function returns or is cancelled.
    let mut connection_task = JoinSet::new();
    connection_task.spawn(connection);
    let response = sender.send_request(request).await.map_err(broken)?;
    read_answer(response, max_body_bytes).await
}

async fn read_answer(
    response: Response<Incoming>,
    max_body_bytes: usize,
) -> Result<Answer, HttpError> {
    let (head, mut incoming) = response.into_parts();
    let mut body = Vec::new();
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(|source| HttpError::Broken { source })?;
        let Some(data) = frame.data_ref() else {
            continue;
        };
        if body.len() + data.len() > max_body_bytes {
            return Err(HttpError::TooLarge {
                limit_bytes: max_body_bytes,
            });
        }
        body.extend_from_slice(data);
    }
    Ok(Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        body,
    })
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const LIMITS: Limits = Limits {
        timeout: Duration::from_secs(10),
        max_body_bytes: 1_000,
    };

    /// Answers one connection with fixed bytes and returns the URL and what the client sent.
    async fn serve(answer: &'static [u8]) -> (String, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/a?b=1", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut received = Vec::new();
            while !received.windows(4).any(|window| window == b"\r\n\r\n") {
                if stream.read_buf(&mut received).await.unwrap() == 0 {
                    break;
                }
            }
            stream.write_all(answer).await.unwrap();
            String::from_utf8(received).unwrap()
        });
        (url, server)
    }

    async fn get_once(answer: &'static [u8], limits: Limits) -> Result<Answer, HttpError> {
        let (url, _server) = serve(answer).await;
        request("GET", &url, &BTreeMap::new(), Vec::new(), limits).await
    }

    #[tokio::test]
    async fn sends_method_path_headers_and_host() {
        let (url, server) =
            serve(b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\nx-y: z\r\n\r\nno").await;
        let headers = BTreeMap::from([("x-a".to_owned(), "b".to_owned())]);
        let answer = request("PUT", &url, &headers, b"hello".to_vec(), LIMITS)
            .await
            .unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (404, &b"no"[..]));
        assert_eq!(answer.headers["x-y"], "z");
        let sent = server.await.unwrap().to_lowercase();
        assert!(sent.starts_with("put /a?b=1 http/1.1\r\n"), "{sent}");
        for line in ["x-a: b\r\n", "host: 127.0.0.1:", "content-length: 5\r\n"] {
            assert!(sent.contains(line), "{sent}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_cut_off_huge_or_garbage_is_an_error() {
        let cut_off = get_once(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", LIMITS).await;
        assert!(
            matches!(cut_off, Err(HttpError::Broken { .. })),
            "{cut_off:?}"
        );
        let garbage = get_once(b"\x00\x01\x02garbage\r\n\r\n", LIMITS).await;
        assert!(
            matches!(garbage, Err(HttpError::Broken { .. })),
            "{garbage:?}"
        );
        let small = Limits {
            max_body_bytes: 3,
            ..LIMITS
        };
        let huge = get_once(b"HTTP/1.1 200 OK\r\n\r\nabcd", small).await;
        assert!(
            matches!(huge, Err(HttpError::TooLarge { limit_bytes: 3 })),
            "{huge:?}"
        );
    }

    #[tokio::test]
    async fn a_silent_server_times_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let limits = Limits {
            timeout: Duration::from_millis(20),
            ..LIMITS
        };
        let error = request("GET", &url, &BTreeMap::new(), Vec::new(), limits)
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "timed out after 0.02 s");
    }

    #[tokio::test]
    async fn only_complete_http_urls_are_accepted() {
        let fetch = |url: &'static str| async move {
            request("GET", url, &BTreeMap::new(), Vec::new(), LIMITS)
                .await
                .unwrap_err()
        };
        assert!(matches!(
            fetch("https://localhost/").await,
            HttpError::NotSupported { .. }
        ));
        for url in ["", "/path", "localhost:80", "http://", "http://a b/"] {
            let error = fetch(url).await;
            assert!(
                matches!(
                    error,
                    HttpError::InvalidUrl { .. } | HttpError::NotSupported { .. }
                ),
                "{url}: {error:?}"
            );
        }
    }

    #[test]
    fn ipv6_hosts_lose_their_brackets_for_the_connection_only() {
        let destination = Destination::parse("http://[::1]:81/x?y").unwrap();
        assert_eq!(destination.host, "::1");
        assert_eq!(destination.authority, "[::1]:81");
        assert_eq!(destination.path, "/x?y");
        assert_eq!(Destination::parse("http://h").unwrap().port, 80);
    }
}
