//! Lists in messages, of a limited length.

use std::fmt::Display;

/// The default number of items that a message lists.
pub const LISTED_MAX: usize = 20;

/// Returns a line for each of the first `max` items, and one with the number of the others.
pub fn lines<T>(
    items: impl IntoIterator<Item = T>,
    max: usize,
    line: impl FnMut(T) -> String,
) -> Vec<String> {
    let mut items = items.into_iter();
    let mut lines: Vec<String> = items.by_ref().take(max).map(line).collect();
    match items.count() {
        0 => {}
        rest => lines.push(format!("… and {rest} more")),
    }
    lines
}

/// Returns the first [`LISTED_MAX`] names on one line, and the number of the others.
pub fn names<T: Display>(names: impl IntoIterator<Item = T>) -> String {
    lines(names, LISTED_MAX, |name| name.to_string()).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_end_with_the_number_of_other_items() {
        assert_eq!(names(["a", "b"]), "a, b");
        assert_eq!(names([""; 0]), "");
        assert_eq!(lines(0..LISTED_MAX, LISTED_MAX, |number| number.to_string()).len(), LISTED_MAX);
        let cut = lines(0..10_000, LISTED_MAX, |number| number.to_string());
        assert_eq!((cut.len(), cut[LISTED_MAX].as_str()), (LISTED_MAX + 1, "… and 9980 more"));
        assert!(names(0..10_000).ends_with("19, … and 9980 more"));
    }
}
