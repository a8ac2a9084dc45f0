//! Lists that a person reads: cut where they grow long, and the rest is counted.

/// The most items that are listed, where nothing speaks for another number.
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

/// Lists the names that could have been given.
pub fn there_are<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    format!("there are: {}", lines(names, LISTED_MAX, str::to_owned).join(", "))
}

/// The hint about a name that is not among the known ones; `none` is the hint where there are none.
pub fn hint_about<'a>(name: &str, known: impl IntoIterator<Item = &'a str>, none: &str) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let near = known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), *candidate))
        .min()
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4);
    match near {
        Some((_, near)) => format!("did you mean {near:?}?"),
        None if known.is_empty() => none.to_owned(),
        None => there_are(known),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_cut_and_the_rest_is_counted() {
        let names = |count: usize| (0..count).map(|number| format!("n{number}")).collect::<Vec<_>>();
        assert_eq!(there_are(["a", "b"]), "there are: a, b");
        assert_eq!(lines(names(LISTED_MAX), LISTED_MAX, |name| name).len(), LISTED_MAX);
        let cut = lines(names(10_000), LISTED_MAX, |name| name);
        assert_eq!((cut.len(), cut[LISTED_MAX].as_str()), (LISTED_MAX + 1, "… and 9980 more"));
        assert!(there_are(names(10_000).iter().map(String::as_str)).len() < 200);
    }

    #[test]
    fn a_close_name_is_suggested() {
        assert_eq!(hint_about("wbe", ["api", "web"], "none"), "did you mean \"web\"?");
        assert_eq!(hint_about("wbe", ["api", "db"], "none"), "there are: api, db");
        assert_eq!(hint_about("wbe", [], "none"), "none");
    }
}
