//! Lists of texts in which `*` stands for any text.

use butler_plugin_api::kind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Names to look for. `*` stands for any text, and case does not matter, as it does not in Qlik Sense's user directories.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Patterns(Vec<String>);

impl Patterns {
    /// These patterns.
    pub fn new<T: Into<String>>(patterns: impl IntoIterator<Item = T>) -> Self {
        Self(patterns.into_iter().map(Into::into).collect())
    }

    /// Whether there is none, so that nothing fits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The patterns as they are written.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether one of them fits the whole text.
    pub fn fit(&self, text: &str) -> bool {
        if self.is_empty() {
            return false;
        }
        let text = text.to_lowercase();
        self.0.iter().any(|pattern| kind::matches(&pattern.to_lowercase(), &text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_fits_what_one_of_its_patterns_fits_whatever_the_case() {
        let list = Patterns::new([r"INTERNAL\*", r"Lab\Ann", "*@example.com"]);
        for text in [r"internal\sa_api", r"LAB\ann", "ÄNN@Example.com"] {
            assert!(list.fit(text), "{text}");
        }
        for text in [r"LAB\annette", r"XINTERNAL\sa_api", "", "ann@example.community"] {
            assert!(!list.fit(text), "{text}");
        }
        assert!(!Patterns::default().fit("") && Patterns::new(["*"]).fit(""));
    }
}
