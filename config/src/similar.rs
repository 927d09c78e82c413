//! "Did you mean": the known word nearest to an unknown one.

/// The nearest candidate, if one is near enough to be a likely slip. Of equals the first.
pub(crate) fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // One slip in three characters; short words get one all the same, but not a different word altogether.
    let allowed = (word.chars().count() / 3).max(1);
    let folded = word.to_lowercase().replace('-', "_");
    candidates
        .into_iter()
        .map(|candidate| {
            let other = candidate.to_lowercase().replace('-', "_");
            (strsim::damerau_levenshtein(&folded, &other), candidate)
        })
        .filter(|&(distance, candidate)| {
            distance <= allowed && distance < candidate.chars().count() && candidate != word
        })
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::closest;

    #[test]
    fn slips_are_recognised_and_other_words_are_not() {
        let known = ["restart", "health", "log", "max_restarts", "SIGTERM", "on-failure"];
        for (word, expected) in [
            ("restrat", Some("restart")),
            ("Health", Some("health")),
            ("lgo", Some("log")),
            ("max-restart", Some("max_restarts")),
            ("sigterm", Some("SIGTERM")),
            ("on_failure", Some("on-failure")),
            ("banana", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(closest(word, known), expected, "{word}");
        }
    }
}
