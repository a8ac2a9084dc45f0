//! The Sandboxfile in both spellings, `.env`, and the small texts that flags take as well.

use sandboxfile::{AssumePresent, Variables};
use sandboxfile::{
    DIAGNOSTICS_MAX, ENV_FILE_BYTES_MAX, EnvFile, Format, Input, Report, Source, load, print, read_env_file,
};
use schemas::name::ProjectName;
use schemas::spec::limits::EXPANDED_BYTES_MAX;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fmt::Display;
use std::str::FromStr;

pub fn kdl(bytes: &[u8]) {
    file(bytes, Format::Kdl);
}

pub fn yaml(bytes: &[u8]) {
    file(bytes, Format::Yaml);
}

/// Either a report with places inside the text, or a model that both spellings print and read back.
fn file(bytes: &[u8], format: Format) {
    match read(bytes, format, false) {
        Ok(model) => {
            assert_eq!(read(bytes, format, true).ok().as_ref(), Some(&model), "explaining changes the model");
            for (text, format) in [(print::kdl(&model), Format::Kdl), (print::yaml(&model), Format::Yaml)] {
                let again = read(text.as_bytes(), format, false)
                    .unwrap_or_else(|report| panic!("{:#?}\n{text}", report.diagnostics()));
                assert_eq!(again, model, "{text}");
            }
        }
        Err(report) => check(&report),
    }
}

fn read(bytes: &[u8], format: Format, explain: bool) -> Result<schemas::model::Model, Report> {
    let source = Source { name: "Sandboxfile", path: None, bytes, format, folder: "/project" };
    let environment = [("HOME".to_owned(), "/root".to_owned())].into();
    let input = Input {
        default_project: ProjectName::new("project").ok(),
        variables: Variables { environment, files: Vec::new() },
        explain,
        ..Input::of(source)
    };
    load(&input, &AssumePresent).map(|loaded| loaded.model)
}

/// Checks the places of a report and its text.
pub fn check(report: &Report) {
    let found = report.diagnostics();
    assert!(!found.is_empty() && found.len() <= DIAGNOSTICS_MAX);
    // Rendering a few findings shows whether their positions are valid.
    for diagnostic in found.iter().take(4) {
        let place = report.place(diagnostic.span());
        assert!((1, 1) <= (place.line, place.column), "{place:?}");
        assert!((place.line, place.column) <= (place.end_line, place.end_column), "{place:?}");
    }
    for located in report.located().take(4) {
        let mut text = String::new();
        let _ = miette::JSONReportHandler::new().render_report(&mut text, &located);
        let steers = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
        assert!(!text.contains(steers), "a report steers the terminal: {text:?}");
    }
}

/// Variables have sound names, values stay within the budget, and each one is found again when it is written in
/// single quotes.
pub fn env_file(bytes: &[u8]) {
    let none = BTreeMap::new();
    let Ok(values) = read_env_file(&EnvFile { name: ".env", bytes }, &none) else { return };
    let total: usize = values.values().map(String::len).sum();
    assert!(total <= bytes.len() + EXPANDED_BYTES_MAX, "{} bytes have become {total}", bytes.len());
    let mut text = String::new();
    for (name, value) in &values {
        assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "{name:?}");
        assert!(value.len() <= ENV_FILE_BYTES_MAX, "{name} is too long");
        let line = format!("{name}='{value}'\n");
        if !value.contains(['\'', '\r']) && text.len() + line.len() <= ENV_FILE_BYTES_MAX {
            text.push_str(&line);
        }
    }
    let again = read_env_file(&EnvFile { name: ".env", bytes: text.as_bytes() }, &none).expect("plain lines");
    for (name, value) in &again {
        assert_eq!(values.get(name), Some(value), "{name}");
    }
}

/// Each of the small texts, printed and read again, is the same.
pub fn texts(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    printed::<rules::rule::Rule>(text);
    printed::<rules::rule::HostPattern>(text);
    printed::<schemas::spec::Port>(text);
    printed::<rules::reference::Reference>(text);
    printed::<rules::pool::Ipv4Pool>(text);
    printed::<rules::pool::Ipv6Pool>(text);
    printed::<rules::proxy::ProxyUrl>(text);
    printed::<rules::user::GuestUser>(text);
    printed::<schemas::name::SandboxId>(text);
    let _ = text.parse::<rules::mount_text::MountText>();
    let _ = text.parse::<rules::tmpfs_text::TmpfsText>();
    if let Ok(name) = rules::rule::DomainName::new(text) {
        assert_eq!(rules::rule::DomainName::new(name.as_str()).ok(), Some(name));
    }
}

fn printed<T: FromStr<Err: Debug> + Display + PartialEq + Debug>(text: &str) {
    let Ok(value) = text.parse::<T>() else { return };
    let again = value.to_string();
    match again.parse::<T>() {
        Ok(same) => assert_eq!(same, value, "{again}"),
        Err(error) => panic!("{text:?} is printed as {again:?}, which cannot be read: {error:?}"),
    }
}
