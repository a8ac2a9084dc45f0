//! Workflow commands of GitHub Actions: annotations, and escaping of text that is not a command.

use super::findings::{Finding, SourceRange};

/// Formats findings as annotations, one per line. `path` converts a file to a path in the repository.
pub fn annotations(findings: &[Finding], path: &dyn Fn(&str) -> String) -> String {
    findings.iter().map(|finding| annotation(finding, path)).collect()
}

fn annotation(finding: &Finding, path: &dyn Fn(&str) -> String) -> String {
    let mut properties = vec![("file", path(&finding.file))];
    if let Some(SourceRange { file, line, column, end_line, end_column, .. }) = finding.range() {
        properties[0].1 = path(file);
        properties.push(("line", line.to_string()));
        properties.push(("endLine", end_line.to_string()));
        // GitHub accepts columns only for a range on one line, with an inclusive end.
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

/// Formats an annotation without a file.
pub fn error(title: &str, message: &str) -> String {
    command("error", &[("title", title.to_owned())], message)
}

fn command(name: &str, properties: &[(&str, String)], message: &str) -> String {
    let properties: Vec<_> =
        properties.iter().map(|(key, value)| format!("{key}={}", escape_property(value))).collect();
    format!("::{name} {}::{}\n", properties.join(","), escape_message(message))
}

fn escape_message(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// Escapes a property, which a comma or a colon would end.
fn escape_property(text: &str) -> String {
    escape_message(text).replace(':', "%3A").replace(',', "%2C")
}

/// Escapes what the runner takes for a command: `::` at the start of a line, also after blanks, and `##[` anywhere.
pub fn escape_commands(text: &str) -> String {
    let line = |line: &str| {
        let rest = line.trim_start();
        let blanks = &line[..line.len() - rest.len()];
        let line = if rest.starts_with("::") { format!("{blanks}: {}", &rest[1..]) } else { line.to_owned() };
        line.replace("##[", "## [")
    };
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

/// Escapes commands in a piece of a line, also those that the next piece would complete.
pub fn escape_commands_in_piece(piece: &str, ends: bool) -> String {
    let mut text = escape_commands(piece);
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
    fn pieces_of_a_line_do_not_form_a_command() {
        let line = |pieces: &[&str]| {
            let last = pieces.len() - 1;
            pieces
                .iter()
                .enumerate()
                .map(|(index, piece)| escape_commands_in_piece(piece, index == last))
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
    fn ranges_of_several_lines_have_no_columns() {
        let mut finding = of_text("sandbox \"web\" {\n    image \"./a\"; memory 512\n}\n").remove(0);
        finding.labels[0].end_line += 1;
        let shown = annotations(&[finding.clone()], &str::to_owned);
        assert!(shown.contains("line=2,endLine=3,title="), "{shown}");
        // An empty range still has a column.
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
    fn commands_in_text_are_escaped() {
        for (text, expected) in [
            ("::error::x", ": :error::x"),
            (" \t::add-mask::a", " \t: :add-mask::a"),
            ("a ::error::x", "a ::error::x"),
            ("a ##[add-mask]b", "a ## [add-mask]b"),
            ("a\n::stop-commands::x\n", "a\n: :stop-commands::x\n"),
            ("\u{85}::error::x", "\u{85}: :error::x"),
            ("", ""),
        ] {
            assert_eq!(escape_commands(text), expected);
        }
    }
}
