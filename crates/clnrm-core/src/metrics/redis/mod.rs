//! Redis and what speaks like it: `INFO` over one connection that stays open.
//!
//! Deliberately absent: a Redis client. `AUTH`, a name and `INFO` are all that is said.

mod info;
mod resp;

use std::io;

use async_trait::async_trait;
use clnrm_decide::{Absent, Measured, Source};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use self::info::Info;
use self::resp::{Malformed, Reply};
use super::reading::ServiceCounters;
use super::sock_diag::OwnConnections;
use super::{MAX_ANSWER_BYTES, MetricsSource, REDIS_CLIENT_NAME};

/// Sections one by one in a single write: less work for the server than `INFO all`, understood by old ones too, and
/// executed in one go, so that the numbers belong together.
const INFO_SECTIONS: [&str; 4] = ["server", "clients", "stats", "commandstats"];

/// How many of them redis has counted when it writes the last section, which has the counts.
const INFOS_BEFORE_STATISTICS: f64 = 3.0;

/// Reads `INFO`.
#[derive(Debug)]
pub(super) struct Redis {
    address: String,
    endpoint: String,
    /// The arguments of `AUTH`; empty = no `AUTH`.
    credentials: Vec<String>,
    own: OwnConnections,
    connection: Option<TcpStream>,
    /// `AUTH` commands that we sent: redis counts them like any other. (`INFO` is left out of the counts anyway.)
    own_commands: f64,
    /// `INFO` commands of ours that redis has counted by the next reading.
    own_infos: f64,
}

impl Redis {
    /// `address` is host and port.
    pub(super) fn new(
        address: String,
        username: Option<&String>,
        password: Option<&String>,
        own: OwnConnections,
    ) -> Self {
        let credentials = match password {
            Some(password) => username.into_iter().chain([password]).cloned().collect(),
            None => Vec::new(),
        };
        Self {
            endpoint: format!("redis at {address}"),
            address,
            credentials,
            own,
            connection: None,
            own_commands: 0.0,
            own_infos: INFOS_BEFORE_STATISTICS,
        }
    }

    async fn connect(&mut self) -> Measured<TcpStream> {
        let failed = |error: &io::Error| Absent::unreadable(&self.endpoint, error);
        let mut stream = TcpStream::connect(&self.address)
            .await
            .map_err(|error| failed(&error))?;
        self.own.add(&stream);
        stream.set_nodelay(true).map_err(|error| failed(&error))?;
        if !self.credentials.is_empty() {
            let mut words = vec!["AUTH"];
            words.extend(self.credentials.iter().map(String::as_str));
            self.own_commands += 1.0;
            let replies = exchange(&mut stream, &resp::command(&words), 1)
                .await
                .map_err(|problem| self.unreadable(problem))?;
            for reply in &replies {
                self.text_of(reply)?;
            }
        }
        // A server that does not know names answers with an error, and is read all the same.
        let name = ["CLIENT", "SETNAME", REDIS_CLIENT_NAME];
        exchange(&mut stream, &resp::command(&name), 1)
            .await
            .map_err(|problem| self.unreadable(problem))?;
        Ok(stream)
    }

    /// The text of a reply that is not an error.
    fn text_of<'a>(&self, reply: &'a Reply) -> Measured<&'a str> {
        match reply {
            Reply::Text(text) => Ok(text),
            Reply::Error(message) if message.starts_with("NOAUTH") => Err(Absent::PasswordNeeded {
                source_name: Source::server("redis"),
            }),
            Reply::Error(message) => Err(self.unreadable(format!("answered: {message}"))),
        }
    }

    fn unreadable(&self, problem: String) -> Absent {
        Absent::Unreadable {
            what: self.endpoint.clone(),
            problem,
        }
    }
}

#[async_trait]
impl MetricsSource for Redis {
    fn source(&self) -> Source {
        Source::server("redis")
    }

    fn endpoint(&self) -> &str {
        &self.endpoint
    }

    async fn read(&mut self) -> Measured<ServiceCounters> {
        let mut stream = match self.connection.take() {
            Some(stream) => stream,
            None => self.connect().await?,
        };
        let request: Vec<u8> = INFO_SECTIONS
            .iter()
            .flat_map(|section| resp::command(&["INFO", section]))
            .collect();
        let replies = exchange(&mut stream, &request, INFO_SECTIONS.len())
            .await
            .map_err(|problem| self.unreadable(problem))?;
        let mut info = Info::default();
        for reply in &replies {
            info.read(self.text_of(reply)?);
        }
        // Kept only after a complete exchange: what comes next on it is the answer to our next question.
        self.connection = Some(stream);
        let counters = info.counters(self.own_commands, self.own_infos);
        self.own_infos += INFOS_BEFORE_STATISTICS + 1.0;
        Ok(counters)
    }
}

/// Sends commands and reads that many replies. The error says what happened, without the address.
async fn exchange(
    stream: &mut TcpStream,
    request: &[u8],
    reply_count: usize,
) -> Result<Vec<Reply>, String> {
    let failed = |error: io::Error| format!("failed: {error}");
    stream.write_all(request).await.map_err(failed)?;
    let mut replies = Vec::with_capacity(reply_count);
    let mut buffer = Vec::with_capacity(16 << 10);
    while replies.len() < reply_count {
        match resp::parse(&buffer) {
            Ok(Some((reply, length))) => {
                buffer.drain(..length);
                replies.push(reply);
                continue;
            }
            Ok(None) if buffer.len() > MAX_ANSWER_BYTES => {
                return Err(format!("answered with more than {MAX_ANSWER_BYTES} bytes"));
            }
            Ok(None) => {}
            Err(Malformed) => return Err("does not speak the Redis protocol".to_owned()),
        }
        if stream.read_buf(&mut buffer).await.map_err(failed)? == 0 {
            return Err("closed the connection".to_owned());
        }
    }
    Ok(replies)
}
