//! A server of the host itself, which needs no network of its own: the test for other drivers.

use tests::Project;
use tests::servers::{Server, Servers, TestCa};

const SCRIPT: &str = r#"
import os, sys, urllib.error, urllib.request
for name in ("TOKEN", "OTHER"):
    url = f"https://host.msb.internal:{sys.argv[1]}/{name}"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers={"X-Key": os.environ[name]})) as answer:
            print(answer.status, answer.read().decode())
    except urllib.error.HTTPError as error:
        print(error.code, error.read().decode())
"#;

#[test]
fn a_value_gets_to_a_server_of_the_host() {
    let ca = TestCa::new("test");
    let (servers, port) = Servers::on_loopback(&Server::new(&[], &["host.msb.internal"], &ca));
    let project = Project::new(&format!(
        r#"
        project "host"
        sandbox "web" {{
            image "./image"; memory "192M"
            network {{ allow "host" }}
            secret "TOKEN" {{ from env="HOST_TOKEN"; hosts "host.msb.internal" }}
            secret "OTHER" {{ from env="HOST_OTHER"; hosts "api.example.org" }}
            tls {{ ports {port}; ca "./test.pem" }}
        }}
        "#
    ));
    project.image_of("devserver", "image");
    project.write("test.pem", ca.pem());
    let up = project.msb(&["up", "-d", "--wait", "--trust"]);
    up.env("HOST_TOKEN", "canary-host-61a0").env("HOST_OTHER", "canary-other-93fe").run().ok();
    let said = project.exec("web", &["python3", "-c", SCRIPT, &port.to_string()]);
    assert!(said.starts_with("200 host.msb.internal saw GET /TOKEN"), "{said}");
    assert_eq!(servers.request("/TOKEN").header("x-key"), "canary-host-61a0");
    assert!(
        said.contains("\n403 msb: the header `x-key` contains the placeholder of the secret `OTHER`"),
        "{said}"
    );
    servers.never_saw("/OTHER");
    assert!(servers.that_saw("canary-other-93fe").is_empty());
    assert!(!said.contains("canary"), "{said}");
    project.down();
}
