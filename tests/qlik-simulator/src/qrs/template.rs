//! JSON texts with gaps, for answers that cost little.

use serde_json::Value;

/// What can be put into a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    Task,
    App,
    Owner,
    Execution,
    Result,
    File,
    Start,
    Stop,
}

impl Slot {
    const ALL: [Self; 8] =
        [Self::Task, Self::App, Self::Owner, Self::Execution, Self::Result, Self::File, Self::Start, Self::Stop];

    /// How a gap is written in the object that becomes a template.
    pub(super) fn marker(self) -> String {
        format!("§{self:?}§")
    }
}

/// A text with gaps.
#[derive(Debug)]
pub(super) struct Template {
    /// Each gap with the text before it.
    gaps: Vec<(String, Slot)>,
    end: String,
}

impl Template {
    /// From an object whose texts contain markers of slots.
    pub(super) fn new(object: &Value) -> Self {
        let mut gaps = Vec::new();
        let mut text = String::new();
        for piece in object.to_string().split('§') {
            match Slot::ALL.into_iter().find(|slot| format!("{slot:?}") == piece) {
                Some(slot) => gaps.push((std::mem::take(&mut text), slot)),
                None => text.push_str(piece),
            }
        }
        Self { gaps, end: text }
    }

    /// Appends the text to `out`, with gaps filled by `value`.
    pub(super) fn render<'a>(&self, out: &mut String, value: impl Fn(Slot) -> &'a str) {
        for (before, slot) in &self.gaps {
            out.push_str(before);
            out.push_str(value(*slot));
        }
        out.push_str(&self.end);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn gaps_are_filled() {
        let template =
            Template::new(&json!({ "id": Slot::Task.marker(), "name": format!("Task {}", Slot::Task.marker()) }));
        let mut out = String::new();
        template.render(&mut out, |_| "7");
        assert_eq!(out, r#"{"id":"7","name":"Task 7"}"#);
    }
}
