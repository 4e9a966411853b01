//! A connection to redis, logged in.
//!
//! Deliberately absent: a Redis client. What is said is `AUTH` and a few questions, and clnrm must know each of them: redis
//! counts them like any other.

use std::io;

use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::resp::{self, Malformed, Reply};
use crate::metrics::MAX_ANSWER_BYTES;
use crate::servers::kind::Server;

/// Why there is no reply. Each reads as what the server did.
#[derive(Debug, Error)]
pub(super) enum RedisError {
    #[error("failed: {0}")]
    Io(#[from] io::Error),
    #[error("answered with more than {MAX_ANSWER_BYTES} bytes")]
    TooMuch,
    #[error("does not speak the Redis protocol")]
    OtherProtocol,
    #[error("closed the connection")]
    Closed,
    #[error("answered: {0}")]
    Refused(String),
}

/// A connection on which every question was answered.
#[derive(Debug)]
pub(super) struct Connection(TcpStream);

impl Connection {
    /// `opened` is called before anything is said.
    pub(super) async fn open(
        server: &str,
        opened: impl FnOnce(&TcpStream) + Send,
    ) -> io::Result<Self> {
        let stream = TcpStream::connect(server).await?;
        opened(&stream);
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }

    /// Sends commands in one go and reads their replies.
    pub(super) async fn ask(&mut self, commands: &[&[&str]]) -> Result<Vec<Reply>, RedisError> {
        let request: Vec<u8> = (commands.iter())
            .flat_map(|words| resp::encode(words))
            .collect();
        self.0.write_all(&request).await?;
        let mut replies = Vec::with_capacity(commands.len());
        let mut buffer = Vec::with_capacity(16 << 10);
        while replies.len() < commands.len() {
            match resp::parse(&buffer) {
                Ok(Some((reply, length))) => {
                    buffer.drain(..length);
                    replies.push(reply);
                    continue;
                }
                Ok(None) if buffer.len() > MAX_ANSWER_BYTES => return Err(RedisError::TooMuch),
                Ok(None) => {}
                Err(Malformed) => return Err(RedisError::OtherProtocol),
            }
            if self.0.read_buf(&mut buffer).await? == 0 {
                return Err(RedisError::Closed);
            }
        }
        Ok(replies)
    }
}

/// The command that logs in; `None` where the file gives no password.
pub(super) fn login<'a>(server: &Server<'a>) -> Option<Vec<&'a str>> {
    let password = server.setting("password")?;
    let words = [Some("AUTH"), server.setting("username"), Some(password)];
    Some(words.into_iter().flatten().collect())
}
