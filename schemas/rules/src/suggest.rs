//! Suggestions for misspelt words, and lists of words in messages.

/// The candidate that a text was probably meant to be: the same but for case and separators, or close by
/// typing errors.
pub fn nearest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Nobody mistypes a word of this length into another one; and the comparison takes quadratic time.
    const LENGTH_MAX: usize = 64;
    if text.is_empty() || text.len() > LENGTH_MAX {
        return None;
    }
    let plain = |text: &str| text.to_ascii_lowercase().replace(['_', '-'], "");
    let wanted = plain(text);
    let allowed = (text.chars().count() / 3).clamp(1, 3);
    let scored =
        candidates.into_iter().filter(|candidate| candidate.len() <= LENGTH_MAX).filter_map(|candidate| {
            let distance = match plain(candidate) == wanted {
                true => 0,
                false => strsim::damerau_levenshtein(text, candidate),
            };
            // One edit away from a word of two letters is nearly any other one.
            let worth = distance <= allowed && (distance == 0 || candidate.chars().count() > 2);
            worth.then_some((distance, candidate))
        });
    scored.min_by_key(|&(distance, _)| distance).map(|(_, candidate)| candidate)
}

/// Lists words in backticks: `a, b and c` or `a, b or c`, by the last conjunction.
pub fn list<'a>(words: impl IntoIterator<Item = &'a str>, last: &str) -> String {
    let words: Vec<String> = words.into_iter().map(|word| format!("`{word}`")).collect();
    match words.as_slice() {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., end] => format!("{} {last} {end}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_words() {
        let words = ["image", "memory", "depends-on", "env", "no"];
        assert_eq!(nearest("imgae", words), Some("image"));
        assert_eq!(nearest("depends_on", words), Some("depends-on"));
        assert_eq!(nearest("DependsOn", words), Some("depends-on"));
        assert_eq!(nearest("envs", words), Some("env"));
        assert_eq!(nearest("xy", words), None);
        assert_eq!(nearest("quux", words), None);
        assert_eq!(nearest("", words), None);
    }

    #[test]
    fn lists() {
        assert_eq!(list(["a"], "or"), "`a`");
        assert_eq!(list(["a", "b", "c"], "or"), "`a`, `b` or `c`");
    }
}
