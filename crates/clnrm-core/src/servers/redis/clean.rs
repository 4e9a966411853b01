//! Redis and what speaks like it, over a connection that lives as long as one reset or verification: between them the
//! server has no client of ours, so that a test counts only its own.

use async_trait::async_trait;

use super::connection::{Connection, RedisError, login};
use super::metrics::CLIENT_NAME;
use super::resp::Reply;
use crate::servers::kind::{Cleaner, Server};
use crate::text::short_digest;

/// 6 added users; 7 added functions.
const HAS_USERS: u32 = 6;
const HAS_FUNCTIONS: u32 = 7;

/// Removes every key of every database, scripts and functions. What it verifies is what a test could have changed: keys,
/// settings, users, scripts, functions, modules, the role, and who is connected.
#[derive(Debug)]
pub(super) struct RedisCleaner;

#[async_trait]
impl Cleaner for RedisCleaner {
    async fn reset(&self, server: &Server<'_>) -> Result<(), String> {
        let (mut connection, version) = connect(server).await?;
        undone(&connection.ask(&resetting(version)).await.map_err(told)?)
    }

    async fn verify(&self, server: &Server<'_>) -> Result<String, String> {
        let (mut connection, version) = connect(server).await?;
        let questions = questions(version);
        let commands: Vec<&[&str]> = questions.iter().map(|(_, command)| *command).collect();
        let replies = connection.ask(&commands).await.map_err(told)?;
        Ok(output(&questions, &replies))
    }

    /// In one go: the server answers in order, so what it tells is of after the reset.
    async fn reset_and_verify(
        &self,
        server: &Server<'_>,
    ) -> Result<String, (&'static str, String)> {
        let both = async {
            let (mut connection, version) = connect(server).await?;
            let mut commands = resetting(version);
            let resets = commands.len();
            let questions = questions(version);
            commands.extend(questions.iter().map(|(_, command)| *command));
            let replies = connection.ask(&commands).await.map_err(told)?;
            let (undoing, answers) = replies.split_at_checked(resets).unwrap_or_default();
            undone(undoing)?;
            Ok(output(&questions, answers))
        };
        both.await.map_err(|problem| ("reset", problem))
    }

    /// It counts keys, and does not read them.
    fn proves_other_resets(&self, fresh: &str) -> bool {
        let tells_of_keys = |line: &str| line.starts_with("db") && line.contains(":keys=");
        !fresh.lines().any(tells_of_keys)
    }
}

fn resetting(version: u32) -> Vec<&'static [&'static str]> {
    let mut commands: Vec<&[&str]> = vec![&["FLUSHALL"], &["SCRIPT", "FLUSH"]];
    if version >= HAS_FUNCTIONS {
        commands.push(&["FUNCTION", "FLUSH"]);
    }
    commands
}

fn undone(replies: &[Reply]) -> Result<(), String> {
    let refused = replies.iter().find_map(|reply| reply.error.clone());
    refused.map_or(Ok(()), Err)
}

type Question = (&'static str, &'static [&'static str]);

fn questions(version: u32) -> Vec<Question> {
    let mut questions: Vec<Question> = vec![
        ("keys", &["INFO", "keyspace"]),
        ("scripts", &["INFO", "memory"]),
        ("clients", &["CLIENT", "LIST"]),
        ("role", &["ROLE"]),
        ("modules", &["MODULE", "LIST"]),
        ("config", &["CONFIG", "GET", "*"]),
    ];
    if version >= HAS_USERS {
        questions.push(("users", &["ACL", "LIST"]));
    }
    if version >= HAS_FUNCTIONS {
        questions.push(("functions", &["FUNCTION", "LIST"]));
    }
    questions
}

fn output(questions: &[Question], replies: &[Reply]) -> String {
    let answers = questions.iter().zip(replies);
    let lines = answers.flat_map(|((topic, _), reply)| lines(topic, reply));
    lines.map(|line| line + "\n").collect()
}

/// What is compared of an answer. Settings and users hold secrets, so only digests of them are kept.
fn lines(topic: &str, reply: &Reply) -> Vec<String> {
    if let Some(error) = &reply.error {
        return vec![format!("{topic}: {error}")];
    }
    let text = || reply.texts.concat();
    match topic {
        "keys" => section_lines(&text(), |line| line.starts_with("db")),
        "scripts" => section_lines(&text(), |line| {
            line.starts_with("number_of_cached_scripts:")
                || line.starts_with("number_of_functions:")
        }),
        "clients" => vec![format!("clients: {}", clients(&text()))],
        "config" => {
            let pairs = reply.texts.chunks(2);
            let mut settings: Vec<String> = pairs
                .filter_map(|pair| match pair {
                    [name, value] => Some(format!("config {name} {}", short_digest(value))),
                    _ => None,
                })
                .collect();
            settings.sort_unstable();
            settings
        }
        "role" => vec![format!("role: {}", reply.texts.join(" "))],
        _ => vec![format!("{topic} {}", short_digest(&reply.texts.join("\n")))],
    }
}

fn section_lines(section: &str, wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let lines = section.lines().map(str::trim).filter(|line| wanted(line));
    // How long keys live and are searched says nothing about which there are.
    lines
        .map(|line| line.split(",avg_ttl").next().unwrap_or(line).to_owned())
        .collect()
}

/// Connections but this one and those that read metrics.
fn clients(list: &str) -> usize {
    let metrics = format!(" name={CLIENT_NAME} ");
    let others = list.lines().filter(|line| !line.contains(&metrics));
    others.count().saturating_sub(1)
}

/// A connection, and the major version of what answers.
async fn connect(server: &Server<'_>) -> Result<(Connection, u32), String> {
    let address = server.address;
    let mut connection = Connection::open(address, |_| ())
        .await
        .map_err(|error| format!("{address}: {error}"))?;
    let login = login(server);
    let info: &[&str] = &["INFO", "server"];
    let commands: Vec<&[&str]> = login.as_deref().into_iter().chain([info]).collect();
    let replies = connection.ask(&commands).await.map_err(told)?;
    undone(&replies)?;
    let texts = replies.last().map(|reply| reply.texts.concat());
    let version = texts
        .as_deref()
        .unwrap_or_default()
        .lines()
        .find_map(|line| {
            let version = line.trim().strip_prefix("redis_version:")?;
            version.split('.').next()?.parse().ok()
        });
    Ok((connection, version.unwrap_or_default()))
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn told(error: RedisError) -> String {
    format!("it {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(texts: &[&str]) -> Reply {
        Reply {
            texts: texts.iter().map(|text| (*text).to_owned()).collect(),
            error: None,
        }
    }

    #[test]
    fn keys_are_told_and_settings_are_not() {
        let keyspace = reply(&["# Keyspace\r\ndb0:keys=1,expires=1,avg_ttl=99\r\n"]);
        assert_eq!(lines("keys", &keyspace), ["db0:keys=1,expires=1"]);
        let config = reply(&["requirepass", "secret", "maxmemory", "0"]);
        let told = lines("config", &config);
        assert!(told[0].starts_with("config maxmemory "), "{told:?}");
        assert!(!told.concat().contains("secret"), "{told:?}");
        let refused = Reply {
            texts: Vec::new(),
            error: Some("NOPERM".to_owned()),
        };
        assert_eq!(lines("users", &refused), ["users: NOPERM"]);
    }

    #[test]
    fn connections_of_clnrm_do_not_count() {
        let list = "id=1 name= cmd=client\nid=2 name=clnrm-metrics cmd=info\n";
        assert_eq!(clients(list), 0);
        assert_eq!(clients(&format!("{list}id=3 name=app cmd=get\n")), 1);
    }
}
