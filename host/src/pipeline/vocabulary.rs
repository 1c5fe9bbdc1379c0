//! What rules may name: kinds of events that can come, and the fields that they have.
//!
//! A rule that waits for what never comes loses alerts without a word. What certainly is nowhere is a fault: kinds that neither
//! Butler has nor any plugin could have, and fields that events of Butler's own making have not. Plugins have kinds and facts of
//! their own, and one may be out of the config for a while: what might be meant so is a warning.

mod fields;
mod kinds;

use butler_plugin_api::{Manifest, kind};

use super::condition::FieldPath;
use crate::config::{Rule, RuleRemark, escape};

/// What can come with the plugins of a config.
#[derive(Debug)]
pub struct Vocabulary {
    /// Kinds that they emit, or patterns of such. `None`: one could not be opened, and nobody knows.
    emits: Option<Vec<String>>,
}

/// Whose events a rule is about, in the order of how little is known of their facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Makers {
    /// Butler alone: the schema of events names each field.
    Butler,
    /// Plugins too, with kinds of Butler's, or as far as is known: they may add facts beside those of the schema.
    Plugins,
    /// Plugins with kinds of their own: most facts are theirs.
    OwnKinds,
}

/// What is wrong with a kind or a path.
#[derive(Debug, PartialEq, Eq)]
struct Unknown {
    message: String,
    suggestion: Option<String>,
    is_fault: bool,
}

impl Vocabulary {
    /// `plugins`: those of the config, if all of them could be opened.
    pub fn new<'a>(plugins: Option<impl Iterator<Item = &'a Manifest>>) -> Self {
        let emits = plugins.map(|plugins| plugins.flat_map(|manifest| manifest.emits.iter().cloned()).collect());
        Self { emits }
    }

    /// What of a rule is not known. Patterns and paths that are none are told elsewhere.
    pub(super) fn remarks(&self, rule: &Rule) -> Vec<RuleRemark> {
        let makers = self.makers(&rule.events);
        let patterns = rule.events.iter().enumerate().filter(|(_, pattern)| kind::pattern_fault(pattern).is_none());
        let kinds = patterns.filter_map(|(index, pattern)| Some((format!("events/{index}"), self.kind(pattern)?)));
        let conditions = rule.conditions.keys().map(|path| (format!("where/{}", escape(path)), path));
        let per = rule.throttle.iter().map(|throttle| ("throttle/per".to_owned(), &throttle.per));
        let paths = conditions
            .chain(per)
            .filter_map(|(at, path)| Some((at, fields::unknown(&FieldPath::parse(path).ok()?, makers)?)));
        let remark = |(at, Unknown { message, suggestion, is_fault })| RuleRemark { at, message, suggestion, is_fault };
        kinds.chain(paths).map(remark).collect()
    }

    fn makers(&self, patterns: &[String]) -> Makers {
        let Some(emits) = &self.emits else { return Makers::OwnKinds };
        let maker = |emitted: &String| {
            if kind::ALL.contains(&emitted.as_str()) { Makers::Plugins } else { Makers::OwnKinds }
        };
        let here = emits.iter().filter(|emitted| patterns.iter().any(|pattern| kinds::overlap(pattern, emitted)));
        // Of a plugin that is not in the config now.
        let elsewhere = patterns.iter().filter_map(|pattern| {
            if kinds::is_of_butler(pattern) {
                kinds::is_open(pattern).then_some(Makers::Plugins)
            } else {
                kinds::may_be_of_a_plugin(pattern).then_some(Makers::OwnKinds)
            }
        });
        here.map(maker).chain(elsewhere).max().unwrap_or(Makers::Butler)
    }
}
