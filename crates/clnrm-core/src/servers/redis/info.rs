//! The text of `INFO`: which of its numbers are requests, errors, response times and connections.

use std::collections::HashMap;

use clnrm_decide::{Absent, Measured, Source};

use crate::metrics::{Counter, ResponseCounter, ServiceCounters};

/// As test files call it.
pub(super) const NAME: &str = "redis";

/// Commands that run a server rather than use it: whoever sends them (clnrm, to reset a warm instance or to measure it)
/// is administration.
const ADMINISTRATION: [&str; 10] = [
    "acl", "client", "config", "flushall", "function", "info", "module", "role", "script", "hello",
];

/// What was found in the sections so far.
#[derive(Debug, Default)]
pub(super) struct Info<'a> {
    /// `key:value`, but for `cmdstat_*`.
    fields: HashMap<&'a str, &'a str>,
    /// Whether there was any `cmdstat_*`: a server that has answered `INFO` once has at least that one.
    has_command_statistics: bool,
    /// Of `INFO` alone.
    info_calls: Option<f64>,
    /// Of [`ADMINISTRATION`].
    administrative_calls: f64,
    /// Of all other commands.
    calls: f64,
    microseconds: f64,
}

impl<'a> Info<'a> {
    pub(super) fn read(&mut self, section: &'a str) {
        for line in section.lines() {
            let Some((key, value)) = line.split_once(':') else {
                continue;
            };
            match key.strip_prefix("cmdstat_") {
                Some(command) => self.read_command(command, value),
                None => {
                    self.fields.insert(key, value.trim());
                }
            }
        }
    }

    /// `calls=21,usec=175,usec_per_call=8.33,rejected_calls=0,failed_calls=0`
    fn read_command(&mut self, command: &str, statistics: &str) {
        let number = |wanted: &str| {
            statistics
                .split(',')
                .filter_map(|pair| pair.split_once('='))
                .find(|(key, _)| *key == wanted)
                .and_then(|(_, value)| finite(value))
        };
        let (Some(calls), Some(microseconds)) = (number("calls"), number("usec")) else {
            return;
        };
        self.has_command_statistics = true;
        // Subcommands have statistics of their own since redis 7: `config|get`.
        let family = command.split('|').next().unwrap_or(command);
        if family.eq_ignore_ascii_case("info") {
            *self.info_calls.get_or_insert_default() += calls;
        }
        if (ADMINISTRATION.iter()).any(|name| family.eq_ignore_ascii_case(name)) {
            self.administrative_calls += calls;
        } else {
            self.calls += calls;
            self.microseconds += microseconds;
        }
    }

    /// `own_commands` were sent by clnrm itself, besides [`ADMINISTRATION`].
    ///
    /// Requests are all commands but those of [`ADMINISTRATION`]. Errors are all error replies.
    /// Response time is the time that commands took to execute, without waiting in a queue or on the network.
    ///
    /// `CONFIG RESETSTAT` sets all of it to zero and changes no `run_id`. But redis counts `INFO`, too, and `own_infos`
    /// of them were clnrm's.
    pub(super) fn counters(&self, own_commands: f64, own_infos: f64) -> ServiceCounters {
        let own = own_commands;
        ServiceCounters {
            epoch: self.fields.get("run_id").map(|run_id| (*run_id).to_owned()),
            started_at_seconds: None,
            witness: (self.info_calls).map(|calls| Counter::with_own(calls, own_infos)),
            requests: self.command_statistics().and_then(|()| {
                let total = self.field("total_commands_processed")? - self.administrative_calls;
                Ok(Counter::with_own(total, own))
            }),
            errors: self.field("total_error_replies").map(Counter::untouched),
            responses: self.command_statistics().map(|()| ResponseCounter {
                seconds: Counter::untouched(self.microseconds / 1e6),
                count: Counter::with_own(self.calls, own),
            }),
            // Without ours.
            connections: self
                .field("connected_clients")
                .map(|clients| (clients - 1.0).max(0.0)),
        }
    }

    fn command_statistics(&self) -> Measured<()> {
        if self.has_command_statistics {
            Ok(())
        } else {
            Err(not_exposed())
        }
    }

    fn field(&self, name: &str) -> Measured<f64> {
        self.fields
            .get(name)
            .and_then(|value| finite(value))
            .ok_or_else(not_exposed)
    }
}

fn finite(text: &str) -> Option<f64> {
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

fn not_exposed() -> Absent {
    Absent::NotExposed {
        source_name: Source::server(NAME),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STATS: &str = "# Stats\r\ntotal_commands_processed:1050\r\ntotal_error_replies:7\r\n";
    const COMMANDS: &str = "# Commandstats\r\ncmdstat_info:calls=10,usec=5000,usec_per_call=500.00\r\n\
        cmdstat_get:calls=600,usec=1200,usec_per_call=2.00,rejected_calls=0,failed_calls=0\r\n\
        cmdstat_xadd:calls=400,usec=800,usec_per_call=2.00\r\n\
        cmdstat_config|get:calls=40,usec=900,usec_per_call=22.50\r\n";

    #[test]
    fn requests_and_times_are_those_of_all_commands_but_administration() {
        let mut info = Info::default();
        for section in [
            "# Server\r\nrun_id:abc\r\n",
            "connected_clients:5\r\n",
            STATS,
            COMMANDS,
        ] {
            info.read(section);
        }
        let counters = info.counters(1.0, 4.0);
        assert_eq!(counters.epoch.as_deref(), Some("abc"));
        assert_eq!(counters.requests, Ok(Counter::with_own(1_000.0, 1.0)));
        assert_eq!(counters.errors, Ok(Counter::untouched(7.0)));
        assert_eq!(counters.witness, Some(Counter::with_own(10.0, 4.0)));
        assert_eq!(counters.connections, Ok(4.0));
        let responses = counters.responses.unwrap();
        assert_eq!(responses.seconds, Counter::untouched(0.002));
        assert_eq!(responses.count, Counter::with_own(1_000.0, 1.0));
    }

    #[test]
    fn what_an_old_server_does_not_have_is_absent() {
        let mut info = Info::default();
        info.read("total_commands_processed:nan\r\nconnected_clients:x\r\nbroken line\r\n");
        let counters = info.counters(0.0, 4.0);
        assert_eq!(counters.epoch, None);
        assert_eq!(counters.requests, Err(not_exposed()));
        assert_eq!(counters.errors, Err(not_exposed()));
        assert_eq!(counters.responses, Err(not_exposed()));
        assert_eq!(counters.connections, Err(not_exposed()));
    }

    proptest! {
        #[test]
        fn reading_never_panics(text in "((cmdstat_|total_)?[a-z]{0,3}[:=,|]?[-0-9.naif]{0,4}\r?\n?){0,20}") {
            let mut info = Info::default();
            info.read(&text);
            info.counters(0.0, 4.0);
        }
    }
}
