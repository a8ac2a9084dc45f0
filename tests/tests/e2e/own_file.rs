//! What a sandbox is shown of its own declaration.

use tests::Project;

const OWN: &str = "/.msb/Sandboxfile";
/// More than a sandbox is shown of itself.
const MUCH_BYTES: usize = 64 * 1024;

#[test]
fn a_sandbox_reads_its_own_declaration_and_nothing_else() {
    let much = "#".repeat(MUCH_BYTES);
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
    // It is what `msb config` prints of it; where the project lies on the host is left out.
    let folder = project.directory().to_str().expect("UTF-8");
    assert!(own.contains("image \"./test-image\"") && !own.contains(folder), "{own}");
    let start = own.find("sandbox \"web\" {").unwrap_or_else(|| panic!("{own}"));
    let block = own[start..].replace("./test-image", &format!("{folder}/test-image"));
    let config = project.ok(&["config"]);
    assert!(config.out().contains(&block), "{block}\n{}", config.out());

    // Not even root changes it, and whoever does not have the environment anyway does not read it.
    let as_user =
        |user: &str, command: &str| project.run(&["exec", "-u", user, "web", "--", "sh", "-c", command]);
    as_user("root", &format!("echo more >> {OWN}")).exits(1).says("Read-only file system");
    as_user("root", &format!("rm -f {OWN}")).exits(1).says("Read-only file system");
    as_user("root", &format!("cat {OWN}")).ok();
    as_user("12345", &format!("cat {OWN}")).exits(1).says("Permission denied");

    // A large one is left out, and that is told.
    project.run(&["exec", "other", "--", "test", "-e", OWN]).exits(1);
    project.ok(&["logs", "--source", "system", "other"]).prints_some("there is no /.msb/Sandboxfile");
    project.ok(&["exec", "other", "--", "test", "-x", "/.msb/scripts/much"]);
    project.down();
}
