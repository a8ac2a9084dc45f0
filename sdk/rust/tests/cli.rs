//! Runs of `msb`, with a script in its place.
#![allow(clippy::unwrap_used)]

mod common;

use common::fake_msb;
use msb_sdk::{Client, Error, LogQuery, Mount, Port, Secret};
use std::path::Path;
use std::time::{Duration, Instant};

fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("msb-t-").tempdir().unwrap()
}

fn client(folder: &Path, body: &str) -> Client {
    Client::builder().home(folder).msb(fake_msb(folder, body)).build()
}

#[tokio::test]
async fn a_missing_program_is_named_with_a_hint() {
    let error = Client::builder().msb("/nonexistent/msb").build().version().await.unwrap_err();
    assert!(matches!(error, Error::MsbNotFound(_)));
    assert!(error.to_string().contains("/nonexistent/msb") && error.hint().is_some());
}

#[tokio::test]
async fn failures_are_typed() {
    let folder = folder();
    let body = r#"echo '{"version":1,"error":{"code":"sandbox-not-found","message":"m","causes":[],"hint":"h","name":null}}' >&2
exit 6"#;
    let error = client(folder.path(), body).get("web").await.unwrap_err();
    assert!(matches!(error, Error::SandboxNotFound(_)));
    assert_eq!((error.name(), error.hint(), error.exit_code()), (Some("web"), Some("h"), Some(6)));
    let error = client(folder.path(), "echo no").all_metrics().await.unwrap_err();
    assert_eq!(error.code(), "failed");
    let error = client(folder.path(), r#"echo '{"sandboxes":[{"error":{"code":"in-use","message":"m"}}]}'"#);
    assert!(matches!(error.start("a").await, Err(Error::InUse(_))));
}

#[tokio::test]
async fn a_dropped_call_ends_msb() {
    let folder = folder();
    let body = format!(
        "trap 'touch {0}/ended; exit 143' TERM; touch {0}/began; while :; do sleep 0.05; done",
        folder.path().display()
    );
    let client = client(folder.path(), &body);
    let is_there = |name: &str| folder.path().join(name).exists();
    assert!(tokio::time::timeout(Duration::from_millis(500), client.version()).await.is_err());
    assert!(is_there("began"));
    let began = Instant::now();
    while !is_there("ended") {
        assert!(began.elapsed() < Duration::from_secs(5), "msb was not ended");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn an_msb_that_ignores_sigterm_is_killed() {
    let folder = folder();
    let body =
        format!("trap '' TERM; echo $$ > {}/pid; while :; do sleep 0.05; done", folder.path().display());
    let client = client(folder.path(), &body);
    assert!(tokio::time::timeout(Duration::from_millis(500), client.version()).await.is_err());
    let pid = std::fs::read_to_string(folder.path().join("pid")).unwrap();
    let process = Path::new("/proc").join(pid.trim());
    let began = Instant::now();
    while process.exists() {
        assert!(began.elapsed() < Duration::from_secs(10), "msb was not killed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(began.elapsed() > Duration::from_secs(2));
}

#[tokio::test]
async fn output_is_bounded() {
    let folder = folder();
    let error = client(folder.path(), "head -c 70000000 /dev/zero").version().await.unwrap_err();
    assert_eq!(error.code(), "too-large");
    // A flood on standard error leaves the report on its last line.
    let body = r#"head -c 20000000 /dev/zero | tr '\0' 'x' >&2; echo >&2
echo '{"error":{"code":"locked","message":"m","causes":[],"hint":null}}' >&2; exit 5"#;
    assert!(matches!(client(folder.path(), body).version().await, Err(Error::Locked(_))));
}

#[tokio::test]
async fn options_become_arguments_and_secrets_stay_in_the_environment() {
    let folder = folder();
    let body = format!(
        "printf '%s\\n' \"$@\" > {0}/args; echo \"$MSB_HOME $MSB_SDK_SECRET_TOKEN\" > {0}/env; exit 1",
        folder.path().display()
    );
    let client = client(folder.path(), &body);
    let builder =
        client.sandbox("web", "alpine").cpus(2).memory_mib(256).env("A", "1").port(Port::tcp(0, 80));
    let builder =
        builder.volume("/x", Mount::tmpfs()).secret(Secret::new("TOKEN", ["a.example"]).value("s3cret"));
    let builder =
        builder.replace().replace_with_timeout(Duration::from_millis(1500)).command(["sleep", "--json"]);
    assert_eq!(builder.create().await.unwrap_err().code(), "failed");
    let args = std::fs::read_to_string(folder.path().join("args")).unwrap();
    let expected = "create\n--name=web\n--cpus=2\n--memory=256M\n--env=A=1\n--replace-with-timeout=1500ms\n\
                    --port=127.0.0.1:0:80\n--tmpfs=/x\n--secret=TOKEN@a.example:env=MSB_SDK_SECRET_TOKEN\nalpine\n\
                    --json\n--\nsleep\n--json\n";
    assert_eq!(args, expected);
    let env = std::fs::read_to_string(folder.path().join("env")).unwrap();
    assert_eq!(env, format!("{} s3cret\n", folder.path().display()));
}

#[tokio::test]
async fn a_stream_of_lines_ends_with_the_failure() {
    let folder = folder();
    let details =
        r#"{"sandboxes":[{"name":"a","full_name":"a","id":"1","state":"running","agent_socket":"/x"}]}"#;
    let body = format!(
        r#"case "$1" in inspect|ps) echo '{details}';; *)
echo '{{"t":"2026-01-01T00:00:00Z","s":"stdout","d":"one","cursor":"c"}}'
echo '{{"error":{{"code":"failed","message":"the reader missed a rotation","causes":[],"hint":"h"}}}}' >&2; exit 1;; esac"#
    );
    let sandbox = client(folder.path(), &body).get("a").await.unwrap();
    let mut stream = sandbox.log_stream(&LogQuery::new()).unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap().text(), "one");
    let error = stream.next().await.unwrap_err();
    assert!(matches!(error, Error::MissedRotation(_)) && error.hint() == Some("h"), "{error:?}");
    assert!(stream.next().await.unwrap().is_none());
}
