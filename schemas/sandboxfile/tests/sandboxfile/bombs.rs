//! Small files that would expand into large projects: each is refused once the budget is spent, in both spellings.

use super::source;
use sandboxfile::{
    AssumePresent, Code, EnvFile, FileKind, Format, HostFiles, Input, Report, Variables, load, read_env_file,
};
use schemas::name::ProjectName;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Writes a project of sandboxes in one of the two spellings.
struct Text {
    format: Format,
    text: String,
}

impl Text {
    fn new(format: Format) -> Self {
        let text = if format == Format::Yaml { "sandboxes:\n" } else { "" };
        Self { format, text: text.to_owned() }
    }

    /// Adds a sandbox whose properties are written differently in the two spellings.
    fn sandbox(&mut self, name: &str, kdl: &str, yaml: &str) {
        match self.format {
            Format::Kdl => writeln!(self.text, "sandbox \"{name}\" {{ {kdl} }}").unwrap(),
            Format::Yaml => writeln!(self.text, "  {name}: {{ {yaml} }}").unwrap(),
        }
    }
}

fn env(pairs: impl Iterator<Item = (String, String)>) -> (String, String) {
    let (mut kdl, mut yaml) = ("image \".\"; env {".to_owned(), "image: ., env: {".to_owned());
    for (key, value) in pairs {
        write!(kdl, " {key} \"{value}\";").unwrap();
        write!(yaml, " {key}: \"{value}\",").unwrap();
    }
    (kdl + " }", yaml + " }")
}

fn name_of(format: Format) -> &'static str {
    if format == Format::Yaml { "Sandboxfile.yaml" } else { "Sandboxfile" }
}

fn load_text(text: &Text, env_file: &[u8], files: &dyn HostFiles) -> Report {
    let input = Input {
        default_project: ProjectName::new("project").ok(),
        variables: Variables {
            files: vec![EnvFile { name: ".env", bytes: env_file }],
            ..Variables::default()
        },
        ..Input::of(source(name_of(text.format), text.text.as_bytes()))
    };
    load(&input, files).map(|loaded| loaded.model.sandboxes().len()).expect_err("this is to be refused")
}

#[track_caller]
fn assert_too_complex(report: &Report, message: &str) {
    let finding = report.diagnostics().iter().find(|finding| finding.code == Code::TooComplex);
    let finding = finding.unwrap_or_else(|| panic!("{message}: {report}"));
    assert!(finding.message.contains(message), "{}", finding.message);
    assert!(finding.help.is_some() && !finding.labels.is_empty(), "{finding:?}");
}

const FORMATS: [Format; 2] = [Format::Kdl, Format::Yaml];

#[test]
fn variable_bombs() {
    let mebibyte = format!("A={}\n", "x".repeat(1_000_000));
    for format in FORMATS {
        for value in ["$A", "${A:+$A}", "${NONE:-$A}", "${A:?}"] {
            let mut text = Text::new(format);
            let (kdl, yaml) = env((0..100_000).map(|number| (format!("K{number}"), value.to_owned())));
            text.sandbox("web", &kdl, &yaml);
            assert_too_complex(&load_text(&text, mebibyte.as_bytes(), &AssumePresent), "variables");
        }
    }
}

#[test]
fn env_file_bombs() {
    // Each line doubles the value of the one before: the longest value that is valid comes first.
    let doubling = |of: usize| format!("V{}=${{V{of}}}${{V{of}}}\n", of + 1);
    let doubled = "V0=x\n".to_owned() + &(0..60).map(doubling).collect::<String>();
    // Each line is as long as the first, and there are many of them.
    let long = format!("V=\"{}\"\n", "x".repeat(500_000));
    let many = long + &(0..10_000).map(|number| format!("V{number}=\"$V\n\"\n")).collect::<String>();
    for format in FORMATS {
        let mut text = Text::new(format);
        text.sandbox("web", "image \".\"", "image: .");
        let report = load_text(&text, doubled.as_bytes(), &AssumePresent);
        let finding = &report.diagnostics()[0];
        assert_eq!((finding.code, report.diagnostics().len()), (Code::InvalidText, 1), "{report}");
        let report = load_text(&text, many.as_bytes(), &AssumePresent);
        assert_too_complex(&report, "variables");
        assert_eq!(report.diagnostics().len(), 1, "{report}");
    }
    let file = EnvFile { name: ".env", bytes: many.as_bytes() };
    let report = read_env_file(&file, &BTreeMap::new()).expect_err("this is to be refused");
    assert_too_complex(&report, "variables");
}

#[test]
fn like_bombs() {
    for format in FORMATS {
        let (kdl, yaml) = env((0..10_000).map(|number| (format!("K{number}"), String::new())));
        let mut text = Text::new(format);
        text.sandbox("base", &kdl, &yaml);
        for number in 0..10_000 {
            text.sandbox(&format!("s{number}"), "like \"base\"", "like: base");
        }
        assert_too_complex(&load_text(&text, b"", &AssumePresent), "`like`");

        let script = "x".repeat(500_000);
        let mut text = Text::new(format);
        text.sandbox(
            "base",
            &format!("image \".\"; script \"a\" \"{script}\""),
            &format!("image: ., scripts: {{ a: \"{script}\" }}"),
        );
        for number in 0..10_000 {
            text.sandbox(&format!("s{number}"), "like \"base\"", "like: base");
        }
        assert_too_complex(&load_text(&text, b"", &AssumePresent), "`like`");
    }
}

#[test]
fn replica_bombs() {
    for format in FORMATS {
        let mut text = Text::new(format);
        for number in 0..20_000 {
            text.sandbox(&format!("s{number}"), "image \".\"; replicas 1000", "image: ., replicas: 1000");
        }
        assert_too_complex(&load_text(&text, b"", &AssumePresent), "sandboxes");

        let script = "x".repeat(500_000);
        let mut text = Text::new(format);
        text.sandbox(
            "web",
            &format!("image \".\"; replicas 1000; script \"a\" \"{script}\""),
            &format!("image: ., replicas: 1000, scripts: {{ a: \"{script}\" }}"),
        );
        assert_too_complex(&load_text(&text, b"", &AssumePresent), "replicas");

        // Each replica depends on all replicas of all sandboxes before it.
        let mut text = Text::new(format);
        let mut before: Vec<String> = Vec::new();
        for number in 0..40 {
            let name = format!("s{number}");
            let (kdl, yaml) = match before.is_empty() {
                true => (String::new(), String::new()),
                false => (
                    format!("; depends-on \"{}\"", before.join("\" \"")),
                    format!(", depends_on: [{}]", before.join(", ")),
                ),
            };
            let (kdl, yaml) =
                (format!("image \".\"; replicas 1000{kdl}"), format!("image: ., replicas: 1000{yaml}"));
            text.sandbox(&name, &kdl, &yaml);
            before.push(name);
        }
        assert_too_complex(&load_text(&text, b"", &AssumePresent), "replicas");
    }
}

/// A host on which every file has the same text.
struct Everywhere(String);

impl HostFiles for Everywhere {
    fn kind(&self, _path: &str) -> Option<FileKind> {
        Some(FileKind::Directory)
    }

    fn read(&self, _path: &str, _limit: usize) -> Result<Vec<u8>, String> {
        Ok(self.0.clone().into_bytes())
    }
}

/// A host on which everything below the project's folder is a file of the largest size.
struct LargeFiles;

impl HostFiles for LargeFiles {
    fn kind(&self, path: &str) -> Option<FileKind> {
        Some(if path == "/project" { FileKind::Directory } else { FileKind::File })
    }

    fn read(&self, _path: &str, limit: usize) -> Result<Vec<u8>, String> {
        Ok(vec![b'x'; limit])
    }
}

#[test]
fn file_bombs() {
    let (kdl, yaml) = ("image \".\"; file \"/a\" \"./a\"", "image: ., files: { /a: ./a }");
    for format in FORMATS {
        let mut replicas = Text::new(format);
        replicas.sandbox("web", &format!("{kdl}; replicas 1000"), &format!("{yaml}, replicas: 1000"));
        assert_too_complex(&load_text(&replicas, b"", &LargeFiles), "replicas");
        let mut like = Text::new(format);
        like.sandbox("base", kdl, yaml);
        for number in 0..600 {
            like.sandbox(&format!("s{number}"), "like \"base\"", "like: base");
        }
        assert_too_complex(&load_text(&like, b"", &LargeFiles), "the files of this project");
    }
}

#[test]
fn include_bombs() {
    for format in FORMATS {
        let mut many = Text::new(format);
        let (kdl, yaml) = env((0..20_000).map(|number| (format!("K{number}"), String::new())));
        many.sandbox("base", &kdl, &yaml);
        let mark = if format == Format::Yaml { "#" } else { "//" };
        let long = format!("{mark} {}\n", "x".repeat(8_000_000));
        // Rarely used syntax is read as fast as the rest.
        let mut rare = Text::new(format);
        for number in 0..10_000 {
            rare.sandbox(&format!("s{number}"), "image \".\"; cpus 0x1", "image: ., <<: { cpus: 1 }");
        }
        for (included, message) in
            [(many.text, "names and values"), (long, "the files"), (rare.text, "names and values")]
        {
            let mut text = Text::new(format);
            let (name, extension) = (name_of(format), name_of(format).strip_prefix("Sandboxfile").unwrap());
            let files: Vec<String> = (0..250).map(|number| format!("\"./{number}{extension}\"")).collect();
            text.text = match format {
                Format::Kdl => format!("include {}\n", files.join(" ")),
                Format::Yaml => format!("include: [{}]\n", files.join(", ")),
            };
            let report = load_text(&text, b"", &Everywhere(included));
            assert_too_complex(&report, message);
            assert!(report.to_string().contains(name));
        }
    }
}
