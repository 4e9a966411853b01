//! `INFO` over one connection that stays open.

use async_trait::async_trait;
use clnrm_decide::{Absent, Measured, Source};

use super::connection::{Connection, RedisError, login};
use super::info::{Info, NAME};
use super::resp::Reply;
use crate::metrics::{MetricsSource, OwnConnections, ServiceCounters};
use crate::servers::kind::Server;

/// What connections that read metrics call themselves, so that whoever counts the server's clients can leave them out.
pub(super) const CLIENT_NAME: &str = "clnrm-metrics";

/// Sections one by one in a single write: less work for the server than `INFO all`, understood by old ones too, and
/// executed in one go, so that the numbers belong together.
const INFO_SECTIONS: [&str; 4] = ["server", "clients", "stats", "commandstats"];

/// How many of them redis has counted when it writes the last section, which has the counts.
const INFOS_BEFORE_STATISTICS: f64 = 3.0;

/// Reads `INFO`.
#[derive(Debug)]
pub(super) struct RedisMetrics {
    address: String,
    endpoint: String,
    /// The words of `AUTH`; empty = no `AUTH`.
    login: Vec<String>,
    own: OwnConnections,
    connection: Option<Connection>,
    /// `AUTH` commands that we sent: redis counts them like any other. (`INFO` is left out of the counts anyway.)
    own_commands: f64,
    /// `INFO` commands of ours that redis has counted by the next reading.
    own_infos: f64,
}

impl RedisMetrics {
    pub(super) fn new(server: &Server<'_>, own: OwnConnections) -> Self {
        let login = login(server).unwrap_or_default();
        Self {
            address: server.address.to_owned(),
            endpoint: format!("{NAME} at {}", server.address),
            login: login.into_iter().map(str::to_owned).collect(),
            own,
            connection: None,
            own_commands: 0.0,
            own_infos: INFOS_BEFORE_STATISTICS,
        }
    }

    async fn connect(&mut self) -> Measured<Connection> {
        let mut connection = Connection::open(&self.address, |stream| self.own.add(stream))
            .await
            .map_err(|error| Absent::unreadable(&self.endpoint, &error))?;
        if !self.login.is_empty() {
            let login: Vec<&str> = self.login.iter().map(String::as_str).collect();
            self.own_commands += 1.0;
            let replies = connection.ask(&[&login]).await;
            for reply in &replies.map_err(|error| self.unreadable(&error))? {
                self.text_of(reply)?;
            }
        }
        // A server that does not know names answers with an error, and is read all the same.
        connection
            .ask(&[&["CLIENT", "SETNAME", CLIENT_NAME]])
            .await
            .map_err(|error| self.unreadable(&error))?;
        Ok(connection)
    }

    /// The text of a reply that is not an error.
    fn text_of(&self, reply: &Reply) -> Measured<String> {
        match &reply.error {
            None => Ok(reply.texts.concat()),
            Some(message) if message.starts_with("NOAUTH") => Err(Absent::PasswordNeeded {
                source_name: Source::server(NAME),
            }),
            Some(message) => Err(self.unreadable(&RedisError::Refused(message.clone()))),
        }
    }

    fn unreadable(&self, error: &RedisError) -> Absent {
        Absent::Unreadable {
            what: self.endpoint.clone(),
            problem: error.to_string(),
        }
    }
}

#[async_trait]
impl MetricsSource for RedisMetrics {
    fn source(&self) -> Source {
        Source::server(NAME)
    }

    fn endpoint(&self) -> &str {
        &self.endpoint
    }

    async fn read(&mut self) -> Measured<ServiceCounters> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let questions = INFO_SECTIONS.map(|section| ["INFO", section]);
        let questions: Vec<&[&str]> = questions.iter().map(<[&str; 2]>::as_slice).collect();
        let replies = connection.ask(&questions).await;
        let replies = replies.map_err(|error| self.unreadable(&error))?;
        let sections: Vec<String> = (replies.iter())
            .map(|reply| self.text_of(reply))
            .collect::<Measured<_>>()?;
        let mut info = Info::default();
        sections.iter().for_each(|section| info.read(section));
        // Kept only after a complete exchange: what comes next on it is the answer to our next question.
        self.connection = Some(connection);
        let counters = info.counters(self.own_commands, self.own_infos);
        self.own_infos += INFOS_BEFORE_STATISTICS + 1.0;
        Ok(counters)
    }
}
