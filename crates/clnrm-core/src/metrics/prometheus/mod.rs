//! A Prometheus endpoint: requests, errors, response times and connections under configurable names.
//!
//! Deliberately absent: the protobuf form, quantiles and buckets, PromQL.

mod counters;
mod family;
mod memory;
mod page;
mod status;
mod text;
mod unit;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use clnrm_decide::{Measured, Source};
use tokio::time::Instant;

use self::counters::{Names, counters};
use self::memory::{Memory, Visit};
use super::MetricsSource;
use super::http_get::{Page, PageText};
use super::reading::ServiceCounters;
use crate::clock::Clock;
use crate::config::definition::PrometheusSpec;

/// How often each of the first readings asks, one time right after the other: workers that answer in turn show it, and a
/// counter that counts clnrm's own requests, too.
const FIRST_VISITS: usize = 5;
/// A command that looks once makes a rate of two readings, and nothing before them tells it of other workers.
const FIRST_READINGS: usize = 2;
/// Such a reading asks no further when it took so long already.
const FIRST_VISITS_WITHIN: Duration = Duration::from_millis(250);

/// Reads a Prometheus endpoint.
#[derive(Debug)]
pub(super) struct Prometheus {
    page: Page,
    names: Names,
    memory: Memory,
    readings: usize,
    clock: Arc<dyn Clock>,
}

impl Prometheus {
    pub(super) fn new(page: Page, spec: &PrometheusSpec, clock: Arc<dyn Clock>) -> Self {
        Self {
            names: Names::new(spec),
            page,
            memory: Memory::default(),
            readings: 0,
            clock,
        }
    }

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
        let families = page::Page::read(
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
        Source::server("prometheus")
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
