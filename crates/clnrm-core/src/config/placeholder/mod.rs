//! Placeholders such as `{port}` and `{cache.addr}` in commands, environments, URLs and bodies.
//!
//! Everything else in braces is left exactly as it is: JSON, `awk '{print}'`, `${shell}`, `%{http_code}`, `#{ruby}`,
//! and anything in double braces. Deliberately absent: which text may refer to which service (see `test_file`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::definition::{CommandLine, Launch, Protocol, ServiceDefinition};

mod error;
mod shell;
mod syntax;

pub use error::PlaceholderError;
pub(crate) use syntax::near_misses;
use syntax::{Segment, parse, segments};

/// Where the processes of this machine listen.
pub const HOST: &str = "127.0.0.1";
/// What stands for this machine where a container looks for a local process.
pub(crate) const HOST_GATEWAY: &str = "host-gateway";

/// What a placeholder asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Property {
    /// `{port}`: the main port.
    Port,
    /// `{port.NAME}`: a further port, by name.
    NamedPort(String),
    /// `{host}`.
    Host,
    /// `{addr}`: `host:port`.
    Addr,
    /// `{data_dir}`: the instance's own directory.
    DataDir,
    /// `{clnrm}`: the path of the running clnrm.
    Clnrm,
}

/// One placeholder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placeholder {
    /// `cache` in `{cache.port}`; `None` = the instance itself.
    pub service: Option<String>,
    /// What is asked for.
    pub property: Property,
}

/// As it is written between the braces.
impl fmt::Display for Placeholder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(service) = &self.service {
            write!(f, "{service}.")?;
        }
        match &self.property {
            Property::Port => f.write_str("port"),
            Property::NamedPort(name) => write!(f, "port.{name}"),
            Property::Host => f.write_str("host"),
            Property::Addr => f.write_str("addr"),
            Property::DataDir => f.write_str("data_dir"),
            Property::Clnrm => f.write_str("clnrm"),
        }
    }
}

impl Placeholder {
    /// Whether it says where a service is reached.
    pub(crate) fn is_address(&self) -> bool {
        !matches!(self.property, Property::DataDir | Property::Clnrm)
    }

    /// Whether it needs a main port.
    pub(crate) fn needs_main_port(&self) -> bool {
        matches!(self.property, Property::Port | Property::Addr)
    }
}

/// The values that placeholders stand for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bindings {
    /// The path of the running clnrm.
    pub clnrm: PathBuf,
    /// The service that bare placeholders belong to; `None` in steps, where loading has qualified them.
    pub own: Option<String>,
    /// One instance per service name.
    pub services: BTreeMap<String, Where>,
    /// Local processes, where the reader of the text is a container: it reaches those that it waits for, and the folders
    /// of none.
    pub outside: BTreeSet<String>,
}

/// Where an instance is reached, and where its data are.
///
/// As JSON it is the column `ports` of the history, where it lacks the folder, which moves with the project, and in old
/// rows the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Where {
    /// Host name or address.
    #[serde(default)]
    pub host: String,
    /// Main port, if it has one.
    #[serde(rename = "main")]
    pub port: Option<u16>,
    /// Further ports, by name.
    #[serde(rename = "named")]
    pub named_ports: BTreeMap<String, u16>,
    /// Its own directory.
    #[serde(skip)]
    pub data_dir: PathBuf,
    /// The same, as others see it that share a network with it; `None` = it is a process of this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inside: Option<Inside>,
}

/// An instance, seen from inside the project's network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inside {
    /// Its name there.
    pub name: String,
    /// The names by which it finds others, each with what it stands for there.
    #[serde(default)]
    pub links: BTreeMap<String, String>,
    /// Its address there.
    pub ip: Option<String>,
    /// Main port, if it has one.
    pub port: Option<u16>,
    /// What the main port speaks below.
    #[serde(default)]
    pub protocol: Protocol,
    /// Further ports, by name.
    pub named_ports: BTreeMap<String, u16>,
    /// Its own directory.
    pub data_dir: PathBuf,
}

impl Where {
    /// `host:port`; `None` = it has no main port.
    pub fn address(&self) -> Option<String> {
        Some(format!("{}:{}", self.host, self.port?))
    }

    /// Every port of it.
    pub fn ports(&self) -> impl Iterator<Item = u16> + '_ {
        self.port
            .into_iter()
            .chain(self.named_ports.values().copied())
    }

    /// What others may know of a job that is done: its folder. Where it listened, nobody does.
    #[must_use]
    pub(crate) fn of_done(self) -> Self {
        Self {
            host: self.host,
            data_dir: self.data_dir,
            ..Self::default()
        }
    }

    /// What a container's own name for this instance stands for in its network; `None` = nobody can be reached there.
    pub(crate) fn link(&self) -> Option<&str> {
        match &self.inside {
            Some(inside) => Some(&inside.name),
            None if self.port.is_some() || !self.named_ports.is_empty() => Some(HOST_GATEWAY),
            None => None,
        }
    }
}

impl Bindings {
    /// The same values as the container of `own` must use them; `own_host` is what it calls itself.
    #[must_use]
    pub fn seen_from_container(&self, own: &str, own_host: &str) -> Self {
        let mut seen = Self {
            clnrm: self.clnrm.clone(),
            own: self.own.clone(),
            ..Self::default()
        };
        let own_binding = self.services.get(own);
        let links = own_binding.and_then(|own| Some(&own.inside.as_ref()?.links));
        let reaches = |name: &String| {
            links.is_some_and(|links| links.get(name).is_some_and(|at| at == HOST_GATEWAY))
        };
        for (name, binding) in &self.services {
            let Some(inside) = &binding.inside else {
                if reaches(name) {
                    let binding = Where {
                        host: name.clone(),
                        ..binding.clone()
                    };
                    seen.services.insert(name.clone(), binding);
                }
                seen.outside.insert(name.clone());
                continue;
            };
            let host = if name == own { own_host } else { &inside.name };
            let binding = Where {
                host: host.to_owned(),
                port: inside.port,
                named_ports: inside.named_ports.clone(),
                data_dir: inside.data_dir.clone(),
                inside: None,
            };
            seen.services.insert(name.clone(), binding);
        }
        seen
    }
}

/// All placeholders in a text, in order.
pub fn placeholders_in(text: &str) -> Vec<Placeholder> {
    segments(text)
        .into_iter()
        .filter_map(|segment| match segment {
            Segment::Braced(body) => parse(body),
            Segment::Literal(_) => None,
        })
        .collect()
}

/// Replaces every placeholder by its value.
///
/// # Errors
/// Names the placeholder that has no value.
pub fn render(text: &str, bindings: &Bindings) -> Result<String, PlaceholderError> {
    rewrite(text, |body, placeholder| value(body, placeholder, bindings))
}

/// Program and arguments with every placeholder filled in; what a shell reads gets its values quoted.
///
/// # Errors
/// Names the placeholder that has no value, or whose value cannot be passed where it stands.
pub fn render_command(
    command: &CommandLine,
    bindings: &Bindings,
) -> Result<Vec<String>, PlaceholderError> {
    match command {
        CommandLine::Exec(arguments) => shell::render_arguments(arguments, bindings),
        CommandLine::Shell(script) => Ok(vec![
            "sh".to_owned(),
            "-c".to_owned(),
            shell::render_script(script, bindings)?,
        ]),
    }
}

/// Makes the bare placeholders of a step's text belong to `service`: `{port}` becomes `{cache.port}`.
pub(crate) fn qualify(text: &str, service: &str) -> String {
    let qualified = rewrite(text, |body, placeholder| {
        let bare = placeholder.service.is_none() && placeholder.property != Property::Clnrm;
        Ok::<_, std::convert::Infallible>(if bare {
            format!("{{{service}.{body}}}")
        } else {
            format!("{{{body}}}")
        })
    });
    match qualified {
        Ok(text) => text,
    }
}

/// Whether an instance has a main port.
pub(crate) fn has_main_port(service: &ServiceDefinition) -> bool {
    states_a_port(service) || needs_main_port(service)
}

fn states_a_port(service: &ServiceDefinition) -> bool {
    match &service.launch {
        Launch::Process(_) => !service.fixed_ports.is_empty(),
        Launch::Container(container) => !container.ports.is_empty(),
    }
}

/// Whether a main port must be chosen: it is used, and the file states none.
pub(crate) fn needs_main_port(service: &ServiceDefinition) -> bool {
    !states_a_port(service) && own_placeholders(service).any(|one| one.needs_main_port())
}

/// The further ports that an instance needs, by name.
pub(crate) fn named_ports(service: &ServiceDefinition) -> BTreeSet<String> {
    let names = own_placeholders(service).filter_map(|placeholder| match placeholder.property {
        Property::NamedPort(name) => Some(name),
        _ => None,
    });
    names.collect()
}

/// Whether a service's command or environment asks for its own directory.
pub(crate) fn needs_data_dir(service: &ServiceDefinition) -> bool {
    own_placeholders(service).any(|placeholder| placeholder.property == Property::DataDir)
}

/// What a service's command and environment ask about itself.
fn own_placeholders(service: &ServiceDefinition) -> impl Iterator<Item = Placeholder> {
    placeholders_of(service).filter(|placeholder| {
        (placeholder.service.as_ref()).is_none_or(|name| *name == service.name)
    })
}

/// What a service's command and environment ask.
pub(crate) fn placeholders_of(service: &ServiceDefinition) -> impl Iterator<Item = Placeholder> {
    let (command, entry_point) = match &service.launch {
        Launch::Process(command) => (Some(command), None),
        Launch::Container(container) => {
            (container.command.as_ref(), container.entry_point.as_ref())
        }
    };
    let texts = command.map(command_texts).unwrap_or_default().iter();
    texts
        .chain(entry_point.into_iter().flatten())
        .chain(service.env.values())
        .flat_map(|text| placeholders_in(text))
}

pub(crate) fn command_texts(command: &CommandLine) -> &[String] {
    match command {
        CommandLine::Exec(arguments) => arguments,
        CommandLine::Shell(script) => std::slice::from_ref(script),
    }
}

fn rewrite<E>(
    text: &str,
    mut replace: impl FnMut(&str, Placeholder) -> Result<String, E>,
) -> Result<String, E> {
    let mut result = String::with_capacity(text.len());
    for segment in segments(text) {
        match segment {
            Segment::Literal(literal) => result.push_str(literal),
            Segment::Braced(body) => match parse(body) {
                Some(placeholder) => result.push_str(&replace(body, placeholder)?),
                None => {
                    result.push('{');
                    result.push_str(body);
                    result.push('}');
                }
            },
        }
    }
    Ok(result)
}

fn value(
    body: &str,
    placeholder: Placeholder,
    bindings: &Bindings,
) -> Result<String, PlaceholderError> {
    let written = || body.to_owned();
    let path_text = |path: &PathBuf| {
        let text = path.to_str().map(str::to_owned);
        text.ok_or_else(|| PlaceholderError::NotUtf8 {
            placeholder: written(),
            path: path.clone(),
        })
    };
    if placeholder.property == Property::Clnrm {
        return path_text(&bindings.clnrm);
    }
    let service = placeholder.service.or_else(|| bindings.own.clone());
    let service = service.ok_or_else(|| PlaceholderError::NoService {
        placeholder: written(),
    })?;
    let Some(instance) = bindings.services.get(&service) else {
        if bindings.outside.contains(&service) {
            return Err(PlaceholderError::OutOfReach {
                placeholder: written(),
                service,
            });
        }
        return Err(PlaceholderError::UnknownService {
            placeholder: written(),
            service,
        });
    };
    let port = |port: Option<u16>| {
        port.ok_or_else(|| PlaceholderError::NoPort {
            placeholder: written(),
            service: service.clone(),
        })
    };
    match &placeholder.property {
        Property::Port => Ok(port(instance.port)?.to_string()),
        Property::NamedPort(name) => Ok(port(instance.named_ports.get(name).copied())?.to_string()),
        Property::Host => Ok(instance.host.clone()),
        Property::Addr if instance.host.contains(':') => {
            Ok(format!("[{}]:{}", instance.host, port(instance.port)?))
        }
        Property::Addr => Ok(format!("{}:{}", instance.host, port(instance.port)?)),
        Property::DataDir if bindings.outside.contains(&service) => {
            Err(PlaceholderError::FolderOutside {
                placeholder: written(),
                service,
            })
        }
        Property::DataDir => path_text(&instance.data_dir),
        Property::Clnrm => path_text(&bindings.clnrm),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bindings() -> Bindings {
        let instance = |host: &str, port| Where {
            host: host.to_owned(),
            port,
            named_ports: BTreeMap::from([("admin".to_owned(), 9001)]),
            data_dir: PathBuf::from("/data"),
            inside: None,
        };
        Bindings {
            outside: BTreeSet::new(),
            clnrm: PathBuf::from("/bin/clnrm"),
            own: Some("my.app".to_owned()),
            services: BTreeMap::from([
                ("my.app".to_owned(), instance("127.0.0.1", Some(8080))),
                ("db".to_owned(), instance("::1", Some(5432))),
                ("job".to_owned(), instance("127.0.0.1", None)),
            ]),
        }
    }

    fn rendered(text: &str) -> String {
        render(text, &bindings()).unwrap()
    }

    #[test]
    fn placeholders_become_values() {
        assert_eq!(rendered("-p {port} {port.admin}"), "-p 8080 9001");
        assert_eq!(
            rendered("{host}|{addr}|{data_dir}"),
            "127.0.0.1|127.0.0.1:8080|/data"
        );
        assert_eq!(
            rendered("http://{db.addr}/{db.port}"),
            "http://[::1]:5432/5432"
        );
        assert_eq!(rendered("{my.app.port}{my.app.port.admin}"), "80809001");
        assert_eq!(rendered("{clnrm} demo"), "/bin/clnrm demo");
        assert_eq!(
            rendered(r#"{"a":{"port":{port}}}"#),
            r#"{"a":{"port":8080}}"#
        );
    }

    #[test]
    fn other_braces_stay_as_they_are() {
        let texts = [
            r#"{"port": 1, "a": {"b": []}}"#,
            "awk '{print}' '{print $1}'",
            "${port} $${port} %{http_code} #{host}",
            "{{port}} {{ db.addr }} {{",
            "{a,b} {1..3} {} { port } {3} [0-9]{2,4}",
            "{post} {hosts} {.port} {port.} {db.name} {",
            "f() { echo hi; }",
        ];
        for text in texts {
            assert_eq!(rendered(text), text);
            assert_eq!(placeholders_in(text), [], "{text}");
        }
    }

    #[test]
    fn a_value_that_is_missing_is_named() {
        let error = |text: &str| render(text, &bindings()).unwrap_err().to_string();
        assert_eq!(
            error("{job.addr}"),
            "{job.addr}: service `job` has no such port"
        );
        assert_eq!(
            error("{db.port.x}"),
            "{db.port.x}: service `db` has no such port"
        );
        assert_eq!(
            error("{web.host}"),
            "{web.host}: there is no service `web` here"
        );
        let nobody = Bindings::default();
        let error = render("{port}", &nobody).unwrap_err().to_string();
        assert_eq!(error, "{port} belongs to a service, and none is named here");
    }

    #[test]
    fn near_misses_are_few_and_certain() {
        let meant = |text: &str| {
            let misses = near_misses(text, &["cache"]);
            misses
                .into_iter()
                .map(|miss| miss.meant)
                .collect::<Vec<_>>()
        };
        let is = |meant: &str| vec![Some(meant.to_owned())];
        assert_eq!(meant("{cache.prot}"), is("cache.port"));
        assert_eq!(meant("{cache.colour}"), [None]);
        assert_eq!(meant("{prot}"), is("port"));
        assert_eq!(meant("{PORT}"), is("port"));
        assert_eq!(meant("{hsot}"), is("host"));
        assert_eq!(meant("{datadir}"), is("data_dir"));
        assert_eq!(meant("{clrnm}"), is("clnrm"));
        let words = "{print} {post} {part} {sort} {ports} {hosts} {add} {data} {claim} ${prot} {{prot}} {self.prot}";
        assert_eq!(meant(words), []);
    }

    #[test]
    fn qualifying_makes_bare_placeholders_name_their_service() {
        assert_eq!(
            qualify(
                "{port} {port.x} {addr} {db.port} {clnrm} {print} ${port}",
                "web"
            ),
            "{web.port} {web.port.x} {web.addr} {db.port} {clnrm} {print} ${port}"
        );
    }

    #[test]
    fn a_container_sees_other_containers_by_name_and_processes_that_it_is_linked_to() {
        let mut bindings = bindings();
        for (name, port) in [("my.app", 80), ("db", 5432)] {
            let binding = bindings.services.get_mut(name).unwrap();
            binding.inside = Some(Inside {
                name: format!("clnrm-{name}"),
                port: Some(port),
                ..Inside::default()
            });
        }
        let seen = bindings.seen_from_container("my.app", "0.0.0.0");
        assert_eq!(
            render("{addr} {db.addr}", &seen).unwrap(),
            "0.0.0.0:80 clnrm-db:5432"
        );
        assert_eq!(
            render("{job.host}", &seen).unwrap_err().to_string(),
            "{job.host}: service `job` is a local process, which this container is not made to reach: it does not wait \
             for it (`depends_on`)"
        );
        let process = Where {
            port: Some(6379),
            inside: None,
            ..bindings.services["db"].clone()
        };
        let own = bindings.services.get_mut("my.app").unwrap();
        let links = &mut own.inside.as_mut().unwrap().links;
        links.insert("cache".to_owned(), process.link().unwrap().to_owned());
        bindings.services.insert("cache".to_owned(), process);
        let seen = bindings.seen_from_container("my.app", "0.0.0.0");
        assert_eq!(render("{cache.addr}", &seen).unwrap(), "cache:6379");
        assert!(matches!(
            render("{cache.data_dir}", &seen),
            Err(PlaceholderError::FolderOutside { .. })
        ));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn text_without_placeholders_is_unchanged(text in r#"[{}$%.a-z"\PC]{0,40}"#) {
            prop_assume!(placeholders_in(&text).is_empty());
            prop_assert_eq!(rendered(&text), text);
        }

        #[test]
        fn a_qualified_text_renders_as_the_bare_one(text in r"[{}$a ]{0,3}(\{port\}|\{addr\}|\{port\.admin\}|[{}$ x]){0,6}") {
            let qualified = qualify(&text, "my.app");
            prop_assert_eq!(rendered(&text), rendered(&qualified));
        }
    }
}
