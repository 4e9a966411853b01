//! One GET for a page of metrics, with what stands between the question and the page: redirects and compression.

use std::io::Read;

use clnrm_decide::{Absent, Measured};
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use hyper::HeaderMap;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, LOCATION};

use super::kind::Server;
use crate::config::definition::PAGE;
use crate::http::{self, Answer, Limits};
use crate::metrics::{MAX_ANSWER_BYTES, OwnConnections, READ_TIMEOUT};

/// How far one question is sent on.
const MAX_REDIRECTS: usize = 3;

/// The first bytes of every gzip file, RFC 1952.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

#[derive(Debug)]
pub(super) struct Page {
    url: String,
    /// Where redirects led the last time.
    resolved: Option<String>,
    /// `GET` and the URL, for messages.
    endpoint: String,
    own: OwnConnections,
    /// Requests since somebody asked for their number.
    requests: u32,
}

#[derive(Debug)]
pub(super) struct PageText {
    pub(super) text: String,
    /// Whether the server announced the length. If not, the last line may be cut off.
    pub(super) announced_its_end: bool,
}

impl Page {
    /// The page of a server: a full URL, or a path on its address.
    pub(super) fn new(server: &Server<'_>, own: OwnConnections) -> Self {
        let path_or_url = server.setting(PAGE).unwrap_or_default();
        let url = if path_or_url.contains("://") {
            path_or_url.to_owned()
        } else {
            let path = path_or_url.trim_start_matches('/');
            format!("http://{}/{path}", server.address)
        };
        Self {
            endpoint: format!("GET {url}"),
            url,
            resolved: None,
            own,
            requests: 0,
        }
    }

    /// What is asked for, for messages.
    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The paths at which the page is asked for, without their query.
    pub(super) fn paths(&self) -> Vec<String> {
        [Some(&self.url), self.resolved.as_ref()]
            .into_iter()
            .flatten()
            .map(|url| path(url).to_owned())
            .collect()
    }

    /// How many requests were sent since this was last asked.
    pub(super) fn take_requests(&mut self) -> u32 {
        std::mem::take(&mut self.requests)
    }

    /// Reads the page; every status but 200 is a failure, and redirects are followed on the same server.
    pub(super) async fn get(&mut self) -> Measured<PageText> {
        // Taken, so that after any failure the next question begins where the file says.
        let mut url = self.resolved.take().unwrap_or_else(|| self.url.clone());
        for _ in 0..=MAX_REDIRECTS {
            let answer = self.ask(&url).await?;
            match answer.status {
                200 => {
                    self.resolved = Some(url);
                    return self.text(answer);
                }
                301 | 302 | 303 | 307 | 308 => url = self.next_url(&url, &answer)?,
                status => return Err(self.unreadable(format!("answered with status {status}"))),
            }
        }
        Err(self.unreadable(format!("was redirected more than {MAX_REDIRECTS} times")))
    }

    async fn ask(&mut self, url: &str) -> Measured<Answer> {
        let limits = Limits {
            // Whoever asks has a limit for the whole of it, and must see that it was reached.
            timeout: READ_TIMEOUT * 2,
            max_body_bytes: MAX_ANSWER_BYTES,
        };
        self.requests += 1;
        http::get(url, limits, |stream| self.own.add(stream))
            .await
            .map_err(|error| Absent::unreadable(&self.endpoint, &error))
    }

    fn next_url(&self, url: &str, answer: &Answer) -> Measured<String> {
        let status = answer.status;
        let Some(location) = header(&answer.headers, &LOCATION) else {
            return Err(self.unreadable(format!(
                "answered with status {status} and does not say where it leads"
            )));
        };
        redirected(url, location).ok_or_else(|| {
            self.unreadable(format!(
                "answered with status {status}, which leads to another server: {location}"
            ))
        })
    }

    fn text(&self, answer: Answer) -> Measured<PageText> {
        let media_type = header(&answer.headers, &CONTENT_TYPE).unwrap_or_default();
        if media_type.contains("protobuf") {
            return Err(self.unreadable(format!("answered in {media_type}, which is no text")));
        }
        let announced_its_end = answer.announced_its_end();
        let body = decompressed(answer).map_err(|problem| self.unreadable(problem))?;
        let text = String::from_utf8(body)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        Ok(PageText {
            text,
            announced_its_end,
        })
    }

    /// A reason that names this endpoint.
    pub(super) fn unreadable(&self, problem: String) -> Absent {
        Absent::Unreadable {
            what: self.endpoint.clone(),
            problem,
        }
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The path of a URL, without its query.
fn path(url: &str) -> &str {
    let (_, path) = split_url(url);
    path.split(['?', '#']).next().unwrap_or(path)
}

/// Scheme and authority, and the rest from its slash on.
fn split_url(url: &str) -> (&str, &str) {
    let authority = url.find("://").map_or(0, |scheme| scheme + 3);
    let slash = (url.get(authority..))
        .and_then(|rest| rest.find('/'))
        .map(|slash| authority + slash);
    match slash.and_then(|slash| url.split_at_checked(slash)) {
        Some((server, path)) => (server, path),
        None => (url, "/"),
    }
}

/// Where a redirect leads; `None` = to another server.
fn redirected(url: &str, location: &str) -> Option<String> {
    let (server, old_path) = split_url(url);
    if location.starts_with("//") || location.contains("://") {
        let location = match location.strip_prefix("//") {
            Some(rest) => format!("http://{rest}"),
            None => location.to_owned(),
        };
        let (other, path) = split_url(&location);
        return is_same_server(server, other).then(|| format!("{server}{path}"));
    }
    if location.starts_with('/') {
        return Some(format!("{server}{location}"));
    }
    // Relative to the folder of the page.
    let old_path = old_path.split(['?', '#']).next().unwrap_or(old_path);
    let folder = old_path.rfind('/').and_then(|end| old_path.get(..=end));
    Some(format!("{server}{}{location}", folder.unwrap_or("/")))
}

/// Servers are the same by host and port; this machine has several names.
fn is_same_server(one: &str, other: &str) -> bool {
    let parts = |server: &str| {
        let (scheme, authority) = server.split_once("://")?;
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port),
            _ => (authority, "80"),
        };
        let host = match host.to_ascii_lowercase().as_str() {
            "localhost" | "127.0.0.1" | "[::1]" | "0.0.0.0" => "localhost".to_owned(),
            host => host.to_owned(),
        };
        (scheme.eq_ignore_ascii_case("http")).then(|| (host, port.to_owned()))
    };
    parts(one).is_some_and(|one| Some(one) == parts(other))
}

/// The body as it was before the server compressed it, which some do although nobody asked.
fn decompressed(answer: Answer) -> Result<Vec<u8>, String> {
    let encoding = header(&answer.headers, &CONTENT_ENCODING)
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let body = answer.body;
    match encoding.as_str() {
        "" | "identity" if body.starts_with(&GZIP_MAGIC) => whole(MultiGzDecoder::new(&*body)),
        "" | "identity" => Ok(body),
        "gzip" | "x-gzip" => whole(MultiGzDecoder::new(&*body)),
        "deflate" => whole(ZlibDecoder::new(&*body)),
        _ => Err(format!(
            "answered compressed (Content-Encoding: {encoding}), though nobody asked for that"
        )),
    }
}

fn whole(decoder: impl Read) -> Result<Vec<u8>, String> {
    let limit = u64::try_from(MAX_ANSWER_BYTES).unwrap_or(u64::MAX);
    let mut body = Vec::new();
    decoder
        .take(limit + 1)
        .read_to_end(&mut body)
        .map_err(|error| format!("answered with a page that cannot be decompressed: {error}"))?;
    if body.len() > MAX_ANSWER_BYTES {
        return Err(format!("answered with more than {MAX_ANSWER_BYTES} bytes"));
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::config::definition::ServerSpec;

    #[test]
    fn a_path_is_on_the_instance_and_a_url_stands_for_itself() {
        let page = |text| {
            let server = Server {
                address: "127.0.0.1:80",
                spec: &ServerSpec::new("nginx", [(PAGE, text)]),
            };
            Page::new(&server, OwnConnections::default())
        };
        assert_eq!(page("/m?x=/y").url, "http://127.0.0.1:80/m?x=/y");
        assert_eq!(page("/m?x=/y").paths(), ["/m"]);
        assert_eq!(page("m").endpoint, "GET http://127.0.0.1:80/m");
        assert_eq!(page("http://h:1/a/b").url, "http://h:1/a/b");
        assert_eq!(page("http://h:1/a/b").paths(), ["/a/b"]);
        assert_eq!(page("http://h:1").paths(), ["/"]);
    }

    #[test]
    fn redirects_are_followed_on_the_same_server_only() {
        for (location, expected) in [
            ("/metrics/", Some("http://127.0.0.1:80/metrics/")),
            ("metrics/", Some("http://127.0.0.1:80/a/metrics/")),
            ("http://localhost/m", Some("http://127.0.0.1:80/m")),
            ("http://127.0.0.1:80", Some("http://127.0.0.1:80/")),
            ("//127.0.0.1:80/m", Some("http://127.0.0.1:80/m")),
            ("http://127.0.0.1:81/m", None),
            ("https://127.0.0.1:80/m", None),
            ("http://example.org/m", None),
        ] {
            let next = redirected("http://127.0.0.1:80/a/m?x=1", location);
            assert_eq!(next.as_deref(), expected, "{location}");
        }
    }

    fn gzipped(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn body(encoding: Option<&'static str>, body: Vec<u8>) -> Result<Vec<u8>, String> {
        let mut headers = HeaderMap::new();
        if let Some(encoding) = encoding {
            headers.insert(CONTENT_ENCODING, encoding.parse().unwrap());
        }
        decompressed(Answer {
            status: 200,
            headers,
            body,
        })
    }

    #[test]
    fn a_compressed_page_is_read_or_named() {
        let page = b"http_requests_total 1\n".to_vec();
        assert_eq!(body(None, page.clone()), Ok(page.clone()));
        assert_eq!(body(Some("GZIP"), gzipped(&page)), Ok(page.clone()));
        assert_eq!(body(None, gzipped(&page)), Ok(page.clone()));
        let parts = [gzipped(&page), gzipped(&page)].concat();
        assert_eq!(body(Some("gzip"), parts), Ok(page.repeat(2)));
        let mut cut = gzipped(&page);
        cut.truncate(cut.len() - 3);
        assert!(
            body(Some("gzip"), cut)
                .unwrap_err()
                .contains("cannot be decompressed")
        );
        assert!(
            body(Some("br"), page)
                .unwrap_err()
                .contains("Content-Encoding: br")
        );
    }

    #[test]
    fn a_page_that_grows_without_end_is_refused() {
        let bomb = gzipped(&vec![b'\n'; MAX_ANSWER_BYTES + 1]);
        assert!(bomb.len() < 100_000);
        assert!(body(Some("gzip"), bomb).unwrap_err().contains("more than"));
    }
}
