//! What services and steps find in their environment, and what a run says of services that it no longer knows.

use crate::project::{TestProject, WEB, answer};

#[tokio::test]
async fn the_callers_variables_stay_the_callers() {
    let project = TestProject::with(
        r#"
        [services.docker]
        command = "test \"$TOKEN\" = 'a b' && exec {clnrm} demo serve --port {port}"
        env = ["TOKEN", "ABSENT"]

        [[steps]]
        command = "test \"$DOCKER_HOST\" = unix:///nowhere && test \"$DOCKER_PORT\" = {docker.port}"

        [[steps]]
        service = "docker"
        command = "test \"$TOKEN\" = 'a b' && test -z \"${ABSENT+set}\""
        "#,
    );
    let mut command = project.command(&["run", "--stop"]);
    command
        .env("DOCKER_HOST", "unix:///nowhere")
        .env("TOKEN", "a b")
        .env_remove("ABSENT");
    answer(command).await.expect(0);
    let validated = project.run(&["validate"]).await.expect(0);
    validated
        .says("$DOCKER_HOST stays as it is in steps")
        .says("{docker.host}");
}

#[tokio::test]
async fn what_a_renamed_service_left_is_named() {
    let project = TestProject::of_services(WEB);
    project.run(&["run", "--keep"]).await.expect(0);
    project.write(
        "t.clnrm.toml",
        &format!(
            "{}[[steps]]\ncommand = 'true'\n",
            WEB.replace("web", "site")
        ),
    );
    let run = project
        .run(&["run", "--keep", "-f", "json"])
        .await
        .expect(0)
        .json();
    assert_eq!(run["kept"][0]["service"], "site", "{run}");
    assert_eq!(run["kept_earlier"][0]["service"], "web", "{run}");
    assert!(run["kept_earlier"][0]["address"].is_string(), "{run}");
    let run = project.run(&["run", "--stop"]).await.expect(0);
    run.says("still running, from earlier runs:\n  web at 127.0.0.1:");
    project.stop_all().await;
}
