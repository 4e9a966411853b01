//! PostgreSQL.

mod clean;
mod connection;
mod metrics;

use self::clean::PostgresCleaner;
use self::metrics::PostgresMetrics;
use super::kind::ServerKind;
use crate::config::definition::{ServerForm, SettingForm, SettingValue};

/// By PostgreSQL's own convention, the superuser and the maintenance database are both `postgres`.
pub(super) static KIND: ServerKind = ServerKind {
    form: ServerForm {
        name: metrics::NAME,
        alias: Some("postgresql"),
        default_page: None,
        settings: &[
            SettingForm::or("user", SettingValue::Text, "postgres"),
            SettingForm::optional("password", SettingValue::Secret),
            SettingForm::or("database", SettingValue::Text, "postgres"),
        ],
        has_cleaner: true,
    },
    source: |server, own, _| Box::new(PostgresMetrics::new(server, own)),
    cleaner: Some(&PostgresCleaner),
};
