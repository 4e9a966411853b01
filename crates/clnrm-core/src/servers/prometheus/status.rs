//! Whether a request failed, by the label that says how it ended. HTTP codes, gRPC codes and status words each have a
//! rule; what is none of these is not guessed at.

use super::text::Sample;

/// Labels that usual instrumentations use for how a request ended.
const LABELS: [&str; 12] = [
    "code",
    "status",
    "status_code",
    "http_status",
    "http_status_code",
    "http_response_status_code",
    "response_code",
    "grpc_code",
    "grpc_status",
    "rpc_grpc_status_code",
    "outcome",
    "result",
];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Fine,
    Failed,
    /// The series does not say.
    Untold,
    /// The series says it in words that have no rule: `label="value"`.
    Unknown(String),
}

/// How the requests of a series ended.
pub(super) fn outcome(sample: &Sample<'_>) -> Outcome {
    let found = (LABELS.iter()).find_map(|label| Some((*label, sample.label(label)?)));
    let Some((label, value)) = found else {
        return Outcome::Untold;
    };
    let is_grpc = label.contains("grpc") || sample.name.contains("grpc");
    let failed = by_http(value)
        .or_else(|| by_grpc_name(value))
        .or_else(|| is_grpc.then(|| by_grpc_number(value)).flatten())
        .or_else(|| by_word(value));
    match failed {
        Some(true) => Outcome::Failed,
        Some(false) => Outcome::Fine,
        None => Outcome::Unknown(format!("{label}=\"{value}\"")),
    }
}

/// `503`, and `5xx` as some libraries group it: the server's own failures.
fn by_http(value: &str) -> Option<bool> {
    let mut characters = value.chars();
    let class = characters
        .next()
        .filter(|class| ('1'..='5').contains(class))?;
    let rest = characters.as_str();
    let is_code = rest.len() == 2 && rest.bytes().all(|byte| byte.is_ascii_digit());
    (is_code || rest.eq_ignore_ascii_case("xx")).then_some(class == '5')
}

/// In the order of their numbers. Failures of the server are those that OpenTelemetry counts as such
/// (semantic conventions for gRPC, status of a server's span): what a client does wrong is not the server's failure.
const GRPC_CODES: [(&str, &str, bool); 17] = [
    ("OK", "OK", false),
    ("Canceled", "CANCELLED", false),
    ("Unknown", "UNKNOWN", true),
    ("InvalidArgument", "INVALID_ARGUMENT", false),
    ("DeadlineExceeded", "DEADLINE_EXCEEDED", true),
    ("NotFound", "NOT_FOUND", false),
    ("AlreadyExists", "ALREADY_EXISTS", false),
    ("PermissionDenied", "PERMISSION_DENIED", false),
    ("ResourceExhausted", "RESOURCE_EXHAUSTED", false),
    ("FailedPrecondition", "FAILED_PRECONDITION", false),
    ("Aborted", "ABORTED", false),
    ("OutOfRange", "OUT_OF_RANGE", false),
    ("Unimplemented", "UNIMPLEMENTED", true),
    ("Internal", "INTERNAL", true),
    ("Unavailable", "UNAVAILABLE", true),
    ("DataLoss", "DATA_LOSS", true),
    ("Unauthenticated", "UNAUTHENTICATED", false),
];

fn by_grpc_name(value: &str) -> Option<bool> {
    let value = if value == "Cancelled" {
        "Canceled"
    } else {
        value
    };
    (GRPC_CODES.iter())
        .find(|(camel, upper, _)| value == *camel || value == *upper)
        .map(|(_, _, failed)| *failed)
}

fn by_grpc_number(value: &str) -> Option<bool> {
    let number: usize = value.parse().ok()?;
    GRPC_CODES.get(number).map(|(_, _, failed)| *failed)
}

/// The words of usual instrumentations, among them those of Micrometer's label `outcome`.
fn by_word(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "success" | "succeeded" | "successful" | "ok" | "pass" | "passed" | "complete"
        | "completed" | "informational" | "redirection" | "client_error" | "canceled"
        | "cancelled" => Some(false),
        "error" | "errors" | "err" | "errored" | "failure" | "failed" | "fail" | "exception"
        | "timeout" | "timed_out" | "timedout" | "panic" | "server_error" | "internal_error" => {
            Some(true)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::text::{Line, read};
    use super::*;

    fn outcome_of(series: &str) -> Outcome {
        let mut outcomes = Vec::new();
        let line = format!("{series} 1\n");
        read(
            &line,
            true,
            |_| true,
            |line| {
                if let Line::Sample(sample) = line {
                    outcomes.push(outcome(&sample));
                }
            },
        );
        outcomes.pop().unwrap()
    }

    #[test]
    fn each_kind_of_status_has_its_rule() {
        for (series, failed) in [
            (r#"m{code="200"}"#, false),
            (r#"m{code="404"}"#, false),
            (r#"m{code="503"}"#, true),
            (r#"m{status="5xx"}"#, true),
            (r#"m{status="2XX"}"#, false),
            (r#"m{code="OK"}"#, false),
            (r#"m{code="NotFound"}"#, false),
            (r#"m{grpc_code="Internal"}"#, true),
            (r#"m{code="DEADLINE_EXCEEDED"}"#, true),
            (r#"grpc_server_handled_total{code="13"}"#, true),
            (r#"m{rpc_grpc_status_code="0"}"#, false),
            (r#"m{status="error"}"#, true),
            (r#"m{status="Success"}"#, false),
            (r#"m{outcome="SERVER_ERROR"}"#, true),
            (r#"m{outcome="CLIENT_ERROR"}"#, false),
        ] {
            let expected = if failed {
                Outcome::Failed
            } else {
                Outcome::Fine
            };
            assert_eq!(outcome_of(series), expected, "{series}");
        }
    }

    #[test]
    fn what_has_no_rule_is_not_guessed_at() {
        assert_eq!(outcome_of("m"), Outcome::Untold);
        for value in ["teapot", "", "0", "13", "700", "5x", "unknown", "żółw"] {
            assert_eq!(
                outcome_of(&format!("m{{status=\"{value}\"}}")),
                Outcome::Unknown(format!("status=\"{value}\""))
            );
        }
    }
}
