//! What a file's parts say about each other: dependencies, placeholders, names of steps.
//!
//! Deliberately absent: reading keys. By now every service and step is known.

use std::collections::{BTreeMap, BTreeSet};

use super::service::ReadService;
use super::step::ReadStep;
use super::values::Template;
use crate::config::definition::{CommandLine, Launch, StepAction, StepDefinition};
use crate::config::placeholder::{Placeholder, Property, near_misses, placeholders_in, qualify};
use crate::config::reader::{Place, Source};
use crate::config::spelling::nearest;
use crate::config::step_variables;

/// Checks dependencies between services, their placeholders and the ports that they ask for.
pub(super) fn check_services(source: &Source<'_>, services: &[ReadService]) {
    let known = names(services);
    for service in services {
        for (name, place) in &service.depends_on {
            if !known.contains(&name.as_str()) {
                report_unknown(source, place, "service", name, &known);
            }
        }
        let scope = Scope {
            services,
            own: Some(service),
            only_dependencies: true,
        };
        for template in &service.uses.templates {
            scope.check(source, template);
        }
        let has_no_port = service.ports.as_ref().is_some_and(|ports| !ports.main);
        for place in service.uses.main_port.iter().filter(|_| has_no_port) {
            let message = "this asks the service's own port, and it has none";
            source.report(place, message.to_owned(), Some(PORT_HINT.to_owned()));
        }
    }
    report_cycles(source, services);
    report_same_variables(source, services);
}

/// Services of which only one could be found by its variables.
fn report_same_variables(source: &Source<'_>, services: &[ReadService]) {
    let mut first_with: BTreeMap<String, &str> = BTreeMap::new();
    for service in services {
        if service.ports.as_ref().is_some_and(|ports| !ports.main) {
            continue;
        }
        let name = service.definition.name.as_str();
        let prefix = step_variables::prefix(name);
        let message = match first_with.get(&prefix) {
            Some(first) => format!(
                "steps would find both `{first}` and `{name}` in ${prefix}_HOST and ${prefix}_PORT"
            ),
            None => {
                first_with.insert(prefix, name);
                continue;
            }
        };
        source.report(
            &service.place,
            message,
            Some("rename one of them".to_owned()),
        );
    }
}

/// Checks what steps refer to, gives every step a name of its own, and makes bare placeholders name their service.
pub(super) fn check_steps(source: &Source<'_>, services: &[ReadService], steps: &mut [ReadStep]) {
    let known = names(services);
    for step in steps.iter_mut() {
        let mut own = match services {
            [only] => Some(only),
            _ => None,
        };
        if let Some((name, place)) = &step.service {
            own = services
                .iter()
                .find(|service| service.definition.name == *name);
            if own.is_none() {
                report_unknown(source, place, "service", name, &known);
            }
        }
        let scope = Scope {
            services,
            own,
            only_dependencies: false,
        };
        for template in &step.uses.templates {
            scope.check(source, template);
        }
        if let Some(own) = own {
            place_step(source, step, own);
        }
        refuse_folders_of_containers(source, services, step);
        if let Some(own) = own {
            for text in template_texts(&mut step.definition) {
                *text = qualify(text, &own.definition.name);
            }
            // Braces in an expected text are not refused: what means nothing in this test is meant literally.
            let means = |placeholder: &Placeholder| {
                placeholder.property == Property::Clnrm
                    || scope.check_placeholder(placeholder, &known).is_ok()
            };
            if let Some(text) = expected_text(&mut step.definition)
                && placeholders_in(text).iter().all(means)
            {
                *text = qualify(text, &own.definition.name);
            }
        }
    }
    check_step_names(source, steps);
}

/// Whether a command step runs inside the container of `own`, which is the service that it names or the file's only one.
///
/// Files of the first clnrm declare one image and mean every step to run in it. A step that asks for the service's
/// address speaks to it from outside.
fn place_step(source: &Source<'_>, step: &mut ReadStep, own: &ReadService) {
    let is_client = step.uses.templates.iter().any(|template| {
        placeholders_in(&template.text)
            .iter()
            .any(Placeholder::is_address)
    });
    let StepAction::Command(command) = &mut step.definition.action else {
        return;
    };
    if !is_container(own) || own.definition.is_job() {
        return;
    }
    if command.service.is_none() && !is_client {
        command.service = Some(own.definition.name.clone());
    }
    let relative = (command.working_dir.as_ref()).filter(|path| path.is_relative());
    if let (Some(_), Some(path)) = (&command.service, relative) {
        let message = format!(
            "the step's working directory {:?} must be absolute: it is inside the container",
            path.display()
        );
        source.report(&step.place, message, None);
    }
}

/// The own folder of a container is inside it, where only steps inside can use it.
fn refuse_folders_of_containers(source: &Source<'_>, services: &[ReadService], step: &ReadStep) {
    let inside = match &step.definition.action {
        StepAction::Command(command) => command.service.as_deref(),
        StepAction::Http(_) => None,
    };
    for template in &step.uses.templates {
        for placeholder in placeholders_in(&template.text) {
            let name = match (&placeholder.service, services) {
                (Some(name), _) => name.as_str(),
                (None, [only]) => only.definition.name.as_str(),
                (None, _) => continue,
            };
            let is_elsewhere = |service: &ReadService| {
                service.definition.name == name && is_container(service) && inside != Some(name)
            };
            if placeholder.property == Property::DataDir && services.iter().any(is_elsewhere) {
                let message = format!("`{{{placeholder}}}`: that folder is inside the container");
                let hint = format!("add `service = \"{name}\"` to the step, so that it runs there");
                source.report(&template.place, message, Some(hint));
            }
        }
    }
}

fn is_container(service: &ReadService) -> bool {
    matches!(service.definition.launch, Launch::Container(_))
}

const PORT_HINT: &str = "use {port} in its command, or state its port in `ports`";
const LITERAL_HINT: &str = "to keep it as it is, put a space inside the braces";

fn names(services: &[ReadService]) -> Vec<&str> {
    let names = services
        .iter()
        .map(|service| service.definition.name.as_str());
    names.collect()
}

fn report_unknown(source: &Source<'_>, place: &Place, what: &str, name: &str, known: &[&str]) {
    let hint = match nearest(name, known.iter().copied()) {
        Some(known) => format!("did you mean `{known}`?"),
        None if known.is_empty() => format!("there is no {what} to refer to"),
        None => format!("there are: {}", known.join(", ")),
    };
    source.report(place, format!("unknown {what} `{name}`"), Some(hint));
}

/// Which services a text may refer to.
struct Scope<'a> {
    services: &'a [ReadService],
    /// What a bare placeholder means.
    own: Option<&'a ReadService>,
    /// Whether other services may be named only if `own` waits for them.
    only_dependencies: bool,
}

impl Scope<'_> {
    fn check(&self, source: &Source<'_>, template: &Template) {
        let known = names(self.services);
        let report = |message, hint: String| source.report(&template.place, message, Some(hint));
        for miss in near_misses(&template.text, &known) {
            let hint = match miss.meant {
                Some(meant) => format!("did you mean `{{{meant}}}`? {LITERAL_HINT}"),
                None => {
                    format!("a service has port, port.NAME, host, addr, data_dir; {LITERAL_HINT}")
                }
            };
            report(format!("unknown placeholder `{{{}}}`", miss.written), hint);
        }
        for placeholder in placeholders_in(&template.text) {
            if placeholder.property == Property::Clnrm {
                continue;
            }
            if let Err((message, hint)) = self.check_placeholder(&placeholder, &known) {
                report(format!("`{{{placeholder}}}`: {message}"), hint);
            }
        }
    }

    fn check_placeholder(
        &self,
        placeholder: &Placeholder,
        known: &[&str],
    ) -> Result<(), (String, String)> {
        let service = match &placeholder.service {
            Some(name) => self.named(name, known)?,
            None => self.own.ok_or_else(|| {
                let way_out = match known {
                    [] => format!("the file has no services; {LITERAL_HINT}"),
                    _ => format!(
                        "write `{{NAME.{placeholder}}}`, or add `service = \"NAME\"` to the step"
                    ),
                };
                ("does not say which service is meant".to_owned(), way_out)
            })?,
        };
        let name = &service.definition.name;
        let is_itself =
            self.only_dependencies && (self.own).is_some_and(|own| own.definition.name == *name);
        if service.definition.is_job() && placeholder.is_address() && !is_itself {
            return Err((
                format!("service `{name}` is a job, and when it is done nobody listens there"),
                "name a service that stays up".to_owned(),
            ));
        }
        let from_inside = self.only_dependencies && self.own.is_some_and(is_container);
        let is_outside = from_inside && !is_container(service);
        if is_outside && placeholder.property == Property::DataDir {
            return Err((
                format!(
                    "service `{name}` is a local process, and its folder is not inside the container"
                ),
                "keep what both need in a folder that `volumes` names".to_owned(),
            ));
        }
        let Some(ports) = &service.ports else {
            return Ok(());
        };
        match &placeholder.property {
            Property::NamedPort(port) if !ports.named.contains(port) => Err((
                format!("service `{name}` has no port named `{port}`"),
                format!("use {{port.{port}}} in the command or environment of `{name}`"),
            )),
            _ if !ports.main
                && (placeholder.needs_main_port()
                    || is_outside && placeholder.property == Property::Host) =>
            {
                Err((
                    format!("service `{name}` has no port"),
                    PORT_HINT.to_owned(),
                ))
            }
            _ => Ok(()),
        }
    }

    fn named(&self, name: &str, known: &[&str]) -> Result<&ReadService, (String, String)> {
        let service = (self.services.iter()).find(|service| service.definition.name == name);
        let Some(service) = service else {
            let hint = match nearest(name, known.iter().copied()) {
                Some(known) => format!("did you mean `{known}`? {LITERAL_HINT}"),
                None if known.is_empty() => LITERAL_HINT.to_owned(),
                None => format!("there are: {}; {LITERAL_HINT}", known.join(", ")),
            };
            return Err((format!("unknown service `{name}`"), hint));
        };
        match self.own.filter(|_| self.only_dependencies) {
            Some(own) if own.definition.name != name && !waits_for(self.services, own, name) => {
                Err((
                    format!("`{}` may start before `{name}`", own.definition.name),
                    format!("add depends_on = [\"{name}\"]"),
                ))
            }
            _ => Ok(service),
        }
    }
}

/// Whether `service` waits for the one called `name`, directly or through others.
pub(super) fn waits_for(services: &[ReadService], service: &ReadService, name: &str) -> bool {
    let mut seen = BTreeSet::new();
    let mut pending = vec![service];
    while let Some(service) = pending.pop() {
        for (dependency, _) in &service.depends_on {
            if dependency == name {
                return true;
            }
            if seen.insert(dependency.as_str()) {
                let found = services.iter();
                pending.extend(found.filter(|other| other.definition.name == *dependency));
            }
        }
    }
    false
}

/// Reports each cycle once, at the dependency that closes it.
fn report_cycles(source: &Source<'_>, services: &[ReadService]) {
    let by_name: BTreeMap<&str, &ReadService> = (services.iter())
        .map(|service| (service.definition.name.as_str(), service))
        .collect();
    let mut finished = BTreeSet::new();
    for service in services {
        let mut path = vec![(service, 0)];
        // Depth first with its own stack: a long chain of services must not exhaust the thread's.
        while let Some((service, next)) = path.pop() {
            let name = service.definition.name.as_str();
            let Some((dependency, place)) = service.depends_on.get(next) else {
                finished.insert(name);
                continue;
            };
            path.push((service, next + 1));
            let Some(dependency) = by_name.get(dependency.as_str()) else {
                continue;
            };
            let target = dependency.definition.name.as_str();
            let start = (path.iter()).position(|(on_path, _)| on_path.definition.name == target);
            if let Some(start) = start {
                let cycle = path
                    .iter()
                    .skip(start)
                    .map(|(on_path, _)| on_path.definition.name.as_str());
                let cycle: Vec<&str> = cycle.chain([target]).collect();
                let message = format!("services wait for each other: {}", cycle.join(" → "));
                source.report(
                    place,
                    message,
                    Some("remove one of these dependencies".to_owned()),
                );
            } else if !finished.contains(target) {
                path.push((dependency, 0));
            }
        }
    }
}

/// Steps of different scenarios may share a name, which is then prefixed by the scenario's.
fn check_step_names(source: &Source<'_>, steps: &mut [ReadStep]) {
    let mut uses: BTreeMap<String, usize> = BTreeMap::new();
    for step in steps.iter() {
        *uses.entry(step.definition.name.clone()).or_default() += 1;
    }
    // (scenario, name in the file) → name in the definition, of the steps so far.
    let mut earlier: BTreeMap<(Option<String>, String), String> = BTreeMap::new();
    let mut taken = BTreeSet::new();
    for step in steps.iter_mut() {
        let written = step.definition.name.clone();
        let is_shared = uses.get(&written).is_some_and(|uses| *uses > 1);
        let name = match &step.scenario {
            Some(scenario) if is_shared => format!("{scenario}/{written}"),
            _ => written.clone(),
        };
        if !taken.insert(name.clone()) {
            let message = format!("an earlier step is called `{name}` too");
            source.report(
                &step.place,
                message,
                Some("give it a name of its own".to_owned()),
            );
        }
        let mut depends_on = Vec::new();
        for (wanted, place) in &step.depends_on {
            let in_scenario = earlier.get(&(step.scenario.clone(), wanted.clone()));
            match in_scenario.or_else(|| taken.get(wanted).filter(|taken| **taken != name)) {
                Some(found) => depends_on.push(found.clone()),
                None => {
                    let known: Vec<&str> = earlier.values().map(String::as_str).collect();
                    report_unknown(source, place, "earlier step", wanted, &known);
                }
            }
        }
        step.definition.depends_on = depends_on;
        step.definition.name.clone_from(&name);
        earlier.insert((step.scenario.clone(), written), name);
    }
}

/// Every text of a step in which placeholders are replaced.
fn template_texts(step: &mut StepDefinition) -> Vec<&mut String> {
    match &mut step.action {
        StepAction::Command(step) => {
            let command = match &mut step.command {
                CommandLine::Exec(arguments) => arguments.iter_mut().collect(),
                CommandLine::Shell(script) => vec![script],
            };
            command.into_iter().chain(step.env.values_mut()).collect()
        }
        StepAction::Http(step) => std::iter::once(&mut step.url)
            .chain(step.headers.values_mut())
            .chain(&mut step.body)
            .collect(),
    }
}

fn expected_text(step: &mut StepDefinition) -> Option<&mut String> {
    match &mut step.action {
        StepAction::Command(step) => step.output.contains.as_mut(),
        StepAction::Http(step) => step.body_expectations.contains.as_mut(),
    }
}
