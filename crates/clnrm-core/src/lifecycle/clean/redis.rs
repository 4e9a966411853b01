//! Redis and what speaks like it, over a connection that lives as long as one reset or verification: between them the
//! server has no client of ours, so that a test counts only its own.

use tokio::net::TcpStream;

use super::digest_of;
use super::resp::{Reply, ask};
use crate::config::definition::Cleaning;
use crate::lifecycle::start::LiveInstance;
use crate::metrics::REDIS_CLIENT_NAME;

/// 6 added users; 7 added functions.
const HAS_USERS: u32 = 6;
const HAS_FUNCTIONS: u32 = 7;

/// Removes every key of every database, scripts and functions.
pub(super) async fn reset(cleaning: &Cleaning<'_>, instance: &LiveInstance) -> Result<(), String> {
    let mut server = connect(cleaning, instance).await?;
    let commands = resetting(server.version);
    undone(&ask(&mut server.stream, &commands).await?)
}

/// What a test could have changed: keys, settings, users, scripts, functions, modules, the role, and who is connected.
pub(super) async fn verify(
    cleaning: &Cleaning<'_>,
    instance: &LiveInstance,
) -> Result<String, String> {
    let mut server = connect(cleaning, instance).await?;
    let questions = questions(server.version);
    let commands: Vec<&[&str]> = questions.iter().map(|(_, command)| *command).collect();
    let replies = ask(&mut server.stream, &commands).await?;
    Ok(output(&questions, &replies))
}

/// Both in one go: the server answers in order, so what it tells is of after the reset.
pub(super) async fn reset_and_verify(
    cleaning: &Cleaning<'_>,
    instance: &LiveInstance,
) -> Result<String, String> {
    let mut server = connect(cleaning, instance).await?;
    let mut commands = resetting(server.version);
    let resets = commands.len();
    let questions = questions(server.version);
    commands.extend(questions.iter().map(|(_, command)| *command));
    let replies = ask(&mut server.stream, &commands).await?;
    let (undoing, answers) = replies.split_at_checked(resets).unwrap_or_default();
    undone(undoing)?;
    Ok(output(&questions, answers))
}

/// Whether an output of [`verify`] tells of keys: it counts them, and does not read them.
pub(super) fn holds_keys(output: &str) -> bool {
    output
        .lines()
        .any(|line| line.starts_with("db") && line.contains(":keys="))
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
                    [name, value] => Some(format!("config {name} {}", digest_of(value))),
                    _ => None,
                })
                .collect();
            settings.sort_unstable();
            settings
        }
        "role" => vec![format!("role: {}", reply.texts.join(" "))],
        _ => vec![format!("{topic} {}", digest_of(&reply.texts.join("\n")))],
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
    let metrics = format!(" name={REDIS_CLIENT_NAME} ");
    let others = list.lines().filter(|line| !line.contains(&metrics));
    others.count().saturating_sub(1)
}

/// A connection, and the major version of what answers.
struct Server {
    stream: TcpStream,
    version: u32,
}

async fn connect(cleaning: &Cleaning<'_>, instance: &LiveInstance) -> Result<Server, String> {
    let address = instance.address.as_deref().ok_or("it has no port")?;
    let failed = |error: std::io::Error| format!("{address}: {error}");
    let mut stream = TcpStream::connect(address).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    let mut login = vec!["AUTH"];
    if let Cleaning::Redis { username, password } = cleaning {
        login.extend(username.iter().chain(password.iter()));
    }
    let info: &[&str] = &["INFO", "server"];
    let commands: &[&[&str]] = match login.len() {
        1 => &[info],
        _ => &[&login, info],
    };
    let replies = ask(&mut stream, commands).await?;
    if let Some(error) = replies.iter().find_map(|reply| reply.error.clone()) {
        return Err(error);
    }
    let texts = replies.last().map(|reply| reply.texts.concat());
    let version = texts
        .as_deref()
        .unwrap_or_default()
        .lines()
        .find_map(|line| {
            let version = line.trim().strip_prefix("redis_version:")?;
            version.split('.').next()?.parse().ok()
        });
    Ok(Server {
        stream,
        version: version.unwrap_or_default(),
    })
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
