//! memcached: its own `stats`, over one connection that stays open.
//!
//! Deliberately absent: SASL, and a way to clean. `flush_all` leaves items where they are until somebody asks for them, so
//! that no count could prove it.

use std::collections::HashMap;
use std::io;

use async_trait::async_trait;
use clnrm_decide::{Absent, Measured, Source};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::kind::ServerKind;
use crate::config::definition::ServerForm;
use crate::metrics::{Counter, MAX_ANSWER_BYTES, MetricsSource, OwnConnections, ServiceCounters};

const NAME: &str = "memcached";

pub(super) static KIND: ServerKind = ServerKind {
    form: ServerForm {
        name: NAME,
        alias: None,
        default_page: None,
        settings: &[],
        has_cleaner: false,
    },
    source: |server, own, _| {
        Box::new(Memcached {
            address: server.address.to_owned(),
            endpoint: format!("{NAME} at {}", server.address),
            own,
            connection: None,
        })
    },
    cleaner: None,
};

/// What is a request. `touch` is not among them, because `gat` counts as one and as a get; nor is `mg`, which is nowhere.
const REQUESTS: [&str; 8] = [
    "cmd_get",
    "cmd_set",
    "delete_hits",
    "delete_misses",
    "incr_hits",
    "incr_misses",
    "decr_hits",
    "decr_misses",
];

/// Reads `stats`, which counts no request of its own.
#[derive(Debug)]
struct Memcached {
    address: String,
    endpoint: String,
    own: OwnConnections,
    connection: Option<TcpStream>,
}

impl Memcached {
    async fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(&self.address).await?;
        self.own.add(&stream);
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    fn unreadable(&self, problem: impl Into<String>) -> Absent {
        Absent::Unreadable {
            what: self.endpoint.clone(),
            problem: problem.into(),
        }
    }

    /// The whole answer to `stats`.
    async fn ask(&self, stream: &mut TcpStream) -> Measured<String> {
        let failed = |error: io::Error| self.unreadable(format!("failed: {error}"));
        stream.write_all(b"stats\r\n").await.map_err(failed)?;
        let mut answer = Vec::with_capacity(4 << 10);
        while !answer.ends_with(b"END\r\n") {
            if answer.len() > MAX_ANSWER_BYTES {
                let problem = format!("answered with more than {MAX_ANSWER_BYTES} bytes");
                return Err(self.unreadable(problem));
            }
            if stream.read_buf(&mut answer).await.map_err(failed)? == 0 {
                return Err(self.unreadable("closed the connection"));
            }
            let (begun, statistic) = (answer.iter(), b"STAT ".iter());
            if begun
                .zip(statistic)
                .any(|(byte, expected)| byte != expected)
            {
                return Err(self.unreadable("does not speak the memcached protocol"));
            }
        }
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}

#[async_trait]
impl MetricsSource for Memcached {
    fn source(&self) -> Source {
        Source::server(NAME)
    }

    fn endpoint(&self) -> &str {
        &self.endpoint
    }

    async fn read(&mut self) -> Measured<ServiceCounters> {
        let mut stream = match self.connection.take() {
            Some(stream) => stream,
            None => {
                let connected = self.connect().await;
                connected.map_err(|error| Absent::unreadable(&self.endpoint, &error))?
            }
        };
        let answer = self.ask(&mut stream).await?;
        // Kept only after a complete exchange.
        self.connection = Some(stream);
        Ok(counters(&answer))
    }
}

/// `STAT NAME VALUE`, a line each.
fn counters(answer: &str) -> ServiceCounters {
    let pair = |line| str::split_once(str::strip_prefix(line, "STAT ")?, ' ');
    let statistics: HashMap<&str, &str> = answer.lines().filter_map(pair).collect();
    let not_exposed = || Absent::NotExposed {
        source_name: Source::server(NAME),
    };
    let number = |name: &str| {
        let value = statistics.get(name)?.parse().ok();
        value.filter(|value: &f64| value.is_finite())
    };
    let requests: Option<f64> = REQUESTS.iter().map(|name| number(name)).sum();
    ServiceCounters {
        epoch: None,
        started_at_seconds: number("time")
            .zip(number("uptime"))
            .map(|(now, uptime)| now - uptime),
        witness: None,
        requests: requests.map(Counter::untouched).ok_or_else(not_exposed),
        errors: Err(not_exposed()),
        responses: Err(not_exposed()),
        // Without ours.
        connections: number("curr_connections")
            .map(|connections| (connections - 1.0).max(0.0))
            .ok_or_else(not_exposed),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn requests_are_a_sum_and_nothing_where_a_part_is_missing() {
        let answer = "STAT time 1000\r\nSTAT uptime 10\r\nSTAT curr_connections 5\r\nSTAT cmd_get 2\r\nSTAT cmd_set 3\r\n\
                      STAT cmd_touch 9\r\nSTAT delete_hits 1\r\nSTAT delete_misses 1\r\nSTAT incr_hits 1\r\n\
                      STAT incr_misses 1\r\nSTAT decr_hits 1\r\nSTAT decr_misses 1\r\nEND\r\n";
        let counted = counters(answer);
        assert_eq!(counted.requests, Ok(Counter::untouched(11.0)));
        assert_eq!(counted.connections, Ok(4.0));
        assert_eq!(counted.started_at_seconds, Some(990.0));
        let older = counters(&answer.replace("STAT decr_hits 1\r\n", ""));
        assert!(older.requests.is_err() && older.connections.is_ok());
    }

    proptest! {
        #[test]
        fn reading_never_panics(text in "((STAT )?[a-z_]{0,4}[ ]?[-0-9.naif]{0,4}\r?\n?){0,20}") {
            counters(&text);
        }
    }
}
