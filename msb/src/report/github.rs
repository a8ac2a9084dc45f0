//! GitHub Actions' workflow commands: lines that become annotations, and text that must not become any.

use super::findings::{Finding, Place};

/// Findings as annotations, one line each. `path` turns a file into one of the repository.
pub fn annotations(findings: &[Finding], path: &dyn Fn(&str) -> String) -> String {
    findings.iter().map(|finding| annotation(finding, path)).collect()
}

fn annotation(finding: &Finding, path: &dyn Fn(&str) -> String) -> String {
    let mut properties = vec![("file", path(&finding.file))];
    if let Some(Place { file, line, column, end_line, end_column, .. }) = finding.place() {
        properties[0].1 = path(file);
        properties.push(("line", line.to_string()));
        properties.push(("endLine", end_line.to_string()));
        // Columns are only taken together with a place on one line; there, the last one is included.
        if line == end_line {
            properties.push(("col", column.to_string()));
            properties.push(("endColumn", end_column.saturating_sub(1).max(*column).to_string()));
        }
    }
    properties.push(("title", finding.code.to_owned()));
    let mut message = finding.sentence();
    if let Some(help) = &finding.help {
        message.push_str(&format!("\nhelp: {help}"));
    }
    command(if finding.is_error() { "error" } else { "warning" }, &properties, &message)
}

/// An annotation that is about no file.
pub fn error(title: &str, message: &str) -> String {
    command("error", &[("title", title.to_owned())], message)
}

fn command(name: &str, properties: &[(&str, String)], message: &str) -> String {
    let properties: Vec<_> =
        properties.iter().map(|(key, value)| format!("{key}={}", escape_property(value))).collect();
    format!("::{name} {}::{}\n", properties.join(","), escape_message(message))
}

/// A message ends with its line.
fn escape_message(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A property ends with a comma or a colon, too.
fn escape_property(text: &str) -> String {
    escape_message(text).replace(':', "%3A").replace(',', "%2C")
}

/// Text from a guest or a file, which the runner takes for no command: it looks for `::` at the beginning
/// of a line, blanks before it included, and for `##[` anywhere in it.
pub fn inert(text: &str) -> String {
    let line = |line: &str| {
        let rest = line.trim_start();
        let line = match rest.starts_with("::") {
            true => format!("{}: {}", &line[..line.len() - rest.len()], &rest[1..]),
            false => line.to_owned(),
        };
        line.replace("##[", "## [")
    };
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

/// The same for a piece of a line: what follows it on the same line makes no command of it either.
pub fn inert_piece(piece: &str, ends: bool) -> String {
    let mut text = inert(piece);
    if !ends && (text.trim_start() == ":" || text.ends_with('#')) {
        text.push(' ');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::findings::tests::of_text;

    #[test]
    fn pieces_of_a_line_make_no_command_together() {
        let line = |pieces: &[&str]| {
            let last = pieces.len() - 1;
            pieces
                .iter()
                .enumerate()
                .map(|(index, piece)| inert_piece(piece, index == last))
                .collect::<String>()
        };
        assert_eq!(line(&[" ", ":", ":stop-commands::x"]), " : :stop-commands::x");
        assert_eq!(line(&["  ", "::stop-commands::x"]), "  : :stop-commands::x");
        assert_eq!(line(&["a#", "#", "[command]x"]), "a# # [command]x");
        assert_eq!(line(&["a:", ":b", "c"]), "a::bc");
    }

    #[test]
    fn every_delimiter_is_escaped() {
        assert_eq!(escape_message("100%\r\na::b,c"), "100%25%0D%0Aa::b,c");
        assert_eq!(escape_property("100%\r\na::b,c"), "100%25%0D%0Aa%3A%3Ab%2Cc");
        assert_eq!(error("a: b", "x\n::error::y"), "::error title=a%3A b::x%0A::error::y\n");
    }

    #[test]
    fn a_finding_is_one_line() {
        let path = |file: &str| format!("sub/{file}");
        let shown = annotations(&of_text("sandbox \"web\" {\n    image \"./a\"; memory 512\n}\n"), &path);
        insta::assert_snapshot!(shown);
    }

    #[test]
    fn columns_are_left_out_where_a_place_has_several_lines() {
        let mut finding = of_text("sandbox \"web\" {\n    image \"./a\"; memory 512\n}\n").remove(0);
        finding.labels[0].end_line += 1;
        let shown = annotations(&[finding.clone()], &str::to_owned);
        assert!(shown.contains("line=2,endLine=3,title="), "{shown}");
        // An empty place still has a column.
        finding.labels[0].end_line -= 1;
        finding.labels[0].end_column = finding.labels[0].column;
        let column = finding.labels[0].column;
        let shown = annotations(&[finding.clone()], &str::to_owned);
        assert!(shown.contains(&format!("col={column},endColumn={column}")), "{shown}");
        finding.severity = "warning";
        assert!(annotations(&[finding.clone()], &str::to_owned).starts_with("::warning file="));
        finding.severity = "error";
        finding.labels.clear();
        let shown = annotations(&[finding], &str::to_owned);
        assert!(shown.starts_with("::error file=a%2Cb/Sandboxfile,title="), "{shown}");
    }

    #[test]
    fn what_a_guest_prints_is_no_command() {
        for (text, expected) in [
            ("::error::x", ": :error::x"),
            (" \t::add-mask::a", " \t: :add-mask::a"),
            ("a ::error::x", "a ::error::x"),
            ("a ##[add-mask]b", "a ## [add-mask]b"),
            ("a\n::stop-commands::x\n", "a\n: :stop-commands::x\n"),
            ("\u{85}::error::x", "\u{85}: :error::x"),
            ("", ""),
        ] {
            assert_eq!(inert(text), expected);
        }
    }
}
