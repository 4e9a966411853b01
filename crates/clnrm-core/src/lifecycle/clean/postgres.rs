//! PostgreSQL: the service's database is dropped and made again from a copy that was taken when the instance was fresh.
//!
//! All of that is said in a database of clnrm's own, because nobody may be connected to one that is copied or dropped.

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use crate::config::definition::Cleaning;
use crate::lifecycle::start::LiveInstance;

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

/// A connection; it ends with this value.
struct Session {
    client: Client,
    _connection: JoinSet<()>,
}

/// Copies the fresh database.
pub(super) async fn remember(
    cleaning: &Cleaning<'_>,
    instance: &LiveInstance,
) -> Result<(), String> {
    let database = database_of(cleaning);
    {
        let first = connect(cleaning, instance, database).await?;
        first
            .run(&format!("CREATE DATABASE {OWN_DATABASE}"))
            .await?;
    }
    let session = connect(cleaning, instance, OWN_DATABASE).await?;
    session.disconnect_others(database).await?;
    session
        .run(&format!(
            "CREATE DATABASE {PRISTINE} TEMPLATE {}",
            quoted(database)
        ))
        .await?;
    session
        .run(&format!(
            "ALTER DATABASE {PRISTINE} WITH ALLOW_CONNECTIONS false IS_TEMPLATE true"
        ))
        .await
}

/// Drops every database that was not there, and makes the service's own again from its copy.
pub(super) async fn reset(cleaning: &Cleaning<'_>, instance: &LiveInstance) -> Result<(), String> {
    let database = database_of(cleaning);
    let session = connect(cleaning, instance, OWN_DATABASE).await?;
    session.disconnect_others(database).await?;
    session
        .run(&format!("DROP DATABASE IF EXISTS {}", quoted(database)))
        .await?;
    session
        .run(&format!(
            "CREATE DATABASE {} TEMPLATE {PRISTINE}",
            quoted(database)
        ))
        .await
}

/// The catalogs of the server and of the database.
pub(super) async fn verify(
    cleaning: &Cleaning<'_>,
    instance: &LiveInstance,
) -> Result<String, String> {
    let server = connect(cleaning, instance, OWN_DATABASE).await;
    let server = match (&cleaning, server) {
        // A reset of the file's own does without our databases.
        (_, Err(_)) => connect(cleaning, instance, database_of(cleaning)).await?,
        (_, Ok(session)) => session,
    };
    let mut output = server.ask(SERVER_STATE).await?;
    drop(server);
    let inside = connect(cleaning, instance, database_of(cleaning)).await?;
    output.push_str(&inside.ask(DATABASE_STATE).await?);
    Ok(output)
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

async fn connect(
    cleaning: &Cleaning<'_>,
    instance: &LiveInstance,
    database: &str,
) -> Result<Session, String> {
    let address = instance.address.as_deref().ok_or("it has no port")?;
    let mut config = tokio_postgres::Config::new();
    config.dbname(database).application_name("clnrm");
    if let Cleaning::Postgres { user, password, .. } = cleaning {
        config.user(*user);
        if let Some(password) = password {
            config.password(*password);
        }
    }
    let stream = TcpStream::connect(address)
        .await
        .map_err(|error| format!("{address}: {error}"))?;
    let (client, connection) = config
        .connect_raw(stream, NoTls)
        .await
        .map_err(|error| told(&error))?;
    let mut connection_task = JoinSet::new();
    connection_task.spawn(async move {
        // Its errors reach whoever uses the client.
        let _ = connection.await;
    });
    Ok(Session {
        client,
        _connection: connection_task,
    })
}

fn database_of<'a>(cleaning: &Cleaning<'a>) -> &'a str {
    match cleaning {
        Cleaning::Postgres { database, .. } => database,
        Cleaning::Command(_) | Cleaning::Redis { .. } => "postgres",
    }
}

/// An identifier as SQL writes it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The server's own words.
fn told(error: &tokio_postgres::Error) -> String {
    let said = error.as_db_error();
    said.map_or_else(
        || crate::text::one_line(error),
        |said| said.message().to_owned(),
    )
}
