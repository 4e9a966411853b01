//! One GET for a page of metrics.

use super::absent::{Absent, Measured};
use super::sock_diag::OwnConnections;
use super::{MAX_ANSWER_BYTES, READ_TIMEOUT};
use crate::http::{self, Limits};

/// An endpoint over HTTP.
#[derive(Debug)]
pub(super) struct Page {
    url: String,
    /// `GET` and the URL, for messages.
    pub(super) endpoint: String,
    own: OwnConnections,
}

/// What the endpoint answered.
#[derive(Debug)]
pub(super) struct PageText {
    pub(super) text: String,
    /// Whether the server announced the length. If not, the last line may be cut off.
    pub(super) announced_its_end: bool,
}

impl Page {
    /// `path_or_url` is a full URL, or a path on `address`.
    pub(super) fn new(path_or_url: &str, address: &str, own: OwnConnections) -> Self {
        let url = if path_or_url.contains("://") {
            path_or_url.to_owned()
        } else {
            format!("http://{address}/{}", path_or_url.trim_start_matches('/'))
        };
        Self {
            endpoint: format!("GET {url}"),
            url,
            own,
        }
    }

    /// The path of the URL, without its query.
    pub(super) fn path(&self) -> &str {
        let after_scheme = self.url.split_once("://").map_or("", |(_, rest)| rest);
        let path = after_scheme
            .find('/')
            .and_then(|start| after_scheme.get(start..))
            .unwrap_or("/");
        path.split(['?', '#']).next().unwrap_or(path)
    }

    /// Reads the page; every status but 200 is a failure.
    pub(super) async fn get(&self) -> Measured<PageText> {
        let limits = Limits {
            // Whoever asks has a limit for the whole of it, and must see that it was reached.
            timeout: READ_TIMEOUT * 2,
            max_body_bytes: MAX_ANSWER_BYTES,
        };
        let answer = http::get(&self.url, limits, |stream| self.own.add(stream))
            .await
            .map_err(|error| Absent::unreadable(&self.endpoint, &error))?;
        if answer.status != 200 {
            return Err(self.unreadable(format!("answered with status {}", answer.status)));
        }
        Ok(PageText {
            announced_its_end: answer.announced_its_end(),
            text: String::from_utf8_lossy(&answer.body).into_owned(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_on_the_instance_and_a_url_stands_for_itself() {
        let page = |text| Page::new(text, "127.0.0.1:80", OwnConnections::default());
        assert_eq!(page("/m?x=/y").url, "http://127.0.0.1:80/m?x=/y");
        assert_eq!(page("/m?x=/y").path(), "/m");
        assert_eq!(page("m").endpoint, "GET http://127.0.0.1:80/m");
        assert_eq!(page("http://h:1/a/b").url, "http://h:1/a/b");
        assert_eq!(page("http://h:1/a/b").path(), "/a/b");
        assert_eq!(page("http://h:1").path(), "/");
    }
}
