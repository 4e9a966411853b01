//! A Prometheus endpoint: requests, errors, response times and connections under configurable names.
//!
//! Deliberately absent: the protobuf form, quantiles and buckets, PromQL.

mod counters;
mod families;
mod family;
mod memory;
mod status;
mod text;
mod unit;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use clnrm_decide::{Measured, Source};
use tokio::time::Instant;

use self::counters::{Names, counters};
use self::families::Families;
use self::memory::{Memory, Visit};
use super::kind::ServerKind;
use super::page::{Page, PageText};
use crate::clock::Clock;
use crate::config::definition::{ServerForm, SettingForm, SettingValue};
use crate::metrics::{MetricsSource, ServiceCounters};

const NAME: &str = "prometheus";

/// The defaults are the names that most client libraries give to their HTTP metrics. Without `errors`, failed requests are
/// those whose labels say so; without `connections`, the kernel counts them.
pub(super) static KIND: ServerKind = ServerKind {
    form: ServerForm {
        name: NAME,
        alias: None,
        default_page: Some("/metrics"),
        settings: &[
            SettingForm::or("requests", SettingValue::MetricName, "http_requests_total"),
            SettingForm::optional("errors", SettingValue::MetricName),
            SettingForm::or(
                "duration",
                SettingValue::MetricName,
                "http_request_duration_seconds",
            ),
            SettingForm::optional("connections", SettingValue::MetricName),
        ],
        has_cleaner: false,
    },
    source: |server, own, clock| {
        Box::new(Prometheus {
            page: Page::new(server, own),
            names: Names::new(server.spec),
            memory: Memory::default(),
            readings: 0,
            clock,
        })
    },
    cleaner: None,
};

/// How often each of the first readings asks, one time right after the other: workers that answer in turn show it, and a
/// counter that counts clnrm's own requests, too.
const FIRST_VISITS: usize = 5;
/// A command that looks once makes a rate of two readings, and nothing before them tells it of other workers.
const FIRST_READINGS: usize = 2;
/// Such a reading asks no further when it took so long already.
const FIRST_VISITS_WITHIN: Duration = Duration::from_millis(250);

#[derive(Debug)]
struct Prometheus {
    page: Page,
    names: Names,
    memory: Memory,
    readings: usize,
    clock: Arc<dyn Clock>,
}

impl Prometheus {
    async fn visit(&mut self, is_repeat: bool) -> Measured<ServiceCounters> {
        let page = self.page.get().await?;
        let mut counters = self.read_page(&page);
        let visit = Visit {
            at: Instant::now(),
            own_requests: f64::from(self.page.take_requests()),
            is_repeat,
        };
        self.memory.complete(&mut counters, visit);
        Ok(counters)
    }

    fn read_page(&self, page: &PageText) -> ServiceCounters {
        let families = Families::read(
            &page.text,
            page.announced_its_end,
            self.names.all(),
            &self.page.paths(),
        );
        counters(&families, &self.names, self.clock.now())
    }
}

#[async_trait]
impl MetricsSource for Prometheus {
    fn source(&self) -> Source {
        Source::server(NAME)
    }

    fn endpoint(&self) -> &str {
        self.page.endpoint()
    }

    async fn read(&mut self) -> Measured<ServiceCounters> {
        let begun = Instant::now();
        let mut counters = self.visit(false).await?;
        if self.readings < FIRST_READINGS {
            self.readings += 1;
            for _ in 1..FIRST_VISITS {
                if begun.elapsed() >= FIRST_VISITS_WITHIN {
                    break;
                }
                counters = self.visit(true).await?;
            }
        }
        Ok(counters)
    }
}

#[cfg(test)]
mod tests;
