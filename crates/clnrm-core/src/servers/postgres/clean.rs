//! The service's database is dropped and made again from a copy that was taken when the instance was fresh.
//!
//! All of that is said in a database of clnrm's own, because nobody may be connected to one that is copied or dropped.

use async_trait::async_trait;
use tokio_postgres::SimpleQueryMessage;

use super::connection::{ConnectError, Session};
use crate::servers::kind::{Cleaner, Server};

/// Where clnrm is connected while it copies and drops others.
const OWN_DATABASE: &str = "clnrm_maintenance";
/// The copy; nobody may connect to it, so it stays as it is.
const PRISTINE: &str = "clnrm_pristine";

/// Everything of the whole server that a test could have changed and that is not in the database itself.
const SERVER_STATE: &str = "\
    SELECT concat_ws(' ', 'database', datname, pg_get_userbyid(datdba), datallowconn, datconnlimit, datacl::text) \
    FROM pg_database ORDER BY 1; \
    SELECT concat_ws(' ', 'role', rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, \
    rolreplication, rolconnlimit, rolvaliduntil, md5(coalesce(rolpassword, ''))) FROM pg_authid ORDER BY 1; \
    SELECT concat_ws(' ', 'member', roleid::regrole, member::regrole) FROM pg_auth_members ORDER BY 1; \
    SELECT concat_ws(' ', 'setting', setdatabase, setrole::regrole, setconfig::text) \
    FROM pg_db_role_setting ORDER BY 1; \
    SELECT concat_ws(' ', 'configured', name, md5(setting)) FROM pg_settings \
    WHERE source IN ('configuration file', 'default', 'override', 'command line') ORDER BY 1; \
    SELECT concat_ws(' ', 'file', name, md5(setting)) FROM pg_file_settings ORDER BY 1; \
    SELECT concat_ws(' ', 'tablespace', spcname) FROM pg_tablespace ORDER BY 1; \
    SELECT concat_ws(' ', 'slot', slot_name) FROM pg_replication_slots ORDER BY 1; \
    SELECT concat_ws(' ', 'prepared', gid) FROM pg_prepared_xacts ORDER BY 1; \
    SELECT concat_ws(' ', 'client', datname, application_name) FROM pg_stat_activity \
    WHERE backend_type = 'client backend' AND application_name <> 'clnrm' ORDER BY 1";

/// The database itself: what is in it, and how large each table is. Names alone, since it is a copy of the pristine one.
const DATABASE_STATE: &str = "\
    SELECT concat_ws(' ', 'relation', n.nspname, c.relname, c.relkind::text, \
    CASE WHEN c.relkind IN ('r', 'S', 'm', 'i') THEN pg_relation_size(c.oid) END) FROM pg_class c \
    JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') ORDER BY 1; \
    SELECT concat_ws(' ', 'schema', nspname, nspacl::text) FROM pg_namespace \
    WHERE nspname !~ '^pg_(temp|toast_temp)' ORDER BY 1; \
    SELECT concat_ws(' ', 'function', p.oid::regprocedure, md5(coalesce(p.prosrc, ''))) FROM pg_proc p \
    JOIN pg_namespace n ON n.oid = p.pronamespace \
    WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1; \
    SELECT concat_ws(' ', 'extension', extname, extversion) FROM pg_extension ORDER BY 1; \
    SELECT concat_ws(' ', 'large object', oid) FROM pg_largeobject_metadata ORDER BY 1";

#[derive(Debug)]
pub(super) struct PostgresCleaner;

#[async_trait]
impl Cleaner for PostgresCleaner {
    async fn remember(&self, server: &Server<'_>) -> Result<(), String> {
        let database = database_of(server);
        {
            let first = connect(server, database).await?;
            first
                .run(&format!("CREATE DATABASE {OWN_DATABASE}"))
                .await?;
        }
        let session = connect(server, OWN_DATABASE).await?;
        session.disconnect_others(database).await?;
        let template = quoted(database);
        for statement in [
            format!("CREATE DATABASE {PRISTINE} TEMPLATE {template}"),
            format!("ALTER DATABASE {PRISTINE} WITH ALLOW_CONNECTIONS false IS_TEMPLATE true"),
        ] {
            session.run(&statement).await?;
        }
        Ok(())
    }

    /// Drops every database that was not there, and makes the service's own again from its copy.
    async fn reset(&self, server: &Server<'_>) -> Result<(), String> {
        let database = database_of(server);
        let session = connect(server, OWN_DATABASE).await?;
        session.disconnect_others(database).await?;
        let name = quoted(database);
        for statement in [
            format!("DROP DATABASE IF EXISTS {name}"),
            format!("CREATE DATABASE {name} TEMPLATE {PRISTINE}"),
        ] {
            session.run(&statement).await?;
        }
        Ok(())
    }

    /// The catalogs of the server and of the database.
    async fn verify(&self, server: &Server<'_>) -> Result<String, String> {
        let session = match connect(server, OWN_DATABASE).await {
            Ok(session) => session,
            // A reset of the file's own does without our databases.
            Err(_) => connect(server, database_of(server)).await?,
        };
        let mut output = session.ask(SERVER_STATE).await?;
        drop(session);
        let inside = connect(server, database_of(server)).await?;
        output.push_str(&inside.ask(DATABASE_STATE).await?);
        Ok(output)
    }

    /// It knows the sizes of tables, and not what is in them.
    fn proves_other_resets(&self, _fresh: &str) -> bool {
        false
    }
}

impl Session {
    async fn run(&self, statement: &str) -> Result<(), String> {
        let done = self.client.batch_execute(statement).await;
        done.map_err(|error| told(&error))
    }

    /// The first column of every row, a line each.
    async fn ask(&self, query: &str) -> Result<String, String> {
        let answer = self.client.simple_query(query).await;
        let answer = answer.map_err(|error| told(&error))?;
        let mut output = String::new();
        for message in &answer {
            if let SimpleQueryMessage::Row(row) = message {
                output.push_str(row.try_get(0).ok().flatten().unwrap_or_default());
                output.push('\n');
            }
        }
        Ok(output)
    }

    async fn disconnect_others(&self, database: &str) -> Result<(), String> {
        let name = database.replace('\'', "''");
        self.run(&format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = '{name}' AND pid <> pg_backend_pid()"
        ))
        .await
    }
}

async fn connect(server: &Server<'_>, database: &str) -> Result<Session, String> {
    let opened = Session::open(server, database, |_| ()).await;
    opened.map_err(|error| match error {
        ConnectError::Io(error) => format!("{}: {error}", server.address),
        ConnectError::Postgres(error) => told(&error),
    })
}

fn database_of<'a>(server: &Server<'a>) -> &'a str {
    server.setting("database").unwrap_or_default()
}

/// An identifier as SQL writes it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn told(error: &tokio_postgres::Error) -> String {
    let said = error.as_db_error();
    said.map_or_else(
        || crate::text::one_line(error),
        |said| said.message().to_owned(),
    )
}
