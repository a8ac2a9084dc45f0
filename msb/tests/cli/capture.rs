//! The `logs` section in printed configurations.

use serde_json::json;
use tests::Project;

fn sandboxfile(capture: &str) -> String {
    format!("sandbox \"web\" {{\n    image \"@image\"\n    logs {{ capture \"{capture}\"; keep 1 }}\n}}\n")
}

#[test]
fn capture_is_printed_and_checked() {
    let project = Project::without_guest(&sandboxfile("off"));
    project.ok(&["config"]).prints_some("logs {\n        capture \"off\"\n        keep 1\n    }");
    let model = project.ok(&["config", "--format", "json"]).json();
    let logs = &model["sandboxes"][0]["definition"]["logs"];
    assert_eq!(logs, &json!({ "capture": "off", "max_size_bytes": null, "keep": 1 }));
    project.write("Sandboxfile", &sandboxfile("none"));
    project.run(&["validate"]).exits(1).says("`capture` cannot be `none`").says("did you mean `off`?");
}
