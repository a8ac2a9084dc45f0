//! Bad Sandboxfiles: one report with place and help, exit code 1, and nothing created.

use std::fs::File;
use tests::{Project, leftovers};

/// A wrong file: its text, and what the report must hold.
struct Wrong {
    name: &'static str,
    text: &'static str,
    says: &'static [&'static str],
}

const FILES: &[Wrong] = &[
    Wrong {
        name: "a property that does not exist",
        text: "sandbox \"web\" {\n    image \"@image\"\n    enviroment { A \"1\" }\n}\n",
        says: &["msb::sandboxfile::unknown_property", "Sandboxfile:3:5", "env"],
    },
    Wrong {
        name: "a value of the wrong type",
        text: "sandbox \"web\" {\n    image \"@image\"\n    cpus \"zwei\"\n}\n",
        says: &["msb::sandboxfile::wrong_type", "Sandboxfile:3:10"],
    },
    Wrong {
        name: "a number without its unit",
        text: "sandbox \"web\" {\n    image \"@image\"\n    memory 512\n}\n",
        says: &["Sandboxfile:3:12", "512M"],
    },
    Wrong {
        name: "an image that is not there",
        text: "sandbox \"web\" {\n    image \"./not-there\"\n}\n",
        says: &["msb::sandboxfile::image_not_found", "Sandboxfile:2:11", "not-there"],
    },
    Wrong {
        name: "a cycle",
        text: "sandbox \"a\" {\n    image \"@image\"\n    depends-on \"b\"\n}\nsandbox \"b\" {\n    image \"@image\"\n    depends-on \"a\"\n}\n",
        says: &["msb::sandboxfile::dependency_cycle", "Sandboxfile:3:16"],
    },
    Wrong {
        name: "a name given twice",
        text: "sandbox \"web\" {\n    image \"@image\"\n}\njob \"web\" {\n    image \"@image\"\n    start \"true\"\n}\n",
        says: &["msb::sandboxfile::duplicate_name", "Sandboxfile:4:5"],
    },
    Wrong { name: "nothing at all", text: "", says: &["msb::sandboxfile::no_sandboxes", "Sandboxfile"] },
    Wrong {
        name: "a block that is not closed",
        text: "sandbox \"web\" {\n    image \"@image\"\n",
        says: &["msb::sandboxfile::kdl_syntax", "Sandboxfile:1:15"],
    },
];

#[test]
fn a_wrong_sandboxfile_is_one_report_and_nothing_else() {
    let project = Project::new("");
    for Wrong { name, text, says } in FILES {
        project.write("Sandboxfile", text);
        for command in [&["validate"][..], &["plan"], &["up", "-d"]] {
            let mut run = project.run(command).exits(1).prints("").says("help:");
            for part in *says {
                run = run.says(part);
            }
            let reports = run.err().matches("msb::sandboxfile::").count();
            assert_eq!(reports, 1, "{name}: one report was due\n{}", run.err());
            assert!(!run.err().contains("panicked"), "{name}: {}", run.err());
        }
        nothing_created(&project);
    }
}

#[test]
fn every_error_is_reported_not_only_the_first() {
    let project = Project::new(
        "sandbox \"web\" {\n    image \"./nowhere\"\n    memory 5\n    ports \"80\"\n}\nsandbox \"../x\" {\n    image \"@image\"\n}\n",
    );
    let run = project.run(&["validate"]).exits(1);
    let reported: Vec<&str> =
        run.err().lines().filter_map(|line| line.strip_prefix("msb::sandboxfile::")).collect();
    assert_eq!(reported, ["image_not_found", "invalid_quantity", "unknown_property", "invalid_name"]);
    for place in ["Sandboxfile:2:11", "Sandboxfile:3:12", "Sandboxfile:4:5", "Sandboxfile:6:9"] {
        assert!(run.err().contains(place), "{place}: {}", run.err());
    }
    nothing_created(&project);
}

#[test]
fn a_file_of_100_mb_is_refused_at_once() {
    let project = Project::new("");
    let file = File::create(project.directory().join("Sandboxfile")).expect("the folder can be written to");
    file.set_len(100_000_000).expect("the folder can be written to");
    for command in [&["validate"][..], &["up", "-d"]] {
        let run = project.run(command).exits(1).says("Sandboxfile").says("16 MiB").says("hint:");
        assert!(run.err().lines().count() < 12, "{}", run.err());
    }
    nothing_created(&project);
}

fn nothing_created(project: &Project) {
    leftovers::assert_none(project.home());
    let listed = project.ok(&["ps", "-a", "--json"]).json();
    assert_eq!(listed["sandboxes"].as_array().map(Vec::len), Some(0), "{listed:#}");
}
