//! `--add-file`, which copies a file of the host into the sandbox.

use super::text::literal;
use crate::error::CliError;
use rules::suggest::{list, nearest};
use serde_json::{Map, Value};

/// The options, which are properties of a file.
const OPTIONS: [&str; 3] = ["mode", "uid", "gid"];

/// Returns the files that the values of `--add-file` declare, by their paths in the sandbox.
///
/// # Errors
///
/// If a value is not `SOURCE:DEST[:OPTIONS]`, or two have the same destination. The checks of a Sandboxfile report all
/// else.
pub fn declared<'a>(texts: impl Iterator<Item = &'a String>) -> Result<Map<String, Value>, CliError> {
    let mut files = Map::new();
    for text in texts {
        let refused = |problem: &str| CliError::usage(format!("--add-file {text:?}: {problem}"));
        let (destination, file) = parse(text).map_err(|problem| {
            refused(&problem)
                .hint("write it as SOURCE:DEST[:OPTION,…], such as ./app.conf:/etc/app.conf:mode=0600")
        })?;
        if files.insert(destination.to_owned(), file.into()).is_some() {
            return Err(
                refused(&format!("two files are written to {destination}")).hint("remove one of the two")
            );
        }
    }
    Ok(files)
}

/// Splits a value at the first `:/`, as the source may contain colons.
fn parse(text: &str) -> Result<(&str, Map<String, Value>), String> {
    let at = text.find(":/").filter(|at| *at > 0).ok_or("it is not SOURCE:DEST with an absolute DEST")?;
    let (source, rest) = (&text[..at], &text[at + 1..]);
    let (destination, options) =
        rest.split_once(':').map_or((rest, None), |(destination, options)| (destination, Some(options)));
    let mut file = Map::from_iter([("from".to_owned(), literal(source))]);
    for option in options.into_iter().flat_map(|options| options.split(',')) {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        if !OPTIONS.contains(&name) {
            let known = nearest(name, OPTIONS).map_or_else(
                || format!("the options are {}", list(OPTIONS, "and")),
                |near| format!("did you mean `{near}`?"),
            );
            return Err(format!("unknown option `{name}`: {known}"));
        }
        if value.is_empty() {
            return Err(format!("`{name}` needs a value"));
        }
        let value = match value.parse::<u32>() {
            Ok(id) if name != "mode" => id.into(),
            _ => literal(value),
        };
        if file.insert(name.to_owned(), value).is_some() {
            return Err(format!("duplicate option `{name}`"));
        }
    }
    Ok((destination, file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn files(texts: &[&str]) -> Result<Value, String> {
        let texts: Vec<_> = texts.iter().map(|text| (*text).to_owned()).collect();
        declared(texts.iter()).map(Value::from).map_err(|error| error.message)
    }

    #[test]
    fn the_options_are_properties() {
        assert_eq!(
            files(&["./a:b.conf:/etc/a.conf", "/srv/b:/etc/b:mode=0600,uid=33,gid=x"]),
            Ok(json!({
                "/etc/a.conf": { "from": "./a:b.conf" },
                "/etc/b": { "from": "/srv/b", "mode": "0600", "uid": 33, "gid": "x" },
            }))
        );
        assert_eq!(files(&["./$x:/$y"]), Ok(json!({ "/$y": { "from": "./$$x" } })));
    }

    #[test]
    fn other_texts_are_refused() {
        for (text, problem) in [
            ("./a", "it is not SOURCE:DEST with an absolute DEST"),
            ("./a:b", "it is not SOURCE:DEST with an absolute DEST"),
            (":/a", "it is not SOURCE:DEST with an absolute DEST"),
            ("./a:/b:", "unknown option ``: the options are `mode`, `uid` and `gid`"),
            ("./a:/b:ro", "unknown option `ro`"),
            ("./a:/b:mod=0600", "unknown option `mod`: did you mean `mode`?"),
            ("./a:/b:mode", "`mode` needs a value"),
            ("./a:/b:uid=1,uid=2", "duplicate option `uid`"),
        ] {
            let message = files(&[text]).unwrap_err();
            assert!(message.contains(problem), "{text}: {message}");
        }
        let twice = files(&["./a:/b", "./c:/b"]).unwrap_err();
        assert!(twice.contains("two files are written to /b"), "{twice}");
    }
}
