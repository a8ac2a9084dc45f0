//! Characters that control a terminal or reorder text.

/// Returns whether a character moves the cursor, starts an escape sequence, ends a line or reorders the text around it.
pub fn steers(c: char) -> bool {
    c.is_control() || reorders(c)
}

/// Returns whether a character is a bidirectional mark, embedding, override or isolate, or separates lines or paragraphs.
pub fn reorders(c: char) -> bool {
    matches!(c, '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}
