//! Colors of the terminal.

/// Parameters of the escape sequence that sets a color.
pub const RED: &str = "31";
pub const GREEN: &str = "32";
pub const YELLOW: &str = "33";
pub const CYAN: &str = "36";
pub const DIM: &str = "2";
pub const BOLD_RED: &str = "31;1";
pub const BOLD_YELLOW: &str = "33;1";

/// Whether text is colored.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style {
    /// Whether colors are on.
    pub color: bool,
}

impl Style {
    /// Returns the text in a color, or as it is if colors are off.
    pub fn paint(self, color: &str, text: &str) -> String {
        if self.color { format!("\x1b[{color}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
