//! Placeholders such as `{port}` and `{cache.addr}` in commands, environments, URLs and bodies.
//!
//! Everything else in braces is left exactly as it is: JSON, `awk '{print}'`, `${shell}`, `%{http_code}`, `#{ruby}`,
//! and anything in double braces. Deliberately absent: which text may refer to which service (see `test_file`).

use super::definition::CommandLine;

mod bindings;
mod error;
mod needs;
mod render;
mod shell;
mod syntax;

pub(crate) use bindings::HOST_GATEWAY;
pub use bindings::{Bindings, HOST, Inside, Where};
pub use error::PlaceholderError;
pub(crate) use needs::{
    has_main_port, named_ports, needs_data_dir, needs_main_port, placeholders_of,
};
pub use render::render;
pub use syntax::{Placeholder, Property, placeholders_in};
pub(crate) use syntax::{near_misses, qualify};

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use std::collections::{BTreeMap, BTreeSet};
    use std::path::PathBuf;

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
