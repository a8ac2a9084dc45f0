//! Characters that do more on a terminal than to appear where they stand.

/// Whether a character moves the cursor, starts an escape sequence, ends a line or reorders the text around it.
pub fn steers(c: char) -> bool {
    c.is_control() || reorders(c)
}

/// Bidirectional marks, embeddings, overrides and isolates, and the separators of lines and paragraphs.
pub fn reorders(c: char) -> bool {
    matches!(c, '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}
