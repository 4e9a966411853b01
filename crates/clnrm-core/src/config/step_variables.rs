//! The variables by which the steps of a test are told where a service is: `CACHE_HOST` and `CACHE_PORT` of `cache`.

use super::definition::ServiceDefinition;
use super::placeholder::has_main_port;

/// Variables that programs read to find something that is none of the test's services. A service that happens to have
/// such a name must not send them elsewhere. From the documentation of docker, podman, buildx, the libraries of
/// Kubernetes, Helm, the command lines of GitHub, GitLab and Databricks.
const READ_BY_PROGRAMS: [&str; 9] = [
    "BUILDKIT_HOST",
    "CONTAINER_HOST",
    "DATABRICKS_HOST",
    "DOCKER_HOST",
    "GH_HOST",
    "GITLAB_HOST",
    "HELM_HOST",
    "KUBERNETES_SERVICE_HOST",
    "KUBERNETES_SERVICE_PORT",
];

/// What the variables of a service begin with: `MY_APP` of `my-app`.
pub fn prefix(service: &str) -> String {
    let upper = |letter: char| match letter.is_ascii_alphanumeric() {
        true => letter.to_ascii_uppercase(),
        false => '_',
    };
    service.chars().map(upper).collect()
}

/// The variables of a service at this place, without those that are left to the caller.
pub fn of_service(service: &str, host: &str, port: u16) -> impl Iterator<Item = (String, String)> {
    let prefix = prefix(service);
    let all = [
        (format!("{prefix}_HOST"), host.to_owned()),
        (format!("{prefix}_PORT"), port.to_string()),
    ];
    all.into_iter()
        .filter(|(name, _)| !READ_BY_PROGRAMS.contains(&name.as_str()))
}

/// The variables that keep the caller's value although a service of the test has such a name: service, variable, and the
/// placeholder that says the same.
pub fn left_to_the_caller(
    services: &[ServiceDefinition],
) -> impl Iterator<Item = (&str, &'static str, &'static str)> {
    let services = services.iter().filter(|service| has_main_port(service));
    services.flat_map(|service| {
        let prefix = prefix(&service.name);
        READ_BY_PROGRAMS.into_iter().filter_map(move |variable| {
            let placeholder = match variable.strip_prefix(&prefix)? {
                "_HOST" => "host",
                "_PORT" => "port",
                _ => return None,
            };
            Some((service.name.as_str(), variable, placeholder))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_never_redirects_a_program() {
        let names = |service: &str| {
            let all = of_service(service, "127.0.0.1", 80);
            all.map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(names("my-app.1"), ["MY_APP_1_HOST", "MY_APP_1_PORT"]);
        assert_eq!(names("docker"), ["DOCKER_PORT"]);
        assert!(names("kubernetes-service").is_empty());
    }
}
