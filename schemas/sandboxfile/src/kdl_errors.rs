//! What is wrong with a KDL text, in words: the parser's findings, and those that it does not make.

use super::code::Code;
use super::context::{Context, shorten};
use super::diagnostic::Diagnostic;
use super::kdl::says_something;
use super::kdl_blocks::Blocks;
use super::report::DIAGNOSTICS_MAX;
use super::span::Span;
use ::kdl::KdlDiagnostic;
use schemas::spec::limits;

/// Reports what is nested too deep to be parsed at all, and a comment that takes all that follows.
pub(crate) fn report_depth(context: &mut Context<'_>, blocks: &Blocks) -> bool {
    let diagnostic = if let Some(span) = blocks.too_deep {
        Diagnostic::error(Code::TooDeep, span, "blocks nest too deep")
            .label(format!("this is level {}", limits::SANDBOXFILE_DEPTH_MAX + 1))
            .help("a Sandboxfile needs three levels: a sandbox, a section, a property")
    } else if let Some(span) = blocks.taken_out {
        Diagnostic::error(Code::TooDeep, span, "blocks with `/-` nest too deep")
            .label("taken out with the blocks around it")
            .help("one `/-` takes out all that stands inside: remove the others")
    } else if let Some(span) = blocks.open_comment {
        Diagnostic::error(Code::KdlSyntax, span, "this comment is not closed")
            .label("opened here")
            .help("add a `*/` where the comment ends")
    } else {
        return false;
    };
    context.push(diagnostic);
    true
}

/// Characters that KDL bans from a text, because no reader would see them.
pub(crate) fn report_banned_characters(context: &mut Context<'_>, text: &str) -> bool {
    let banned = |at: usize, c: char| match c {
        '\u{FEFF}' => at > 0,
        '\t'..='\r' | '\u{80}'..='\u{9F}' => false,
        // These are line breaks in KDL, and a mark that it does not know of.
        '\u{2028}' | '\u{2029}' | '\u{61C}' => false,
        c => schemas::terminal::steers(c),
    };
    // Most texts hold none: a look at each byte is enough to see that.
    let plain = |byte: u8| matches!(byte, b'\t'..=b'\r' | b' '..=b'~');
    if text.bytes().all(plain) {
        return false;
    }
    let mut found = false;
    for (at, c) in text.char_indices().filter(|&(at, c)| banned(at, c)).take(DIAGNOSTICS_MAX) {
        let code = format!("{:04X}", u32::from(c));
        context.push(
            Diagnostic::error(
                Code::KdlSyntax,
                Span::new(at, at + c.len_utf8()),
                format!("U+{code} is a character that nobody sees"),
            )
            .label("here")
            .help(format!("remove it; if it is meant, write `\\u{{{code}}}` in a string in quotes")),
        );
        found = true;
    }
    found
}

pub(crate) fn report_blocks(context: &mut Context<'_>, blocks: &Blocks) {
    if let Some(span) = blocks.stray {
        context.push(
            Diagnostic::error(Code::KdlSyntax, span, "this `}` closes nothing")
                .label("no block is open here")
                .help("remove it, or look for a `{` that is missing above"),
        );
    }
    if let Some(span) = blocks.unclosed {
        context.push(
            Diagnostic::error(Code::KdlSyntax, span, "this block is not closed")
                .label("opened here")
                .help("add a `}` where the block ends"),
        );
    }
}

/// The parser's findings on a part of the text that ends at a place. Those that only say that reading ends
/// somewhere are left out where it is known why.
pub(crate) fn report_syntax<'f>(
    context: &mut Context<'_>,
    text: &str,
    end: usize,
    is_explained: bool,
    findings: impl Iterator<Item = (Span, &'f KdlDiagnostic)>,
) {
    let mut is_silent = !is_explained;
    for (span, finding) in findings {
        let message = finding.message.as_deref().unwrap_or_default();
        // Braces are accounted for; where one is missing, the parser stumbles over all that follow.
        if message.starts_with("No closing '}'") || message.starts_with("Closing '}' was not found") {
            continue;
        }
        let span = span.clamp_to(text);
        if finding.message.is_some() {
            context.push(syntax_error(text, span, finding));
        } else if !is_explained {
            context.push(misplaced(text, span.start));
        } else {
            continue;
        }
        is_silent = false;
    }
    if is_silent {
        let end = Span::new(end, end);
        context.push(Diagnostic::error(Code::KdlSyntax, end, "the text ends too early").label("here"));
    }
}

/// More than can be held.
pub(crate) fn too_complex(at: usize) -> Diagnostic {
    let message = "this file holds more than any Sandboxfile needs";
    let most = limits::SANDBOXFILE_NODES_MAX;
    Diagnostic::error(Code::TooComplex, Span::new(at, at), message)
        .help(format!("it may hold {most} names and values: use several projects"))
}

/// The parser gives up at a place.
pub(crate) fn misplaced(text: &str, at: usize) -> Diagnostic {
    let at = Span::new(at, at).clamp_to(text).start;
    let found = text[at..].chars().next();
    let span = Span::new(at, at + found.map_or(0, char::len_utf8));
    let message = match found {
        Some(found) if !found.is_control() => format!("`{found}` cannot stand here"),
        _ => "this cannot stand here".to_owned(),
    };
    let word: String =
        text[at..].chars().take_while(|c| !c.is_whitespace() && !";{}\"".contains(*c)).collect();
    let help = match found {
        Some('/') => format!("put it in quotes: \"{}\"", shorten(&word)),
        Some('=') => "a line in a block is `NAME value`; `name=value` stands behind a value".to_owned(),
        _ => "a new line or a `;` ends a node; text with signs in it stands in quotes".to_owned(),
    };
    Diagnostic::error(Code::KdlSyntax, span, message).label("reading ends here").help(help)
}

fn syntax_error(text: &str, span: Span, finding: &KdlDiagnostic) -> Diagnostic {
    let found = &text[span.start..span.end];
    let given = finding.message.as_deref().unwrap_or("this cannot be read");
    let (message, label, help) = match (found, given) {
        ("true" | "false" | "null", _) => (
            format!("KDL writes `{found}` with a `#`"),
            "a bare keyword".to_owned(),
            Some(format!("write `#{found}`, or \"{found}\" for the word")),
        ),
        (_, message) if message.starts_with("Unexpected newline in single-line") => (
            "a string goes on past the end of its line".to_owned(),
            "the closing `\"` is missing".to_owned(),
            Some("text of several lines stands between two lines of `\"\"\"`".to_owned()),
        ),
        (string, "Expected quoted string") if string.contains('\\') => (
            "a string holds an escape that KDL does not know".to_owned(),
            "in this string".to_owned(),
            Some(
                "the escapes are \\n \\r \\t \\\\ \\\" \\b \\f \\s \\u{…}; in #\"…\"# a `\\` is only a `\\`"
                    .to_owned(),
            ),
        ),
        (_, "Expected quoted string") => (
            "something sticks to this string".to_owned(),
            "a space is missing behind it".to_owned(),
            Some("spaces separate values; there are no commas".to_owned()),
        ),
        (_, "Expected identifier string") => (
            "this is not a value".to_owned(),
            "neither a word, a string nor a number".to_owned(),
            Some("spaces separate values; text with signs in it stands in quotes".to_owned()),
        ),
        (_, "Found invalid node name") => (
            "this is not a name".to_owned(),
            "a name is expected here".to_owned(),
            Some("a line starts with the name of a property, such as `image`".to_owned()),
        ),
        (_, "Found child block instead of node name") => (
            "this block belongs to no name".to_owned(),
            "a name is expected here".to_owned(),
            Some("the `{` stands on the line of the name that it belongs to".to_owned()),
        ),
        _ => (lower_first(given), String::new(), finding.help.clone()),
    };
    let diagnostic = Diagnostic::error(Code::KdlSyntax, span, message).label(label);
    Diagnostic { help, ..diagnostic }
}

pub(crate) fn not_kdl(text: &str) -> Diagnostic {
    let line = text.lines().find(says_something).unwrap_or_default();
    let start = text.find(line).unwrap_or_default();
    Diagnostic::error(
        Code::KdlSyntax,
        Span::new(start, start + line.len()),
        "this file is YAML, but its name says KDL",
    )
    .label("a line of YAML")
    .help("name it Sandboxfile.yaml")
}

fn lower_first(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|c| c.to_ascii_lowercase());
    first.into_iter().chain(characters).collect()
}
