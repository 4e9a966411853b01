//! A step that sends one HTTP request.

use std::collections::BTreeMap;
use std::time::Duration;

use regex::Regex;

use super::attempt::Attempt;
use super::cause::{StepReason, TextOf};
use super::expectations::{Observed, first_violation, rendered};
use crate::config::definition::HttpStep;
use crate::config::placeholder::{Bindings, PlaceholderError, render};
use crate::http;
use crate::text::one_line;

/// Bodies are read up to this size.
const BODY_LIMIT_BYTES: usize = 8 * 1024 * 1024;

/// Sends the request once and compares the answer with what is expected.
pub(super) async fn attempt(step: &HttpStep, bindings: &Bindings, timeout: Duration) -> Attempt {
    let request = match prepare(step, bindings) {
        Ok(request) => request,
        Err(error) => {
            return Attempt::failed(StepReason::Other {
                message: error.to_string(),
            });
        }
    };
    let limits = http::Limits {
        timeout,
        max_body_bytes: BODY_LIMIT_BYTES,
    };
    let Prepared { url, headers, body } = request;
    match http::request(&step.method, &url, &headers, body, limits).await {
        Ok(answer) => judge(step, &answer, bindings),
        Err(error) => Attempt::failed(StepReason::Other {
            message: one_line(&error),
        }),
    }
}

struct Prepared {
    url: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

fn prepare(step: &HttpStep, bindings: &Bindings) -> Result<Prepared, PlaceholderError> {
    let headers = step
        .headers
        .iter()
        .map(|(name, value)| Ok((name.clone(), render(value, bindings)?)));
    let body = step
        .body
        .as_deref()
        .map(|body| render(body, bindings))
        .transpose()?;
    Ok(Prepared {
        url: render(&step.url, bindings)?,
        headers: headers.collect::<Result<_, PlaceholderError>>()?,
        body: body.unwrap_or_default().into_bytes(),
    })
}

fn judge(step: &HttpStep, answer: &http::Answer, bindings: &Bindings) -> Attempt {
    let body = String::from_utf8_lossy(&answer.body);
    let violation = status_violation(step, answer.status)
        .or_else(|| header_violation(step, answer))
        .or_else(|| {
            first_violation(
                &rendered(&step.body_expectations, bindings),
                Observed {
                    text: &body,
                    dropped: 0,
                    of: TextOf::Body,
                },
            )
        });
    Attempt {
        reason: violation.map(Into::into),
        http_status: Some(answer.status),
        output: body.into_owned(),
        ..Attempt::default()
    }
}

fn status_violation(step: &HttpStep, status: u16) -> Option<StepReason> {
    let expected = step.status;
    let is_expected = expected.map_or((200..300).contains(&status), |code| code == status);
    (!is_expected).then_some(StepReason::WrongStatus { status, expected })
}

fn header_violation(step: &HttpStep, answer: &http::Answer) -> Option<StepReason> {
    step.header_regex.iter().find_map(|(name, pattern)| {
        let Some(value) = answer
            .headers
            .get(name)
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
        else {
            return Some(StepReason::NoHeader {
                header: name.clone(),
            });
        };
        let matches = Regex::new(pattern).is_ok_and(|regex| regex.is_match(&value));
        (!matches).then(|| StepReason::WrongHeader {
            header: name.clone(),
            value: value.into_owned(),
            pattern: pattern.clone(),
        })
    })
}
