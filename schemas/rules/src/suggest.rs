//! Suggestions for misspelt words, and lists of words in messages.

/// Returns the candidate that a text probably means: it differs in case and separators only, or in at most a third of
/// its characters and three edits. `None` without one.
pub fn nearest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Longer words are hardly misspelt ones, and the comparison takes quadratic time.
    const LENGTH_MAX: usize = 64;
    if text.is_empty() || text.len() > LENGTH_MAX {
        return None;
    }
    let plain = |text: &str| text.to_ascii_lowercase().replace(['_', '-'], "");
    let wanted = plain(text);
    let allowed = (text.chars().count() / 3).clamp(1, 3);
    let scored =
        candidates.into_iter().filter(|candidate| candidate.len() <= LENGTH_MAX).filter_map(|candidate| {
            let is_same = plain(candidate) == wanted;
            let distance = if is_same { 0 } else { strsim::damerau_levenshtein(text, candidate) };
            // A word of two letters is one edit away from too many others.
            let is_near = distance <= allowed && (is_same || candidate.chars().count() > 2);
            is_near.then_some((distance, candidate))
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
