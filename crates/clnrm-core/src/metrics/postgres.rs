//! PostgreSQL: transactions, rollbacks and active time from `pg_stat_database`, clients from `pg_stat_activity`.
//!
//! A request is a transaction, a failed request is one that was rolled back, and the response time is the time that
//! sessions spent executing per transaction. The server publishes a session's numbers about once per second (after its
//! last transaction, up to ten seconds later). Deliberately absent: TLS.

use async_trait::async_trait;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage, SimpleQueryRow};

use super::MetricsSource;
use super::absent::{Absent, Measured};
use super::reading::{Counter, ResponseCounter, ServiceCounters, Source};
use super::sock_diag::OwnConnections;

/// `server_version_num` style: 14 added `active_time`.
const HAS_ACTIVE_TIME: u32 = 14;
/// 15 added `pg_stat_force_next_flush`: with it our own transaction is in the next reading, not in some later one.
const HAS_FORCED_FLUSH: u32 = 15;

/// Reads the statistics views over one connection that stays open.
pub(super) struct Postgres {
    config: tokio_postgres::Config,
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

struct Session {
    client: Client,
    query: &'static str,
    /// Drives the connection; ends with this value.
    _connection: JoinSet<()>,
}

impl Postgres {
    /// `address` is host and port.
    pub(super) fn new(
        address: String,
        user: &str,
        password: Option<&String>,
        database: &str,
        own: OwnConnections,
    ) -> Self {
        let mut config = tokio_postgres::Config::new();
        config.user(user).dbname(database).application_name("clnrm");
        if let Some(password) = password {
            config.password(password);
        }
        Self {
            config,
            endpoint: format!("postgres at {address}"),
            address,
            own,
            session: None,
            own_work: OwnWork::default(),
        }
    }

    async fn connect(&mut self) -> Measured<Session> {
        let stream = TcpStream::connect(&self.address)
            .await
            .map_err(|error| Absent::unreadable(&self.endpoint, &error))?;
        self.own.add(&stream);
        let (client, connection) = self
            .config
            .connect_raw(stream, NoTls)
            .await
            .map_err(|error| self.failed(&error))?;
        // The login is a transaction of its own.
        self.own_work.transactions += 1.0;
        let version = connection.parameter("server_version").and_then(major);
        let mut connection_task = JoinSet::new();
        connection_task.spawn(async move {
            // Its errors reach whoever uses the client.
            let _ = connection.await;
        });
        Ok(Session {
            client,
            query: query_for(version.unwrap_or_default()),
            _connection: connection_task,
        })
    }

    fn failed(&self, error: &tokio_postgres::Error) -> Absent {
        Absent::unreadable(&self.endpoint, error)
    }
}

#[async_trait]
impl MetricsSource for Postgres {
    fn source(&self) -> Source {
        Source::Postgres
    }

    fn endpoint(&self) -> &str {
        &self.endpoint
    }

    async fn read(&mut self) -> Measured<ServiceCounters> {
        let session = match self.session.take() {
            Some(session) => session,
            None => self.connect().await?,
        };
        let messages = session
            .client
            .simple_query(session.query)
            .await
            .map_err(|error| self.failed(&error))?;
        let row = messages.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) if row.try_get("requests").is_ok() => Some(row),
            _ => None,
        });
        let row = row.ok_or_else(|| Absent::Unreadable {
            what: self.endpoint.clone(),
            problem: "answered without a row".to_owned(),
        })?;
        let present = OwnWork {
            transactions: 1.0,
            active_seconds: number(row, "own_active_ms").unwrap_or_default() / 1e3,
        };
        self.own_work.transactions += present.transactions;
        self.own_work.active_seconds += present.active_seconds;
        let counters = counters(row, present, self.own_work);
        self.session = Some(session);
        Ok(counters)
    }
}

/// `present` is the transaction that read the row: the server publishes it after its end, so it is added here, for the
/// next reading may be another collector's. `own` includes it.
fn counters(row: &SimpleQueryRow, present: OwnWork, own: OwnWork) -> ServiceCounters {
    let count = number(row, "requests").map(|total| Counter {
        total: total + present.transactions,
        own: own.transactions,
    });
    let active_ms = number(row, "active_ms");
    ServiceCounters {
        epoch: row.try_get("epoch").ok().flatten().map(str::to_owned),
        responses: count.clone().and_then(|count| {
            let seconds = Counter {
                total: active_ms? / 1e3 + present.active_seconds,
                own: own.active_seconds,
            };
            Ok(ResponseCounter { seconds, count })
        }),
        requests: count,
        errors: number(row, "errors").map(Counter::untouched),
        connections: number(row, "connections"),
    }
}

fn number(row: &SimpleQueryRow, column: &str) -> Measured<f64> {
    row.try_get(column)
        .ok()
        .flatten()
        .and_then(|text| text.parse().ok())
        .filter(|value: &f64| value.is_finite())
        .ok_or(Absent::NotExposed {
            source_name: Source::Postgres,
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
                "SELECT sum(xact_commit + xact_rollback) AS requests, sum(xact_rollback) AS errors, ",
                $active_ms,
                " AS active_ms, concat_ws(' ', pg_postmaster_start_time(), max(stats_reset)) AS epoch, \
                 (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' \
                 AND pid <> pg_backend_pid()) AS connections, \
                 extract(epoch FROM clock_timestamp() - statement_timestamp()) * 1000 AS own_active_ms \
                 FROM pg_stat_database"
            )
        };
    }
    if major_version >= HAS_FORCED_FLUSH {
        query!("SELECT pg_stat_force_next_flush(); ", "sum(active_time)")
    } else if major_version >= HAS_ACTIVE_TIME {
        query!("", "sum(active_time)")
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
