//! What is wrong with a KDL text, in words: the parser's findings, and those that it does not make.

use super::blocks::Blocks;
use super::says_something;
use crate::diagnostics::{Code, Context, DIAGNOSTICS_MAX, Diagnostic};
use crate::syntax::Span;
use schemas::spec::limits;

/// Reports what is nested too deep to be parsed at all, and a comment that takes all that follows.
pub(crate) fn report_depth(context: &mut Context<'_>, blocks: &Blocks) -> bool {
    let diagnostic = if let Some(span) = blocks.too_deep {
        Diagnostic::error(Code::TooDeep, span, "blocks nest too deep")
            .label(format!("this is level {}", limits::SANDBOXFILE_DEPTH_MAX + 1))
            .help("a Sandboxfile needs three levels: a sandbox, a section, a property")
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
    // Without a way out in between, the compiler looks at many bytes of a chunk at a time.
    let is_plain = |chunk: &[u8]| chunk.iter().fold(true, |all, &byte| all & plain(byte));
    if text.as_bytes().chunks(64).all(is_plain) {
        return false;
    }
    let mut found = false;
    for (at, c) in text.char_indices().filter(|&(at, c)| banned(at, c)).take(DIAGNOSTICS_MAX) {
        let code = format!("{:04X}", u32::from(c));
        context.push(
            Diagnostic::error(
                Code::KdlSyntax,
                Span::new(at, at + c.len_utf8()),
                format!("U+{code} is an invisible character"),
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

/// More than can be held.
pub(crate) fn too_complex(at: usize) -> Diagnostic {
    let message = "this file holds more than any Sandboxfile needs";
    let most = limits::SANDBOXFILE_NODES_MAX;
    Diagnostic::error(Code::TooComplex, Span::new(at, at), message)
        .help(format!("it may hold {most} names and values: use several projects"))
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
