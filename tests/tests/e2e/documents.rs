//! README.md and everything in docs/ is a test: Sandboxfiles are valid, commands run and print what is shown, links lead
//! somewhere.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;
use tests::document::{self, Block, Document};
use tests::layers::TestLayer;
use tests::oci::{Layout, archive_of};
use tests::{Project, installation, session};

/// Why a block is not run: a word for its fence, and what it means.
const REASONS: [(&str, &str); 2] = [
    ("system", "it installs packages, builds the product or changes the user's own state"),
    ("terminal", "it waits for somebody who types"),
];

/// Pages that are linked to and not written yet.
const PENDING: [&str; 1] = ["sandboxfile.md"];

/// One test per document, and the list of them.
macro_rules! documents {
    ($($test:ident: $name:literal,)*) => {
        const TESTED: &[&str] = &[$($name),*];
        $(#[test]
        fn $test() {
            if !PENDING.iter().any(|page| $name.ends_with(page)) {
                check(&Document::open($name));
            }
        })*
    };
}

documents! {
    contributing_holds_true: "CONTRIBUTING.md",
    the_readme_holds_true: "README.md",
    the_architecture_holds_true: "docs/architecture.md",
    the_ci_page_holds_true: "docs/ci.md",
    the_command_reference_holds_true: "docs/commands.md",
    the_guide_holds_true: "docs/guide.md",
    how_it_works_holds_true: "docs/how-it-works.md",
    the_images_page_holds_true: "docs/images.md",
    the_network_page_holds_true: "docs/network.md",
    the_sandboxfile_reference_holds_true: "docs/sandboxfile.md",
    troubleshooting_holds_true: "docs/troubleshooting.md",
}

#[test]
fn every_document_is_tested() {
    let mut present = document::all();
    present.extend(
        PENDING
            .iter()
            .map(|page| format!("docs/{page}"))
            .filter(|page| !present.contains(page))
            .collect::<Vec<_>>(),
    );
    present.sort();
    assert_eq!(present, TESTED);
}

#[test]
fn the_readme_is_short_and_starts_with_the_two_commands() {
    let readme = Document::open("README.md");
    assert!(readme.text.len() <= 10_000, "{} bytes", readme.text.len());
    let first = readme.blocks().into_iter().next().expect("it has blocks");
    assert!(
        first.line <= 20 && first.text.contains("make up") && first.text.contains("make test"),
        "{first:?}"
    );
}

#[test]
fn every_link_leads_somewhere() {
    for name in document::all() {
        let document = Document::open(&name);
        for (path, anchor) in document.links() {
            if PENDING.iter().any(|page| path.ends_with(page)) {
                continue;
            }
            let target = document.resolve(&path);
            assert!(target.exists(), "{name}: {path} does not exist");
            if !anchor.is_empty() {
                let target =
                    Document { name: path.clone(), text: fs::read_to_string(&target).expect("a document") };
                assert!(target.anchors().contains(&anchor), "{name}: {path} has no heading {anchor}");
            }
        }
    }
}

#[test]
fn crates_depend_on_each_other_as_the_architecture_says() {
    let text = Document::open("docs/architecture.md").text;
    let code = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<BTreeSet<_>>();
    let rows = text
        .lines()
        .skip_while(|line| !line.starts_with("| crate |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let described: BTreeMap<_, _> = rows
        .map(|row| {
            let cells: Vec<_> = row.split('|').collect();
            (cells[1].trim().trim_matches('`').to_owned(), code(cells[3]))
        })
        .collect();

    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = ["metadata", "--format-version", "1", "--no-deps", "--offline"];
    let output =
        Command::new(cargo).args(arguments).current_dir(installation::root()).output().expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let packages = metadata["packages"].as_array().expect("a list");
    let name = |value: &Value| value["name"].as_str().expect("a name").to_owned();
    let actual: BTreeMap<_, _> = packages
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().expect("a list").iter();
            let own = dependencies
                .filter(|dependency| dependency["kind"].is_null() && !dependency["path"].is_null());
            (name(package), own.map(name).collect::<BTreeSet<_>>())
        })
        .collect();
    assert_eq!(described, actual, "left: docs/architecture.md, right: the manifests");
}

#[test]
fn shown_output_is_compared_without_times_and_widths() {
    assert!(document::matches("a  b\n✓ up in 2.3s\n", "a b\n✓ up in 14 ms\n", false));
    assert!(document::matches("x …: y\n", "x one two: y\n", false));
    assert!(document::matches("b\na\n", "a\nb\n", true));
    for (shown, output) in
        [("a\n", "b\n"), ("a\n", "a\nb\n"), ("a …\n", "b c\n"), ("… z\n", "a\n"), ("b\na\n", "a\nb\n")]
    {
        assert!(!document::matches(shown, output, false), "{shown:?} {output:?}");
    }
}

#[test]
fn a_document_is_taken_apart() {
    let text = "# A `title` of\n\n[b](c.md#d-e) `msb\nup`\n\n```sh parse-only=system x\nmsb up\n```\n";
    let document = Document { name: "x.md".to_owned(), text: text.to_owned() };
    let blocks = document.blocks();
    assert_eq!(blocks.len(), 1);
    assert_eq!((blocks[0].line, blocks[0].language.as_str(), blocks[0].text.as_str()), (6, "sh", "msb up\n"));
    assert_eq!((blocks[0].value("parse-only"), blocks[0].has("x")), (Some("system"), true));
    assert_eq!(document.inline_code(), ["title", "msb up"]);
    assert_eq!(document.links(), [("c.md".to_owned(), "d-e".to_owned())]);
    assert_eq!(document.anchors(), ["a-title-of"]);
}

fn check(document: &Document) {
    let mut reader = Reader::new(document);
    let blocks = document.blocks();
    for (index, block) in blocks.iter().enumerate() {
        eprintln!("{}:{}", document.name, block.line);
        let previous = index.checked_sub(1).map(|index| &blocks[index]);
        reader.check(block, previous);
    }
    for span in document.inline_code() {
        reader.parses(&span);
    }
    if reader.project.directory().join("Sandboxfile").exists() {
        reader.project.ok(&["down", "-v"]);
    }
}

/// A reader who does what the document says, from its first block to its last.
struct Reader {
    project: Project,
    examples: BTreeMap<String, Project>,
}

impl Reader {
    fn new(document: &Document) -> Self {
        let project = Project::new("");
        fs::remove_file(project.directory().join("Sandboxfile")).expect("it was just written");
        if document.text.contains("./image") {
            project.own_image();
        }
        if document.text.contains("./src") {
            fs::create_dir(project.directory().join("src")).expect("a new folder can be made");
        }
        // The machine knows these images, as if they had been pulled.
        let mut images = vec![("docker.io/library/alpine:latest", installation::image())];
        if document.text.contains("python:3.12-slim") {
            images
                .push(("docker.io/library/python:3.12-slim", installation::example("webstack").join("app")));
        }
        let scratch = tempfile::tempdir().expect("a scratch folder can be made");
        let mut layout = Layout::new(scratch.path());
        for (name, root) in images {
            let config = serde_json::json!({ "Cmd": ["/bin/sh"] });
            layout.add(name, &[TestLayer::plain(archive_of(&root))], &config);
        }
        project.ok(&["image", "load", scratch.path().to_str().expect("UTF-8")]);
        Self { project, examples: BTreeMap::new() }
    }

    fn check(&mut self, block: &Block, previous: Option<&Block>) {
        if let Some(reason) = block.value("parse-only") {
            assert!(REASONS.iter().any(|(known, _)| *known == reason), "no reason not to run it: {reason}");
            block.text.lines().for_each(|line| self.parses(line.trim_start_matches("$ ")));
            return;
        }
        match block.language.as_str() {
            "kdl" => {
                self.project.write("Sandboxfile", &block.text);
                self.project.ok(&["validate"]);
            }
            "yaml" => {
                assert_eq!(
                    previous.map(|block| block.language.as_str()),
                    Some("kdl"),
                    "it has no other spelling"
                );
                self.project.write("other.yaml", &block.text);
                let kdl = self.project.ok(&["plan", "--json"]);
                self.project.ok(&["-f", "other.yaml", "plan", "--json"]).prints(kdl.out());
                fs::remove_file(self.project.directory().join("other.yaml")).expect("it was just written");
            }
            "console" => {
                let project = match block.value("example") {
                    Some(name) => {
                        self.examples.entry(name.to_owned()).or_insert_with(|| Project::copy_of(name))
                    }
                    None => &self.project,
                };
                let unordered = block.has("unordered");
                session::replay_with(project, &block.text, |step, run| {
                    let output =
                        if run.stdout.is_empty() && !step.output.is_empty() { run.err() } else { run.out() };
                    run.code == step.code && document::matches(&step.output, output, unordered)
                });
            }
            "sh" => drop(self.project.shell(&format!("set -e\n{}", block.text)).run().ok()),
            "json" => {
                let project = Project::new("");
                project.ok(&["ps"]);
                fs::write(project.home().join("config.json"), &block.text)
                    .expect("the home can be written to");
                project.ok(&["config", "--home"]);
            }
            "yml" => self.workflow(block),
            "text" => {}
            other => panic!("line {}: no test knows {other:?}", block.line),
        }
    }

    /// Checks the commands of a CI system's workflow.
    fn workflow(&self, block: &Block) {
        let commands = block.text.lines().filter_map(|line| {
            let line = line.trim_start().trim_start_matches("- ").trim_start_matches("run: ");
            line.split(" || ").next()
        });
        let commands: Vec<_> = commands.filter(|line| line.starts_with("msb ")).collect();
        assert!(commands.len() >= 6, "{} commands in {}", commands.len(), block.text);
        commands.into_iter().for_each(|command| self.parses(command));
    }

    /// Asserts that a command line of `msb` or `make` is one, without running it.
    fn parses(&self, line: &str) {
        let line = line.split(" #").next().and_then(|line| line.split(" > ").next()).unwrap_or_default();
        let is_variable = |word: &&str| {
            word.split_once('=')
                .is_some_and(|(name, _)| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
        };
        let mut words = line.split_whitespace().skip_while(is_variable);
        match words.next() {
            Some("msb") => {
                let words: Vec<_> = words.take_while(|word| *word != "--").collect();
                let is_placeholder = |word: &&str| word.chars().all(|c| c.is_ascii_uppercase());
                if words.is_empty() || words.contains(&"…") || words.first().is_some_and(is_placeholder) {
                    return;
                }
                // Optional parts are written [so].
                let words = words.into_iter().filter(|word| !word.starts_with('['));
                let arguments: Vec<_> = words.chain(["--help"]).collect();
                self.project.ok(&arguments).prints_some("Usage:");
            }
            Some("make") => {
                let makefile =
                    fs::read_to_string(installation::root().join("Makefile")).expect("there is one");
                for target in words.take_while(|word| !word.contains('=')) {
                    assert!(
                        makefile.contains(&format!("\n{target}: ")),
                        "there is no target {target}: {line}"
                    );
                }
            }
            _ => {}
        }
    }
}
