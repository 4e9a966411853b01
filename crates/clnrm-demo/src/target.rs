//! Where a load goes, and how fast: one URL and its rate.
//!
//! Deliberately absent: anything but plain HTTP.

use std::str::FromStr;

use hyper::Uri;
use hyper::http::uri::InvalidUri;
use thiserror::Error;

use super::schedule::{RateError, RateRamp};

/// One URL and its rate.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadTarget {
    pub(super) url: Uri,
    /// `host:port`.
    pub(super) address: String,
    pub(super) rate: RateRamp,
}

/// Why something is not a [`LoadTarget`].
#[derive(Debug, Error)]
pub enum TargetError {
    /// The text has no rate.
    #[error("`{text}` is not a target such as http://127.0.0.1:8080/work,rate=40..180")]
    NoRate { text: String },
    #[error("`{url}` is not a URL")]
    NotAUrl {
        url: String,
        /// What is wrong with it.
        source: InvalidUri,
    },
    /// Something else than `http://host…`.
    #[error("`{url}` must start with http:// and a host")]
    NotHttp { url: String },
    #[error(transparent)]
    Rate(#[from] RateError),
}

impl LoadTarget {
    /// `url` must be `http://host[:port][/path]`.
    pub fn new(url: &str, rate: RateRamp) -> Result<Self, TargetError> {
        let parsed: Uri = url.parse().map_err(|source| TargetError::NotAUrl {
            url: url.to_owned(),
            source,
        })?;
        match (parsed.scheme_str(), parsed.host()) {
            (Some("http"), Some(host)) => Ok(Self {
                address: format!("{host}:{}", parsed.port_u16().unwrap_or(80)),
                url: parsed,
                rate,
            }),
            _ => {
                let url = url.to_owned();
                Err(TargetError::NotHttp { url })
            }
        }
    }
}

/// `URL,rate=40`, or `URL,rate=40..180` for a ramp.
impl FromStr for LoadTarget {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let Some((url, rate)) = text.rsplit_once(",rate=") else {
            let text = text.to_owned();
            return Err(TargetError::NoRate { text });
        };
        Self::new(url, rate.parse()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_url_and_a_rate() {
        let target: LoadTarget = "http://127.0.0.1:81/work?a=1,2,rate=40..180"
            .parse()
            .unwrap();
        assert_eq!(target.url, "http://127.0.0.1:81/work?a=1,2");
        assert_eq!(target.address, "127.0.0.1:81");
        assert_eq!(target.rate.to_string(), "40..180");
        let without_port = LoadTarget::new("http://localhost/", target.rate).unwrap();
        assert_eq!(without_port.address, "localhost:80");
    }

    #[test]
    fn what_is_not_a_target_is_named() {
        for (text, message) in [
            (
                "http://h/",
                "`http://h/` is not a target such as http://127.0.0.1:8080/work,rate=40..180",
            ),
            (
                "https://h/,rate=1",
                "`https://h/` must start with http:// and a host",
            ),
            ("/work,rate=1", "`/work` must start with http:// and a host"),
            ("http://a b/,rate=1", "`http://a b/` is not a URL"),
            (
                "http://h/,rate=fast",
                "`fast` is not a rate such as 40 or 40..180",
            ),
        ] {
            assert_eq!(text.parse::<LoadTarget>().unwrap_err().to_string(), message);
        }
    }
}
