//! Kinds of events that can come.

use butler_plugin_api::{Manifest, kind};

use super::{Unknown, Vocabulary};
use crate::config::similar;

impl Vocabulary {
    /// Why nothing of a kind, or of kinds that fit a pattern, can come.
    pub(super) fn kind(&self, pattern: &str) -> Option<Unknown> {
        let emits = self.emits.as_deref().unwrap_or_default();
        if is_of_butler(pattern) || emits.iter().any(|emitted| overlap(pattern, emitted)) {
            return None;
        }
        let suggestion = self.meant(pattern);
        if !may_be_of_a_plugin(pattern) {
            let message = format!("there is no kind of event `{pattern}`: nothing would come");
            return Some(Unknown { message, suggestion, is_fault: true });
        }
        // Else the config is refused anyway, for what could not be opened.
        self.emits.is_some().then(|| {
            let message =
                format!("nothing comes by `{pattern}`: no such kind is Butler's or of a plugin of this config");
            Unknown { message, suggestion, is_fault: false }
        })
    }

    /// What is probably meant.
    fn meant(&self, pattern: &str) -> Option<String> {
        let own = self.emits.iter().flatten().map(String::as_str).filter(|kind| !kind.contains('*'));
        let known: Vec<&str> = kind::ALL.iter().copied().chain(own).collect();
        let question = |meant: &str| Some(format!("did you mean `{meant}`?"));
        if let Some(kind) = similar(pattern, known.iter().copied()).filter(|_| !pattern.contains('*')) {
            return question(kind);
        }
        let halves = || known.iter().filter_map(|kind| kind.rsplit_once('.'));
        let (subject, outcome) = pattern.rsplit_once('.')?;
        let near_subject = similar(subject, halves().map(|(subject, _)| subject)).unwrap_or(subject);
        let near_outcome = similar(outcome, halves().map(|(_, outcome)| outcome)).unwrap_or(outcome);
        for (subject, outcome) in [(subject, near_outcome), (near_subject, outcome), (near_subject, near_outcome)] {
            let meant = format!("{subject}.{outcome}");
            if known.iter().any(|kind| kind::matches(&meant, kind)) {
                return question(&meant);
            }
        }
        let all: Vec<String> =
            halves().filter(|half| half.0 == subject).map(|half| format!("`{}.{}`", half.0, half.1)).collect();
        (!all.is_empty()).then(|| format!("there are {}", all.join(", ")))
    }
}

pub(super) fn is_of_butler(pattern: &str) -> bool {
    kind::ALL.iter().any(|kind| kind::matches(pattern, kind))
}

/// Whether a plugin, in this config or not, could emit a kind that fits: kinds of its own begin with its name.
pub(super) fn may_be_of_a_plugin(pattern: &str) -> bool {
    let head = pattern.split(['.', '*']).next().unwrap_or_default();
    let begins = head.match_indices('-').filter_map(|(at, _)| head.get(..at));
    is_open(pattern) || begins.chain([head]).any(|name| Manifest::new(name, "").fault().is_none())
}

/// Whether the name of whoever emits what fits may go on: `*.failed` and `*-task.failed`, and not `reload-task.*`.
pub(super) fn is_open(pattern: &str) -> bool {
    pattern.find(['.', '*']).is_some_and(|at| pattern[at..].starts_with('*'))
}

/// Whether some kind fits both patterns. It has one dot where both have: else `*-task.faild` would be `chat.*`, by
/// `chat.x-task.faild`.
pub(super) fn overlap(one: &str, other: &str) -> bool {
    match (halves(one), halves(other)) {
        (Some((subject, outcome)), Some((subject_2, outcome_2))) => {
            text_fits_both(subject, subject_2) && text_fits_both(outcome, outcome_2)
        }
        _ => text_fits_both(one, other),
    }
}

/// Subject and outcome of what has one dot.
fn halves(pattern: &str) -> Option<(&str, &str)> {
    pattern.split_once('.').filter(|(_, outcome)| !outcome.contains('.'))
}

fn text_fits_both(one: &str, other: &str) -> bool {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    // Of the rests of `one` from here on and of `other` from each place on: whether some text fits both.
    let mut after = vec![false; other.len() + 1];
    for i in (0..=one.len()).rev() {
        let mut here = vec![false; other.len() + 1];
        for j in (0..=other.len()).rev() {
            here[j] = match (one.get(i), other.get(j)) {
                (None, None) => true,
                (Some('*'), None) => after[j],
                (None, Some('*')) => here[j + 1],
                // The star stands for nothing, or for what the other one has next.
                (Some('*'), Some(_)) | (Some(_), Some('*')) => after[j] || here[j + 1],
                (Some(a), Some(b)) => a == b && after[j + 1],
                (None, Some(_)) | (Some(_), None) => false,
            };
        }
        after = here;
    }
    after[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_overlap_if_a_text_fits_both() {
        for (one, other, expected) in [
            ("a.b", "a.b", true),
            ("a.b", "a.c", false),
            ("a.*", "a.c", true),
            ("a.*", "*.c", true),
            ("a.*", "b.*", false),
            ("*", "", true),
            ("a*", "", false),
            ("**", "a", true),
            ("chat.t*d", "chat.*ol*", true),
            ("chat.a.b", "chat.*", true),
            ("chat*", "chat.*", true),
            ("*-task.failed", "chat.*", false),
            ("*-task.failed", "chat-*", true),
            ("*.faild", "chat.told", false),
            ("*.failed", "chat-room.failed", true),
            ("*.failed", "chat.room.failed", true),
            ("*.failed", "chat.room.*", true),
            ("*room.failed", "chat.room.failed", true),
            ("*.told", "chat.room.failed", false),
            ("*-task.failed", "chat.*", false),
        ] {
            assert_eq!((overlap(one, other), overlap(other, one)), (expected, expected), "{one} {other}");
        }
    }

    #[test]
    fn what_nobody_can_tell_is_said_with_what_is_meant() {
        let chat = Manifest::new("chat", "").emits(&[kind::NODE_SILENT, "chat.told", "chat-room.*"]);
        let vocabulary = Vocabulary::new(Some([&chat].into_iter()));
        let ends = ["*", "*.failed", "reload-task.*", "*-task.*ed", "chat.*", "chat.told", "chat-room.empty", "*.told"];
        for pattern in kind::ALL.iter().copied().chain(ends) {
            assert_eq!(vocabulary.kind(pattern), None, "{pattern}");
        }
        for (pattern, is_fault, meant) in [
            ("reload-task.faild", true, "did you mean `reload-task.failed`?"),
            ("reload-task.retried-for-ever", true, "there are `reload-task.failed`, `reload-task.aborted`, "),
            ("Reload-Task.Failed", true, "did you mean `reload-task.failed`?"),
            ("reload_task.failed", true, "did you mean `reload-task.failed`?"),
            ("reload.failed", true, ""),
            ("service.stoped", true, "did you mean `service.stopped`?"),
            ("service.stoped*", true, ""),
            ("node.silnt", true, "did you mean `node.silent`?"),
            ("butler.*.x", true, ""),
            ("relod-task.failed", false, "did you mean `reload-task.failed`?"),
            ("relod-task.*", false, "did you mean `reload-task.*`?"),
            ("*-task.faild", false, "did you mean `*-task.failed`?"),
            ("chat.toldd", false, "did you mean `chat.told`?"),
            ("chat.said-by-somebody", false, "there are `chat.told`"),
            ("moon.risen", false, ""),
        ] {
            let unknown = vocabulary.kind(pattern).unwrap_or_else(|| panic!("{pattern} is known"));
            let suggestion = unknown.suggestion.as_deref().unwrap_or_default();
            assert!(unknown.is_fault == is_fault && suggestion.starts_with(meant), "{pattern}: {unknown:?}");
            assert!(unknown.message.contains(&format!("`{pattern}`")), "{unknown:?}");
        }
        // What could not be opened is told, and what it emits is not known.
        let vocabulary = Vocabulary::new(None::<std::iter::Empty<&Manifest>>);
        assert_eq!(vocabulary.kind("moon.risen"), None);
        assert!(vocabulary.kind("reload-task.faild").is_some_and(|unknown| unknown.is_fault));
    }
}
