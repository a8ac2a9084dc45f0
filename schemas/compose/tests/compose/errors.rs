//! What is wrong with a compose file is an error with its file, its line and the next step.

use crate::{Host, convert_all, convert_one, lines};
use compose::Format;

/// Returns the errors of a text.
fn errors(text: &str) -> Vec<String> {
    lines(&convert_one(text, Format::Kdl).expect_err(text))
}

#[test]
fn errors_have_a_place_and_a_next_step() {
    for (text, error) in [
        (
            "",
            "compose.yaml:1: there are no services in this file (add a service: `services: { web: { image: nginx } }`)",
        ),
        (
            "services: {}\n",
            "compose.yaml:1: there are no services in this file (add a service: `services: { web: { image: nginx } }`)",
        ),
        ("services:\n  a: [\n", "compose.yaml:2: unclosed bracket"),
        ("services:\n\ta: b\n", "compose.yaml:2: "),
        (
            "- a\n",
            "compose.yaml:1: a compose file is a map, not a list (start with a line such as `services:`)",
        ),
        ("services: [a]\n", "compose.yaml:1: `services` takes a map, not a list (write a map)"),
        ("services:\n  a: b\n", "compose.yaml:2: `services.a` takes a map, not a string (write a map)"),
        (
            "services:\n  a:\n    image: [b]\n",
            "compose.yaml:3: `services.a.image` takes a text, not a list (write a text)",
        ),
        (
            "services:\n  a:\n    environment: 1\n    image: b\n",
            "compose.yaml:3: `services.a.environment` takes a map, not a number (write a map)",
        ),
        (
            "services:\n  a:\n    image: b\n    ports: { c: d }\n",
            "compose.yaml:4: `services.a.ports` takes a list, not a map (write a list)",
        ),
        (
            "services:\n  a:\n    command: b\n",
            "compose.yaml:2: the service `a` has neither an image nor a build context (add `image: NAME`, or `build: ./folder`)",
        ),
        (
            "services:\n  a:\n    image: b\n    image: c\n",
            "compose.yaml:4: `image` is written twice (keep one of the two)",
        ),
        (
            "services:\n  a: { image: b, volumes: ['c:/d'] }\n",
            "compose.yaml:2: the service `a` mounts the volume `c`, which is not declared (add it: `volumes: { c: }`, or write `./` before a folder)",
        ),
        (
            "services:\n  a: { image: b, networks: [c] }\n",
            "compose.yaml:2: the service `a` is in the network `c`, which is not declared (add it: `networks: { c: }`)",
        ),
        (
            "services:\n  a: { image: b, depends_on: [c] }\n",
            "compose.yaml:2: `a` waits for `c`, which is not a service of these files (name another service, or remove it)",
        ),
        (
            "services:\n  a: { image: b, secrets: [c] }\n",
            "compose.yaml:2: the service `a` uses `c`, which `secrets` does not declare (add it: `secrets: { c: { file: ./c } }`)",
        ),
        (
            "services:\n  a: { image: b, ports: [x] }\n",
            "compose.yaml:2: `x` is not a port (write a number up to 65535, or a range such as `8000-8010`)",
        ),
        (
            "services:\n  a: { image: b, ports: ['1-3:1-2'] }\n",
            "compose.yaml:2: the ranges of this port differ in length (write as many ports on both sides)",
        ),
        (
            "services:\n  a: { image: b, command: \"c 'd\" }\n",
            "compose.yaml:2: a quote of `c 'd` is not closed (close it, or write a list of words)",
        ),
        (
            "services:\n  a: { image: \"${b\" }\n",
            "compose.yaml:2: `${b` is not a variable (write `${NAME}` or `${NAME:-default}`; a plain dollar sign is `$$`)",
        ),
        (
            "services:\n  a: { image: b, depends_on: { a: { condition: c } } }\n",
            "compose.yaml:2: `c` is not a condition (write service_started, service_healthy or service_completed_successfully)",
        ),
        (
            "services:\n  a: { image: b, healthcheck: { test: [c] } }\n",
            "compose.yaml:2: this is not the test of a health check (write [\"CMD\", \"program\", \"argument\"] or [\"CMD-SHELL\", \"line\"])",
        ),
        (
            "services:\n  a: { extends: b }\n",
            "compose.yaml:2: there is no service `b` to extend (name a service of that file)",
        ),
        (
            "services:\n  a: { extends: b }\n  b: { extends: a }\n",
            "compose.yaml:3: `a` extends itself, or the chain of services is too long (remove one `extends` of this chain)",
        ),
        (
            "services:\n  a: { extends: { file: ./none.yaml, service: b } }\n",
            "compose.yaml:2: `./none.yaml` cannot be read: no such file (looked for /project/none.yaml)",
        ),
        (
            "include: [none.yaml]\nservices: { a: { image: b } }\n",
            "compose.yaml:1: `./none.yaml` cannot be read: no such file (looked for /project/none.yaml)",
        ),
        (
            "include: [\"https://example.org/c.yaml\"]\nservices: { a: { image: b } }\n",
            "compose.yaml:1: only files of this host are included (download it, and include the file)",
        ),
        (
            "services: { a: { image: !secret b } }\n",
            "compose.yaml:1: the tag `!secret` is not supported here (remove it; the value of a key takes `!reset` and `!override`)",
        ),
        (
            "services: { a: { image: b, !reset command: c } }\n",
            "compose.yaml:1: the tag `!reset` is not supported here (remove it; the value of a key takes `!reset` and `!override`)",
        ),
        (
            "services: { a: { image: b }, c: !reset { image: d }, e: { extends: c } }\n",
            "compose.yaml:1: there is no service `c` to extend (name a service of that file)",
        ),
        (
            "services: !reset { a: { image: b } }\n",
            "compose.yaml:1: there are no services in this file (add a service: `services: { web: { image: nginx } }`)",
        ),
    ] {
        let errors = errors(text);
        assert!(errors.iter().any(|found| found.starts_with(error)), "{text}{errors:#?}");
    }
}

#[test]
fn files_that_include_or_extend_each_other_are_errors() {
    let folder = std::env::temp_dir().join(format!("compose-cycles-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let circle = "include: [circle.yaml]\nservices: { a: { image: b } }\n";
    std::fs::write(folder.join("circle.yaml"), circle).unwrap();
    let chain = "services: { a: { extends: { file: chain.yaml, service: a } } }\n";
    std::fs::write(folder.join("chain.yaml"), chain).unwrap();
    for number in 0..80 {
        let text = format!("include: [long-{}.yaml]\nservices: {{ a: {{ image: b }} }}\n", number + 1);
        std::fs::write(folder.join(format!("long-{number}.yaml")), text).unwrap();
    }
    let host = Host { folder: folder.clone() };
    for (text, error) in [
        (circle, "`./circle.yaml` includes itself"),
        (chain, "`a` extends itself"),
        ("include: [long-0.yaml]\n", "files include each other too deep"),
    ] {
        let report = convert_all(&[("compose.yaml", text)], &[], Format::Kdl, &host).expect_err(text);
        assert!(lines(&report).iter().any(|found| found.contains(error)), "{:#?}", lines(&report));
    }
    std::fs::remove_dir_all(folder).unwrap();
}
