//! The declaration of a sandbox inside it.

use tests::Project;

const OWN: &str = "/.msb/Sandboxfile";
/// More than the limit of such a declaration.
const LARGE_BYTES: usize = 64 * 1024;

#[test]
fn a_sandbox_can_read_its_own_declaration_only() {
    let much = "#".repeat(LARGE_BYTES);
    let project = Project::new(&format!(
        r#"
        project "shop"
        sandbox "web" {{
            image "@image"
            user "app"
            env {{ GREETING "${{GREETING:-hello}}" }}
            script "greet" "echo $GREETING"
            labels {{ tier "front" }}
        }}
        sandbox "other" {{ image "@image"; env {{ OTHER "thing" }}; script "much" "{much}" }}
        "#
    ));
    project.up();
    let own = project.exec("web", &["cat", OWN]);
    assert!(own.contains("GREETING \"hello\"") && !own.contains("OTHER"), "{own}");
    // It is that of `msb config` without the path of the project.
    let folder = project.directory().to_str().expect("UTF-8");
    assert!(own.contains("image \"./test-image\"") && !own.contains(folder), "{own}");
    let start = own.find("sandbox \"web\" {").unwrap_or_else(|| panic!("{own}"));
    let block = own[start..].replace("./test-image", &format!("{folder}/test-image"));
    let config = project.ok(&["config"]);
    assert!(config.out().contains(&block), "{block}\n{}", config.out());

    // Root cannot change it, and other users cannot read it, as it contains the environment.
    let as_user =
        |user: &str, command: &str| project.run(&["exec", "-u", user, "web", "--", "sh", "-c", command]);
    as_user("root", &format!("echo more >> {OWN}")).exits(1).says("Read-only file system");
    as_user("root", &format!("rm -f {OWN}")).exits(1).says("Read-only file system");
    as_user("root", &format!("cat {OWN}")).ok();
    as_user("12345", &format!("cat {OWN}")).exits(1).says("Permission denied");

    // A large declaration is left out, which is logged.
    project.run(&["exec", "other", "--", "test", "-e", OWN]).exits(1);
    project.ok(&["logs", "--source", "system", "other"]).prints_some("there is no /.msb/Sandboxfile");
    project.ok(&["exec", "other", "--", "test", "-x", "/.msb/scripts/much"]);
    project.down();
}
