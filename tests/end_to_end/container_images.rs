//! The images that the tests of containers rely on do what their names promise.

use crate::docker::{TestImage, docker};
use crate::support::eventually;

#[tokio::test]
async fn redis_answers_busybox_has_a_shell_and_nothing_has_none() {
    let Some(docker) = docker(&[TestImage::Redis, TestImage::Busybox, TestImage::Nothing]) else {
        return;
    };
    let redis = docker.start(&[], TestImage::Redis, &[]);
    let ping = ["exec", &redis.id, "redis-cli", "ping"];
    eventually("redis answers", || match docker.run(&ping)?.as_str() {
        "PONG" => Ok(()),
        other => Err(other.to_owned()),
    })
    .await;
    let run = |image: TestImage, arguments: &[&str]| {
        let tag = image.tag().unwrap();
        docker.run(&[&["run", "--rm", &tag][..], arguments].concat())
    };
    let said = run(TestImage::Busybox, &["sh", "-c", "echo $((6 * 7))"]);
    assert_eq!(said, Ok("42".to_owned()));
    assert_eq!(run(TestImage::Nothing, &["sleep", "0"]), Ok(String::new()));
    assert!(run(TestImage::Nothing, &["sh", "-c", "true"]).is_err());

    // A second look makes nothing anew and leaves nothing without a name.
    let tag = docker.image(TestImage::Busybox).unwrap();
    let id = |tag: &str| docker.run(&["image", "inspect", "--format", "{{.Id}}", tag]);
    let before = id(&tag);
    docker.image(TestImage::Busybox).unwrap();
    assert_eq!(id(&tag), before);
}
