//! Invalid Sandboxfiles: a report with position and help, exit code 1, and nothing created.

use std::fs::File;
use tests::{Project, leftovers};

/// An invalid Sandboxfile, and texts of its report.
struct Invalid {
    name: &'static str,
    text: &'static str,
    report: &'static [&'static str],
}

const FILES: &[Invalid] = &[
    Invalid {
        name: "an unknown property",
        text: "sandbox \"web\" {\n    image \"@image\"\n    enviroment { A \"1\" }\n}\n",
        report: &["msb::sandboxfile::unknown_property", "Sandboxfile:3:5", "env"],
    },
    Invalid {
        name: "a value of the wrong type",
        text: "sandbox \"web\" {\n    image \"@image\"\n    cpus \"zwei\"\n}\n",
        report: &["msb::sandboxfile::wrong_type", "Sandboxfile:3:10"],
    },
    Invalid {
        name: "a number without its unit",
        text: "sandbox \"web\" {\n    image \"@image\"\n    memory 512\n}\n",
        report: &["Sandboxfile:3:12", "512M"],
    },
    Invalid {
        name: "a missing image",
        text: "sandbox \"web\" {\n    image \"./not-there\"\n}\n",
        report: &["msb::sandboxfile::image_not_found", "Sandboxfile:2:11", "not-there"],
    },
    Invalid {
        name: "a cycle",
        text: "sandbox \"a\" {\n    image \"@image\"\n    depends-on \"b\"\n}\nsandbox \"b\" {\n    image \"@image\"\n    depends-on \"a\"\n}\n",
        report: &["msb::sandboxfile::dependency_cycle", "Sandboxfile:3:16"],
    },
    Invalid {
        name: "a duplicate name",
        text: "sandbox \"web\" {\n    image \"@image\"\n}\njob \"web\" {\n    image \"@image\"\n    start \"true\"\n}\n",
        report: &["msb::sandboxfile::duplicate_name", "Sandboxfile:4:5"],
    },
    Invalid { name: "an empty file", text: "", report: &["msb::sandboxfile::no_sandboxes", "Sandboxfile"] },
    Invalid {
        name: "an unclosed block",
        text: "sandbox \"web\" {\n    image \"@image\"\n",
        report: &["msb::sandboxfile::kdl_syntax", "Sandboxfile:1:15"],
    },
];

#[test]
fn an_invalid_sandboxfile_gives_one_report_and_creates_nothing() {
    let project = Project::without_guest("");
    for Invalid { name, text, report } in FILES {
        project.write("Sandboxfile", text);
        for command in [&["validate"][..], &["plan"], &["up", "-d"]] {
            let mut run = project.run(command).exits(1).prints("").says("help:");
            for part in *report {
                run = run.says(part);
            }
            let reports = run.err().matches("msb::sandboxfile::").count();
            assert_eq!(reports, 1, "{name}: expected one report\n{}", run.err());
            assert!(!run.err().contains("panicked"), "{name}: {}", run.err());
        }
        assert_nothing_created(&project);
    }
}

#[test]
fn all_errors_are_reported() {
    let project = Project::without_guest(
        "sandbox \"web\" {\n    image \"./nowhere\"\n    memory 5\n    ports \"80\"\n}\nsandbox \"../x\" {\n    image \"@image\"\n}\n",
    );
    let run = project.run(&["validate"]).exits(1);
    let reported: Vec<&str> =
        run.err().lines().filter_map(|line| line.strip_prefix("msb::sandboxfile::")).collect();
    assert_eq!(reported, ["image_not_found", "invalid_quantity", "unknown_property", "invalid_name"]);
    for place in ["Sandboxfile:2:11", "Sandboxfile:3:12", "Sandboxfile:4:5", "Sandboxfile:6:9"] {
        assert!(run.err().contains(place), "{place}: {}", run.err());
    }
    assert_nothing_created(&project);
}

#[test]
fn a_file_of_100_mb_is_refused() {
    let project = Project::without_guest("");
    let file = File::create(project.directory().join("Sandboxfile")).expect("a writable directory");
    file.set_len(100_000_000).expect("a writable directory");
    for command in [&["validate"][..], &["up", "-d"]] {
        let run = project.run(command).exits(1).says("Sandboxfile").says("16 MiB").says("hint:");
        assert!(run.err().lines().count() < 12, "{}", run.err());
    }
    assert_nothing_created(&project);
}

#[test]
fn a_missing_guest_kernel_is_reported() {
    let project = Project::without_guest("sandbox \"web\" { image \"@image\" }\n");
    project.run(&["up", "-d"]).exits(1).says("there is no guest kernel").says("MSB_KERNEL");
    assert_nothing_created(&project);
    project.run(&["doctor"]).exits(1).prints_some("missing").prints_some("MSB_KERNEL");
}

#[test]
fn watch_needs_a_file_and_the_foreground() {
    let project = Project::without_guest("");
    let watch = project.msb(&["-f", "-", "up", "--watch"]).input("project \"x\"\n");
    watch.run().exits(64).says("standard input");
    project.run(&["up", "--watch", "-d"]).exits(64);
}

fn assert_nothing_created(project: &Project) {
    leftovers::assert_none(project.home());
    assert!(project.list().is_empty());
}
