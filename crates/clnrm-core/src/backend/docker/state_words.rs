//! Podman knows a state that Docker does not have: `stopped`, between the end of a container and its being put in order.
//!
//! The client library refuses an answer with a word that it does not know. Such an answer is read again with Docker's word.

use bollard::errors::Error;
use serde::de::DeserializeOwned;
use serde_json::Value;

const STOPPED: &str = "stopped";
const EXITED: &str = "exited";

/// The same answer, also where only that word kept it from being understood.
pub(super) fn understood<T: DeserializeOwned>(answer: Result<T, Error>) -> Result<T, Error> {
    let Err(Error::JsonDataError { contents, .. }) = &answer else {
        return answer;
    };
    match reworded(contents) {
        Some(reworded) => Ok(reworded),
        None => answer,
    }
}

fn reworded<T: DeserializeOwned>(text: &str) -> Option<T> {
    let mut value: Value = serde_json::from_str(text).ok()?;
    match &mut value {
        Value::Array(listed) => listed.iter_mut().for_each(reword),
        inspected => reword(inspected),
    }
    serde_json::from_value(value).ok()
}

/// A list has the word itself where an inspection has an object.
fn reword(container: &mut Value) {
    for place in ["/State", "/State/Status"] {
        match container.pointer_mut(place) {
            Some(word) if word == STOPPED => *word = EXITED.into(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use bollard::models::{
        ContainerInspectResponse, ContainerStateStatusEnum, ContainerSummary,
        ContainerSummaryStateEnum,
    };

    use super::*;

    fn refused<T>(contents: &str) -> Result<T, Error> {
        Err(Error::JsonDataError {
            message: String::new(),
            contents: contents.to_owned(),
            column: 0,
        })
    }

    #[test]
    fn what_podman_calls_stopped_has_exited() {
        let text = r#"{"Id": "1", "State": {"Status": "stopped", "ExitCode": 3}}"#;
        assert!(
            serde_json::from_str::<ContainerInspectResponse>(text).is_err(),
            "the library knows the word: this module may go"
        );
        let container: ContainerInspectResponse = understood(refused(text)).unwrap();
        let state = container.state.unwrap();
        assert_eq!(state.status, Some(ContainerStateStatusEnum::EXITED));
        assert_eq!(state.exit_code, Some(3));
        let text = r#"[{"Id": "1", "State": "running"}, {"Id": "2", "State": "stopped"}]"#;
        let listed: Vec<ContainerSummary> = understood(refused(text)).unwrap();
        let states: Vec<_> = listed.into_iter().filter_map(|one| one.state).collect();
        assert_eq!(
            states,
            [
                ContainerSummaryStateEnum::RUNNING,
                ContainerSummaryStateEnum::EXITED
            ]
        );
    }

    #[test]
    fn what_is_not_understood_stays_an_error() {
        for text in [r#"{"State": {"Status": "odd"}}"#, "{"] {
            assert!(
                understood(refused::<ContainerInspectResponse>(text)).is_err(),
                "{text}"
            );
        }
    }
}
