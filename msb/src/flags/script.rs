//! `--script`, `--script-raw` and `--script-path`, which share one name space.

use crate::error::CliError;
use crate::project::load;
use schemas::spec::limits::SCRIPT_BYTES_MAX;
use std::collections::BTreeMap;
use std::path::Path;

/// A declared script.
#[derive(Debug, PartialEq, Eq)]
pub struct Script {
    /// Its text.
    pub body: String,
    /// Whether the text includes the interpreter line.
    pub raw: bool,
}

/// Collects the scripts of a command line.
///
/// # Errors
///
/// If a name is empty or used twice, or a file cannot be read.
pub fn scripts(
    wrapped: &[String],
    raw: &[String],
    paths: &[String],
) -> Result<BTreeMap<String, Script>, CliError> {
    type Parse = fn(&str) -> Result<Script, CliError>;
    let flags: [(&str, &[String], &str, Parse); 3] = [
        ("--script", wrapped, "=BODY", |body| Ok(Script { body: decode(body), raw: false })),
        ("--script-raw", raw, "=BODY", |body| Ok(Script { body: body.to_owned(), raw: true })),
        ("--script-path", paths, ":PATH", |path| Ok(Script { body: read(path)?, raw: true })),
    ];
    let mut scripts = BTreeMap::new();
    for (flag, words, form, parse) in flags {
        for word in words {
            let refused = |why: String| CliError::usage(format!("{flag} {word:?}{why}"));
            let (name, value) =
                word.split_once(&form[..1]).ok_or_else(|| refused(format!(" is not NAME{form}")))?;
            let script = parse(value)?;
            if name.is_empty() {
                return Err(refused(": the script has no name".to_owned()));
            }
            if scripts.insert(name.to_owned(), script).is_some() {
                return Err(refused(format!(": two scripts are called {name:?}"))
                    .hint("rename or remove one of them"));
            }
        }
    }
    Ok(scripts)
}

/// Decodes `\n \t \r \\ \" \'`. Unknown escapes and a trailing `\` stay unchanged.
fn decode(text: &str) -> String {
    let mut decoded = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        if c != '\\' {
            decoded.push(c);
            continue;
        }
        match characters.next() {
            Some('n') => decoded.push('\n'),
            Some('t') => decoded.push('\t'),
            Some('r') => decoded.push('\r'),
            Some(c @ ('\\' | '"' | '\'')) => decoded.push(c),
            Some(other) => decoded.extend(['\\', other]),
            None => decoded.push('\\'),
        }
    }
    decoded
}

fn read(path: &str) -> Result<String, CliError> {
    let bytes = load::read_file(Path::new(path), &format!("the script {path}"), SCRIPT_BYTES_MAX)?;
    String::from_utf8(bytes).map_err(|_| {
        CliError::new(format!("the script {path} is not UTF-8")).hint("put binary programs into the image")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_escapes_are_decoded() {
        for (given, decoded) in [
            (r"a\nb", "a\nb"),
            (r"\t\r\\", "\t\r\\"),
            (r#"\"\'"#, "\"'"),
            (r"\x\0\é", r"\x\0\é"),
            (r"end\", r"end\"),
            (r"\\n", r"\n"),
            (r"\\\n", "\\\n"),
            ("", ""),
        ] {
            assert_eq!(decode(given), decoded, "{given}");
        }
    }

    #[test]
    fn scripts_are_split_at_the_first_separator_and_names_are_unique() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let made = scripts(&words(&["a=x=y\\n"]), &words(&["b=x=y\\n"]), &[]).unwrap();
        assert_eq!(made["a"], Script { body: "x=y\n".to_owned(), raw: false });
        assert_eq!(made["b"], Script { body: "x=y\\n".to_owned(), raw: true });
        for (wrapped, raw) in
            [(&["a=1", "a=2"][..], &[][..]), (&["a=1"], &["a=2"]), (&["=1"], &[]), (&["a"], &[])]
        {
            assert!(scripts(&words(wrapped), &words(raw), &[]).is_err(), "{wrapped:?} {raw:?}");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x:y.sh");
        std::fs::write(&path, "#!/bin/sh\n").unwrap();
        let word = format!("a:{}", path.display());
        assert_eq!(scripts(&[], &[], std::slice::from_ref(&word)).unwrap()["a"].body, "#!/bin/sh\n");
        assert!(scripts(&words(&["a=1"]), &[], &[word]).is_err());
    }
}
