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
    refused(&["--net-ipv4-pool", "10.0.0.0/31"], 64, "a pool must have room for a /30");
    refused(&["--net-ipv6-pool", "fe80::/64"], 64, "they are link-local");
    refused(&["--no-net", "--net-default", "deny"], 64, "cannot be used with");
    refused(&["-p", "99999:80"], 64, "99999");
    refused(&["-v", "data"], 64, "data");
    refused(&["-e", "NOVALUE"], 64, "NOVALUE");
    refused(&["--restart", "sometimes"], 64, "sometimes");
    project.run(&["create", "./image", "--name", "Not A Name"]).exits(64).says("not-a-name");
    project.run(&["run", "./image"]).exits(64).says("no command");
    leftovers::assert_none(project.home());
}
