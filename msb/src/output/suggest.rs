//! Suggestions for unknown names.

use rules::suggest::nearest;
use schemas::listing::names;

/// Returns the hint for an unknown name: a similar known one, else a list of them, or `none` if there are none.
pub fn hint_about<'a>(name: &str, known: impl IntoIterator<Item = &'a str>, none: &str) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean {near:?}?"),
        None if known.is_empty() => none.to_owned(),
        None => format!("there are: {}", names(known)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_similar_name_is_suggested_before_a_list() {
        assert_eq!(hint_about("wbe", ["api", "web"], "none"), "did you mean \"web\"?");
        assert_eq!(hint_about("wbe", ["api", "db"], "none"), "there are: api, db");
        assert_eq!(hint_about("wbe", [], "none"), "none");
        let many: Vec<String> = (0..10_000).map(|number| format!("number-{number}")).collect();
        let hint = hint_about("wbe", many.iter().map(String::as_str), "none");
        assert!(hint.len() < 400 && hint.ends_with("more"), "{hint}");
    }
}
