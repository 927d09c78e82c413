//! Names of services with `*`, `?`, `[...]` or `{...}` in them: which services are meant?

use globset::{GlobBuilder, GlobMatcher};
use mcpd_proto::error::{ErrorObject, Kind};

/// None of these can stand in a service's name, so that a pattern is never taken for one.
const SPECIAL: [char; 4] = ['*', '?', '[', '{'];

/// A service's name as a client gives it.
pub(crate) enum Named {
    /// This service.
    One(String),
    /// Every service that fits.
    Fitting(GlobMatcher),
}

impl Named {
    /// Reads a name or pattern.
    ///
    /// # Errors
    /// It looks like a pattern and is none.
    pub(crate) fn parse(text: &str) -> Result<Self, ErrorObject> {
        if !text.contains(SPECIAL) {
            return Ok(Self::One(text.to_owned()));
        }
        match GlobBuilder::new(text).build() {
            Ok(glob) => Ok(Self::Fitting(glob.compile_matcher())),
            Err(error) => {
                let message = format!("{text:?} is no pattern: {}", error.kind());
                Err(ErrorObject::new(Kind::InvalidParams, message))
            }
        }
    }

    /// Whether this service is meant.
    pub(crate) fn means(&self, name: &str) -> bool {
        match self {
            Self::One(one) => one == name,
            Self::Fitting(pattern) => pattern.is_match(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_patterns() {
        for (text, name, expected) in [
            ("web", "web", true),
            ("web", "web2", false),
            ("worker@*", "worker@a", true),
            ("worker@*", "worker", false),
            ("*", "a.b:c", true),
            ("worker@[0-9]", "worker@3", true),
            ("{a,b}@?", "b@1", true),
            ("{a,b}@?", "b@12", false),
        ] {
            assert_eq!(Named::parse(text).is_ok_and(|named| named.means(name)), expected, "{text} {name}");
        }
        assert!(Named::parse("[a").is_err_and(|error| error.kind() == Some(Kind::InvalidParams)));
    }
}
