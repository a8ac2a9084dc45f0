//! Lists in messages: cut where they grow long, and the rest is counted.

use std::fmt::Display;

/// The most items that a message lists, where nothing speaks for another number.
pub const LISTED_MAX: usize = 20;

/// A line for each of the first items, and one that counts the others.
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

/// The first names on one line, and how many more there are.
pub fn names<T: Display>(names: impl IntoIterator<Item = T>) -> String {
    lines(names, LISTED_MAX, |name| name.to_string()).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_cut_and_the_rest_is_counted() {
        assert_eq!(names(["a", "b"]), "a, b");
        assert_eq!(names([""; 0]), "");
        assert_eq!(lines(0..LISTED_MAX, LISTED_MAX, |number| number.to_string()).len(), LISTED_MAX);
        let cut = lines(0..10_000, LISTED_MAX, |number| number.to_string());
        assert_eq!((cut.len(), cut[LISTED_MAX].as_str()), (LISTED_MAX + 1, "… and 9980 more"));
        assert!(names(0..10_000).ends_with("19, … and 9980 more"));
    }
}
