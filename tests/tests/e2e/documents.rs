//! README.md and the pages of docs/ are tests: their Sandboxfiles are valid, and their commands print what is shown.

use std::collections::BTreeMap;
use std::fs;
use tests::document::{self, Block, Document};
use tests::layers::TestLayer;
use tests::oci::{Layout, archive_of};
use tests::{Project, installation, session};

/// The reasons not to run a block, as words of its fence, with their meanings.
const REASONS: [(&str, &str); 2] = [
    ("system", "it installs packages, builds the product or changes the user's own state"),
    ("terminal", "it waits for input from a terminal"),
];

/// Defines a test per document and the list of documents.
macro_rules! documents {
    ($($test:ident: $name:literal,)*) => {
        const TESTED: &[&str] = &[$($name),*];
        $(#[test]
        fn $test() {
            check(&Document::open($name));
        })*
    };
}

documents! {
    contributing_is_correct: "CONTRIBUTING.md",
    the_readme_is_correct: "README.md",
    the_architecture_is_correct: "docs/architecture.md",
    the_ci_page_is_correct: "docs/ci.md",
    the_command_reference_is_correct: "docs/commands.md",
    the_page_about_compose_is_correct: "docs/compose.md",
    the_guide_is_correct: "docs/guide.md",
    how_it_works_is_correct: "docs/how-it-works.md",
    the_images_page_is_correct: "docs/images.md",
    the_json_page_is_correct: "docs/json.md",
    the_network_page_is_correct: "docs/network.md",
    the_protocol_page_is_correct: "docs/protocol.md",
    the_sandboxfile_reference_is_correct: "docs/sandboxfile.md",
    troubleshooting_is_correct: "docs/troubleshooting.md",
}

#[test]
fn every_document_is_tested() {
    assert_eq!(document::all(), TESTED);
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
        reader.project.ok(&["down", "-v", "--yes"]);
    }
}

/// The state of a reader who runs the blocks of a document in order.
struct Reader {
    project: Project,
    examples: BTreeMap<String, Project>,
}

impl Reader {
    fn new(document: &Document) -> Self {
        let project = Project::new("");
        project.remove_sandboxfile();
        if document.text.contains("./image") {
            project.own_image();
        }
        if document.text.contains("./src") {
            fs::create_dir(project.directory().join("src")).expect("a new directory");
        }
        // These images are in the store as if they had been pulled.
        let mut images = vec![("docker.io/library/alpine:latest", installation::image())];
        if document.text.contains("python:3.12-slim") {
            images
                .push(("docker.io/library/python:3.12-slim", installation::example("webstack").join("app")));
        }
        let scratch = tempfile::tempdir().expect("a scratch directory");
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
            assert!(
                REASONS.iter().any(|(known, _)| *known == reason),
                "unknown reason not to run it: {reason}"
            );
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
                    "it follows no KDL block"
                );
                self.project.write("other.yaml", &block.text);
                let kdl = self.project.ok(&["plan", "--json", "--trust"]);
                self.project.ok(&["-f", "other.yaml", "plan", "--json", "--trust"]).prints(kdl.out());
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
                fs::write(project.home().join("config.json"), &block.text).expect("a writable home");
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

    /// Asserts that a command line of `msb` or `make` is valid, without running it.
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
                // Optional words are in brackets.
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
