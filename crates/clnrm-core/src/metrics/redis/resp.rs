//! The part of RESP2 that `AUTH` and `INFO` need: commands out; simple strings, bulk strings and errors in.

use crate::metrics::MAX_ANSWER_BYTES;

/// One reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    Text(String),
    /// `NOAUTH Authentication required.` and the like.
    Error(String),
}

/// What came is no such reply.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// A command as an array of bulk strings.
pub(super) fn command(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n{word}\r\n", word.len()).bytes());
    }
    bytes
}

/// The first reply in `bytes` and its length; `None` = more must come.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Reply, usize)>, Malformed> {
    let Some(kind) = bytes.first() else {
        return Ok(None);
    };
    if !matches!(kind, b'+' | b'-' | b'$') {
        return Err(Malformed);
    }
    let Some(line_end) = bytes.windows(2).position(|pair| pair == b"\r\n") else {
        return Ok(None);
    };
    let line = text(bytes.get(1..line_end));
    let after_line = line_end + 2;
    if *kind == b'+' {
        return Ok(Some((Reply::Text(line), after_line)));
    }
    if *kind == b'-' {
        return Ok(Some((Reply::Error(line), after_line)));
    }
    let length: usize = line.parse().map_err(|_| Malformed)?;
    if length > MAX_ANSWER_BYTES {
        return Err(Malformed);
    }
    let end = after_line + length;
    match bytes.get(end..end + 2) {
        None => Ok(None),
        Some(b"\r\n") => Ok(Some((
            Reply::Text(text(bytes.get(after_line..end))),
            end + 2,
        ))),
        Some(_) => Err(Malformed),
    }
}

fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn writes_commands_with_lengths_in_bytes() {
        assert_eq!(
            command(&["AUTH", "pä"]),
            "*2\r\n$4\r\nAUTH\r\n$3\r\npä\r\n".as_bytes()
        );
    }

    #[test]
    fn reads_the_three_kinds_of_replies() {
        let reply = |text: &str| Reply::Text(text.to_owned());
        assert_eq!(parse(b"+OK\r\n$"), Ok(Some((reply("OK"), 5))));
        assert_eq!(
            parse(b"$4\r\na\r\nb\r\nrest"),
            Ok(Some((reply("a\r\nb"), 10)))
        );
        assert_eq!(
            parse(b"-NOAUTH x\r\n"),
            Ok(Some((Reply::Error("NOAUTH x".to_owned()), 11)))
        );
    }

    #[test]
    fn waits_for_the_rest_and_refuses_other_protocols() {
        let whole = b"$4\r\nabcd\r\n";
        for end in 0..whole.len() {
            assert_eq!(parse(&whole[..end]), Ok(None), "cut at {end}");
        }
        for other in [
            &b"HTTP/1.1 400"[..],
            b"$x\r\n",
            b"$-1\r\n",
            b"$2\r\nabcd",
            b"$99999999999\r\n",
        ] {
            assert_eq!(parse(other), Err(Malformed));
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_never_takes_more_than_there_is(bytes: Vec<u8>) {
            if let Ok(Some((_, length))) = parse(&bytes) {
                prop_assert!(length <= bytes.len());
            }
        }

        #[test]
        fn parsing_nearly_right_bytes_never_panics(text in r"[+$-][0-9]{0,20}(\r\n)?.{0,9}(\r\n)?") {
            let _ = parse(text.as_bytes());
        }
    }
}
