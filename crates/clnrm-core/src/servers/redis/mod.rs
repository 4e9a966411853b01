//! Redis and what speaks like it.

mod clean;
mod connection;
mod info;
mod metrics;
mod resp;

use self::clean::RedisCleaner;
use self::metrics::RedisMetrics;
use super::kind::ServerKind;
use crate::config::definition::{ServerForm, SettingForm, SettingValue};

/// Two settings, `AUTH USERNAME PASSWORD`; without a user name it is the default user's.
pub(super) static KIND: ServerKind = ServerKind {
    form: ServerForm {
        name: info::NAME,
        alias: None,
        default_page: None,
        settings: &[
            SettingForm {
                needs: Some(("password", "a user name needs its password")),
                ..SettingForm::optional("username", SettingValue::Text)
            },
            SettingForm::optional("password", SettingValue::Secret),
        ],
        has_cleaner: true,
    },
    source: |server, own, _| Box::new(RedisMetrics::new(server, own)),
    cleaner: Some(&RedisCleaner),
};
