//! Transactions, rollbacks and active time from `pg_stat_database`, clients from `pg_stat_activity`.
//!
//! A request is a transaction, a failed request is one that was rolled back, and the response time is the time that
//! sessions spent executing per transaction. The server publishes a session's numbers about once per second (after its
//! last transaction, up to ten seconds later).

use std::collections::HashMap;

use async_trait::async_trait;
use clnrm_decide::{Absent, Measured, Source};
use tokio_postgres::{SimpleQueryMessage, SimpleQueryRow};

use super::connection::Session;
use crate::clock::Timestamp;
use crate::config::definition::ServerSpec;
use crate::metrics::{
    Counter, MetricsSource, OwnConnections, ResponseCounter, Series, SeriesKey, ServiceCounters,
};
use crate::servers::kind::Server;

/// As test files call it.
pub(super) const NAME: &str = "postgres";

/// `server_version_num` style: 14 added `active_time`.
const HAS_ACTIVE_TIME: u32 = 14;
/// 15 added `pg_stat_force_next_flush`: with it our own transaction is in the next reading, not in some later one.
const HAS_FORCED_FLUSH: u32 = 15;

/// Reads the statistics views over one connection that stays open.
pub(super) struct PostgresMetrics {
    spec: ServerSpec,
    address: String,
    endpoint: String,
    own: OwnConnections,
    session: Option<Session>,
    own_work: OwnWork,
}

/// What our reading adds to what is read.
#[derive(Debug, Clone, Copy, Default)]
struct OwnWork {
    transactions: f64,
    active_seconds: f64,
}

impl PostgresMetrics {
    pub(super) fn new(server: &Server<'_>, own: OwnConnections) -> Self {
        Self {
            spec: server.spec.clone(),
            address: server.address.to_owned(),
            endpoint: format!("{NAME} at {}", server.address),
            own,
            session: None,
            own_work: OwnWork::default(),
        }
    }

    async fn connect(&mut self) -> Measured<Session> {
        let server = Server {
            address: &self.address,
            spec: &self.spec,
        };
        let database = server.setting("database").unwrap_or_default();
        let session = Session::open(&server, database, |stream| self.own.add(stream))
            .await
            .map_err(|error| self.failed(&error))?;
        // The login is a transaction of its own.
        self.own_work.transactions += 1.0;
        Ok(session)
    }

    fn failed(&self, error: &dyn std::error::Error) -> Absent {
        Absent::unreadable(&self.endpoint, error)
    }
}

#[async_trait]
impl MetricsSource for PostgresMetrics {
    fn source(&self) -> Source {
        Source::server(NAME)
    }

    fn endpoint(&self) -> &str {
        &self.endpoint
    }

    async fn read(&mut self) -> Measured<ServiceCounters> {
        let session = match self.session.take() {
            Some(session) => session,
            None => self.connect().await?,
        };
        let version = session.server_version.as_deref().and_then(major);
        let messages = session
            .client
            .simple_query(query_for(version.unwrap_or_default()))
            .await
            .map_err(|error| self.failed(&error))?;
        let statistics = Statistics::of(&messages).ok_or_else(|| Absent::Unreadable {
            what: self.endpoint.clone(),
            problem: "answered without a row".to_owned(),
        })?;
        let present = OwnWork {
            transactions: 1.0,
            active_seconds: number(statistics.server, "own_active_ms").unwrap_or_default() / 1e3,
        };
        self.own_work.transactions += present.transactions;
        self.own_work.active_seconds += present.active_seconds;
        let mut counters = statistics.counters(present, self.own_work);
        if !statistics.shows_all_sessions() {
            counters.connections = Err(Absent::NotGranted {
                role: self.spec.setting("user").unwrap_or_default().to_owned(),
                grant: "pg_monitor".to_owned(),
            });
        }
        self.session = Some(session);
        Ok(counters)
    }
}

/// What one look at the views yields.
struct Statistics<'a> {
    databases: Vec<&'a SimpleQueryRow>,
    server: &'a SimpleQueryRow,
}

impl<'a> Statistics<'a> {
    fn of(messages: &'a [SimpleQueryMessage]) -> Option<Self> {
        let rows = |column: &'static str| {
            messages.iter().filter_map(move |message| match message {
                SimpleQueryMessage::Row(row) if row.try_get(column).is_ok() => Some(row),
                _ => None,
            })
        };
        Some(Self {
            databases: rows("requests").collect(),
            server: rows("epoch").next()?,
        })
    }

    /// A role sees the sessions of others only if it was granted that.
    fn shows_all_sessions(&self) -> bool {
        text(self.server, "shows_all_sessions") == Some("t")
    }

    /// `present` is the transaction that read the rows: the server publishes it after its end, but the next reading
    /// may be another collector's. `own` includes it.
    fn counters(&self, present: OwnWork, own: OwnWork) -> ServiceCounters {
        let requests = self.series("requests").map(|series| Counter {
            own: own.transactions,
            unpublished: present.transactions,
            ..Counter::of_series(series)
        });
        let seconds = self.series("active_ms").map(|series| Counter {
            own: own.active_seconds,
            unpublished: present.active_seconds,
            ..Counter::of_series(series.scaled(1e-3))
        });
        ServiceCounters {
            epoch: text(self.server, "epoch").map(str::to_owned),
            started_at_seconds: None,
            witness: None,
            responses: seconds.and_then(|seconds| {
                Ok(ResponseCounter {
                    seconds,
                    count: requests.clone()?,
                })
            }),
            requests,
            errors: self.series("errors").map(Counter::of_series),
            connections: number(self.server, "connections"),
        }
    }

    /// One counter of every database. A database whose statistics were reset is another series, which began then.
    fn series(&self, column: &str) -> Measured<Series> {
        let mut values = Vec::with_capacity(self.databases.len());
        let mut resets = HashMap::new();
        for row in &self.databases {
            let key = SeriesKey::EMPTY
                .with(text(row, "datid").unwrap_or_default())
                .with(text(row, "reset_at").unwrap_or_default())
                .value();
            values.push((key, number(row, column)?));
            if let Ok(reset_at) = number(row, "reset_at") {
                resets.insert(key, reset_at);
            }
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a time in milliseconds fits for millions of years"
        )]
        let now = Timestamp::from_millis((number(self.server, "now")? * 1e3) as i64);
        Ok(Series::new(values).created(&resets, now))
    }
}

fn text<'a>(row: &'a SimpleQueryRow, column: &str) -> Option<&'a str> {
    row.try_get(column).ok().flatten()
}

fn number(row: &SimpleQueryRow, column: &str) -> Measured<f64> {
    text(row, column)
        .and_then(|text| text.parse().ok())
        .filter(|value: &f64| value.is_finite())
        .ok_or(Absent::NotExposed {
            source_name: Source::server(NAME),
        })
}

/// The first number of `15.18 (Debian …)` or `16beta1`.
fn major(version: &str) -> Option<u32> {
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// One statement string is one transaction, whatever it holds.
fn query_for(major_version: u32) -> &'static str {
    /// Everything but `active_ms`; `own_active_ms` stands last, so that it covers the work for the others.
    macro_rules! query {
        ($first:literal, $active_ms:literal) => {
            concat!(
                $first,
                "SELECT datid, extract(epoch FROM stats_reset) AS reset_at, \
                 xact_commit + xact_rollback AS requests, xact_rollback AS errors, ",
                $active_ms,
                " AS active_ms FROM pg_stat_database; \
                 SELECT extract(epoch FROM pg_postmaster_start_time()) AS epoch, extract(epoch FROM now()) AS now, \
                 pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS shows_all_sessions, \
                 (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' \
                 AND pid <> pg_backend_pid()) AS connections, \
                 extract(epoch FROM clock_timestamp() - statement_timestamp()) * 1000 AS own_active_ms"
            )
        };
    }
    if major_version >= HAS_FORCED_FLUSH {
        query!("SELECT pg_stat_force_next_flush(); ", "active_time")
    } else if major_version >= HAS_ACTIVE_TIME {
        query!("", "active_time")
    } else {
        query!("", "NULL")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_fits_the_version() {
        assert_eq!(major("15.18 (Debian 15.18-0+deb12u1)"), Some(15));
        assert_eq!(major("16beta1"), Some(16));
        assert_eq!(major("devel"), None);
        assert!(query_for(15).contains("force_next_flush"));
        assert!(!query_for(14).contains("force_next_flush"));
        assert!(query_for(14).contains("active_time"));
        assert!(!query_for(13).contains("active_time"));
    }
}
