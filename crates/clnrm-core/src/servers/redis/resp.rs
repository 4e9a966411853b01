//! Enough of RESP2 to read and to compare answers: commands out, any reply in, flattened to its texts. That flattening is
//! most of it, and the crates for the protocol know nothing of it: with one of them there would be as much code.

use crate::metrics::MAX_ANSWER_BYTES;

/// Replies of replies of replies: none that is asked for here goes deeper.
const DEEPEST: usize = 8;

/// One reply, its elements in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Reply {
    /// Texts and numbers; what is null is left out.
    pub(super) texts: Vec<String>,
    pub(super) error: Option<String>,
}

/// What came is no such reply.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// A command as an array of bulk strings.
pub(super) fn encode(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n{word}\r\n", word.len()).bytes());
    }
    bytes
}

/// The first reply and its length; `None` = more must come.
pub(super) fn parse(bytes: &[u8]) -> Parsed {
    parse_at(bytes, DEEPEST)
}

/// A reply and its length; `None` = more must come.
type Parsed = Result<Option<(Reply, usize)>, Malformed>;

fn parse_at(bytes: &[u8], depth: usize) -> Parsed {
    let Some(kind) = bytes.first() else {
        return Ok(None);
    };
    if !b"+-:$*".contains(kind) {
        return Err(Malformed);
    }
    let Some(line_end) = bytes.windows(2).position(|pair| pair == b"\r\n") else {
        return Ok(None);
    };
    let line = String::from_utf8_lossy(bytes.get(1..line_end).unwrap_or_default()).into_owned();
    let after = line_end + 2;
    let text = |text: String| Reply {
        texts: vec![text],
        error: None,
    };
    match kind {
        b'+' | b':' => Ok(Some((text(line), after))),
        b'-' => Ok(Some((
            Reply {
                texts: Vec::new(),
                error: Some(line),
            },
            after,
        ))),
        b'$' | b'*' if line == "-1" => Ok(Some((Reply::default(), after))),
        b'$' => {
            let end = after + length_of(&line)?;
            match bytes.get(end..end + 2) {
                None => Ok(None),
                Some(b"\r\n") => {
                    let body = bytes.get(after..end).unwrap_or_default();
                    Ok(Some((
                        text(String::from_utf8_lossy(body).into_owned()),
                        end + 2,
                    )))
                }
                Some(_) => Err(Malformed),
            }
        }
        b'*' if depth > 0 => elements(bytes, after, length_of(&line)?, depth),
        _ => Err(Malformed),
    }
}

fn elements(bytes: &[u8], mut at: usize, count: usize, depth: usize) -> Parsed {
    let mut whole = Reply::default();
    for _ in 0..count {
        let rest = bytes.get(at..).unwrap_or_default();
        let Some((element, length)) = parse_at(rest, depth - 1)? else {
            return Ok(None);
        };
        whole.texts.extend(element.texts);
        whole.error = whole.error.or(element.error);
        at += length;
    }
    Ok(Some((whole, at)))
}

fn length_of(line: &str) -> Result<usize, Malformed> {
    let length: usize = line.parse().map_err(|_| Malformed)?;
    (length <= MAX_ANSWER_BYTES)
        .then_some(length)
        .ok_or(Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(bytes: &[u8]) -> Vec<String> {
        let (reply, length) = parse(bytes).unwrap().unwrap();
        assert_eq!(length, bytes.len());
        assert_eq!(reply.error, None);
        reply.texts
    }

    #[test]
    fn replies_of_every_kind_are_flattened() {
        assert_eq!(texts(b"+OK\r\n"), ["OK"]);
        assert_eq!(texts(b"$4\r\na\r\nb\r\n"), ["a\r\nb"]);
        assert_eq!(texts(b":12\r\n"), ["12"]);
        assert_eq!(
            texts(b"*3\r\n$1\r\na\r\n$-1\r\n*2\r\n:1\r\n*0\r\n"),
            ["a", "1"]
        );
        let (reply, _) = parse(b"-ERR no\r\n").unwrap().unwrap();
        assert_eq!(reply.error.as_deref(), Some("ERR no"));
    }

    #[test]
    fn writes_commands_with_lengths_in_bytes() {
        assert_eq!(
            encode(&["AUTH", "pä"]),
            "*2\r\n$4\r\nAUTH\r\n$3\r\npä\r\n".as_bytes()
        );
    }

    #[test]
    fn waits_for_the_rest_and_refuses_other_protocols() {
        let whole = b"*2\r\n$4\r\nabcd\r\n:7\r\n";
        for end in 0..whole.len() {
            assert_eq!(parse(&whole[..end]), Ok(None), "cut at {end}");
        }
        for other in [
            &b"HTTP/1.1 400"[..],
            b"$99999999999\r\n",
            b"$x\r\n",
            b"$2\r\nabcd",
            b"*1\r\n?\r\n",
        ] {
            assert_eq!(parse(other), Err(Malformed));
        }
        let deep = b"*1\r\n".repeat(20);
        assert_eq!(parse(&deep), Err(Malformed));
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_never_takes_more_than_there_is(bytes: Vec<u8>) {
            if let Ok(Some((_, length))) = parse(&bytes) {
                prop_assert!(length <= bytes.len());
            }
        }

        #[test]
        fn parsing_nearly_right_bytes_never_panics(text in r"([*$:+-][0-9]{0,8}\r\n.{0,4}){0,6}") {
            let _ = parse(text.as_bytes());
        }
    }
}
