//! Errors of the flags of `msb create` and `msb run`.

use tests::{Project, leftovers};

#[test]
fn flags_are_checked_like_a_sandboxfile() {
    let project = Project::without_guest("");
    project.own_image();
    project.remove_sandboxfile();
    let refused = |arguments: &[&str], code: i32, says: &str| {
        let arguments = [&["create", "./image", "--name", "x"], arguments].concat();
        project.run(&arguments).exits(code).says(says);
    };
    for shell in ["", "/bin/sh -e", "/", "a\nb"] {
        refused(&["--shell", shell], 64, "shell");
    }
    refused(&["--memory", "12"], 64, "512M");
    refused(&["--script", "a=1", "--script-raw", "a=2"], 64, "two scripts");
    refused(&["--script", "=1"], 64, "no name");
    refused(&["--script", "a="], 64, "empty");
    refused(&["--script-path", "a:not-there"], 1, "not-there");
    refused(&["--net-rule", "allow@x.com:443"], 64, "x.com:tcp:443");
    refused(&["--net-rule", "allow@*.com"], 64, "com");
    refused(&["--net-rule", "allow@*.co.uk:tcp:443"], 64, "`*.co.uk` matches a whole public suffix");
    refused(&["--secret", "X@*.github.io"], 64, "such as `*.example.github.io`");
    refused(&["--secret", "X"], 64, "it is not NAME@HOST");
    refused(&["--secret", "X@a.example:inject=cookies"], 64, "a secret cannot be put into `cookies`");
    refused(&["--secret", "X@a.example:placeholder=abc"], 64, "too short");
    refused(&["--secret", "X@a.example", "--tls-bypass", "*.example"], 64, "whole top-level domain");
    refused(&["--secret", "X@a.b.example", "--tls-bypass", "*.b.example"], 64, "never sent to `a.b.example`");
    refused(&["--tls-ca", "ca.pem"], 64, "`ca.pem` is not a path");
    refused(&["--tls-ca", "./missing.pem"], 64, "there is no `./missing.pem`");
    refused(&["--net-ipv4-pool", "10.0.0.0/31"], 64, "a pool must have room for a /30");
    refused(&["--net-ipv6-pool", "fe80::/64"], 64, "they are link-local");
    refused(&["--no-net", "--net-default", "deny"], 64, "cannot be used with");
    refused(&["-p", "99999:80"], 64, "99999");
    refused(&["-v", "data"], 64, "write it as ./src:/app");
    refused(&["-v", ":/app"], 64, "before it: ./src:/app");
    refused(&["-v", "/missing:./image"], 64, "the source comes first");
    refused(&["-v", "./image:/app:size=1"], 64, "expected a size such as `512M`");
    refused(&["-v", "./image:/app:size=99999999999999999999G"], 64, "is too large to be meant");
    refused(&["-v", "./image:/app:kind=disk"], 64, "`./image` is not a disk");
    refused(&["-v", "./image:/app:ro,size=1G"], 64, "`size` has no meaning for a read-only mount");
    refused(
        &["-v", "./image:/app:stat-virt=off,uid=1"],
        64,
        "`uid` has no meaning where `stat_virt` is `off`",
    );
    refused(&["-v", "./image:/app:cached"], 64, "the options are `ro`, `rw`, `noexec`");
    refused(&["-v", "data:/data:uid=1"], 64, "`uid` has no meaning for a volume");
    refused(&["-v", "data:/data:size=1M,kind=disk"], 64, "a disk cannot be of this size");
    refused(&["-v", "data:/a:size=1G", "-v", "data:/b:size=2G"], 64, "two declarations");
    refused(&["--mount", "type=bind,src=./image,dst=/app"], 64, "write it as --volume ./image:/app");
    refused(&["--mount", "src"], 64, "it is not TAG:HOST");
    refused(&["--mount", "src:data"], 64, "a path of the host begins with");
    refused(&["--mount", "src:./missing"], 64, "there is no `./missing` that could be mounted");
    refused(&["--mount", "src:./image:ro,stat-virt=on"], 64, "`stat-virt` cannot be `on`");
    refused(&["--mount", "src:./image", "-v", ".:/src"], 64, "two things are mounted at `/src`");
    refused(&["-e", "NOVALUE"], 64, "NOVALUE");
    refused(&["--restart", "sometimes"], 64, "sometimes");
    project.run(&["create", "./image", "--name", "Not A Name"]).exits(64).says("not-a-name");
    project.run(&["run", "./image"]).exits(64).says("no command");
    leftovers::assert_none(project.home());
}
