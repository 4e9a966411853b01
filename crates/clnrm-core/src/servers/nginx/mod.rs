//! nginx, whose `stub_status` has requests and connections, and neither errors nor latency.

use async_trait::async_trait;
use clnrm_decide::{Absent, Measured, Source};

use super::kind::ServerKind;
use super::page::Page;
use crate::config::definition::ServerForm;
use crate::metrics::{Counter, MetricsSource, ServiceCounters};

const NAME: &str = "nginx";

pub(super) static KIND: ServerKind = ServerKind {
    form: ServerForm {
        name: NAME,
        alias: None,
        default_page: Some("/nginx_status"),
        settings: &[],
        has_cleaner: false,
    },
    source: |server, own, _| {
        Box::new(Nginx {
            page: Page::new(server, own),
            own_requests: 0.0,
        })
    },
    cleaner: None,
};

/// Reads `stub_status`.
#[derive(Debug)]
struct Nginx {
    page: Page,
    /// Requests that we sent: nginx counts them like any other, the present one included.
    own_requests: f64,
}

#[async_trait]
impl MetricsSource for Nginx {
    fn source(&self) -> Source {
        Source::server(NAME)
    }

    fn endpoint(&self) -> &str {
        self.page.endpoint()
    }

    async fn read(&mut self) -> Measured<ServiceCounters> {
        let page = self.page.get().await;
        // Also those of a reading that failed.
        self.own_requests += f64::from(self.page.take_requests());
        let page = page?;
        let status = StubStatus::parse(&page.text)
            .ok_or_else(|| self.page.unreadable("is not a stub_status page".to_owned()))?;
        let not_exposed = || Absent::NotExposed {
            source_name: Source::server(NAME),
        };
        Ok(ServiceCounters {
            epoch: None, // a reload keeps the counters, and a restart is seen as a counter that went down
            started_at_seconds: None,
            witness: None,
            requests: Ok(Counter::with_own(status.requests, self.own_requests)),
            errors: Err(not_exposed()),
            responses: Err(not_exposed()),
            connections: Ok((status.active - 1.0).max(0.0)), // without ours
        })
    }
}

/// The two numbers of the page that we need.
#[derive(Debug, PartialEq)]
struct StubStatus {
    active: f64,
    requests: f64,
}

impl StubStatus {
    /// ```text
    /// Active connections: 291
    /// server accepts handled requests
    ///  16630948 16630948 31070465
    /// Reading: 6 Writing: 179 Waiting: 106
    /// ```
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let active = lines.next()?.strip_prefix("Active connections:")?;
        lines.next().filter(|line| line.starts_with("server "))?;
        let requests = lines.next()?.split_whitespace().nth(2)?;
        lines.next().filter(|line| line.starts_with("Reading:"))?;
        Some(Self {
            active: count(active)?,
            requests: count(requests)?,
        })
    }
}

fn count(text: &str) -> Option<f64> {
    let count: u64 = text.trim().parse().ok()?;
    // Counters stay exact as `f64` up to 2⁵³.
    #[expect(clippy::cast_precision_loss, reason = "see above")]
    Some(count as f64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAGE: &str = "Active connections: 291 \nserver accepts handled requests\n 16630948 16630947 31070465 \n\
                        Reading: 6 Writing: 179 Waiting: 106 \n";

    #[test]
    fn reads_the_page_that_nginx_writes() {
        let expected = StubStatus {
            active: 291.0,
            requests: 31_070_465.0,
        };
        assert_eq!(StubStatus::parse(PAGE), Some(expected));
    }

    #[test]
    fn a_page_that_is_cut_off_or_another_one_is_refused() {
        for end in 0..PAGE.find("Reading:").unwrap() {
            assert_eq!(StubStatus::parse(&PAGE[..end]), None, "cut at {end}");
        }
        assert_eq!(StubStatus::parse("<html>404</html>"), None);
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "(Active connections:)?[ -9\n]{0,80}.{0,20}") {
            StubStatus::parse(&text);
        }
    }
}
