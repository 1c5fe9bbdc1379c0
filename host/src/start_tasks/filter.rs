//! Which tasks may be started: `qlik.startTaskFilter`, for everybody who asks.

use super::Selection;
use crate::config::StartTaskFilter;
use crate::qlik::{TaskFacts, has_property};

/// The filter of the config; without one every task may be started.
#[derive(Debug, Clone, Copy)]
pub(super) struct Filter<'a>(pub(super) Option<&'a StartTaskFilter>);

/// What can be said of an id alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Allowed,
    Denied,
    /// A tag or custom property of the task may allow it.
    Depends,
}

impl Filter<'_> {
    /// Whether tasks that are chosen so may be started.
    pub(super) fn verdict(self, selection: &Selection) -> Verdict {
        let Some(filter) = self.0 else { return Verdict::Allowed };
        let (allowed, otherwise) = match selection {
            Selection::TaskId(id) => {
                let listed = filter.task_ids.iter().any(|one| one.eq_ignore_ascii_case(id));
                let none = filter.tags.is_empty() && filter.custom_properties.is_empty();
                (listed, if none { Verdict::Denied } else { Verdict::Depends })
            }
            Selection::Tag(tag) => (filter.tags.contains(tag), Verdict::Denied),
            Selection::CustomProperty { name, value } => {
                let listed = filter.custom_properties.iter().any(|one| one.name == *name && one.value == *value);
                (listed, Verdict::Denied)
            }
        };
        if allowed { Verdict::Allowed } else { otherwise }
    }

    /// Whether a task may be started that was chosen by its id.
    pub(super) fn allows(self, task: &TaskFacts) -> bool {
        let Some(filter) = self.0 else { return true };
        filter.task_ids.iter().any(|one| one.eq_ignore_ascii_case(&task.task.id))
            || task.task.tags.iter().any(|tag| filter.tags.contains(tag))
            || filter.custom_properties.iter().any(|one| has_property(task, &one.name, &one.value))
    }
}

#[cfg(test)]
mod tests {
    use butler_plugin_api::Task;

    use super::*;
    use crate::config::CustomPropertyValue;

    const LISTED: &str = "11111111-2222-4333-8444-55555555555A";

    fn verdicts(filter: Option<&StartTaskFilter>) -> [Verdict; 6] {
        let property = |name: &str, value: &str| Selection::CustomProperty { name: name.into(), value: value.into() };
        [
            Selection::TaskId(LISTED.to_ascii_lowercase()),
            Selection::TaskId("0".to_owned()),
            Selection::Tag("nightly".to_owned()),
            Selection::Tag("Nightly".to_owned()),
            property("group", "a"),
            property("group", "b"),
        ]
        .map(|selection| Filter(filter).verdict(&selection))
    }

    #[test]
    fn each_way_has_its_list_and_a_task_is_allowed_by_any() {
        use Verdict::{Allowed, Denied, Depends};
        assert_eq!(verdicts(None), [Allowed; 6]);
        let nothing = StartTaskFilter::default();
        assert_eq!(verdicts(Some(&nothing)), [Denied; 6]);
        let ids = StartTaskFilter { task_ids: vec![LISTED.to_owned()], ..StartTaskFilter::default() };
        assert_eq!(verdicts(Some(&ids)), [Allowed, Denied, Denied, Denied, Denied, Denied]);
        let all = StartTaskFilter {
            tags: vec!["nightly".to_owned()],
            custom_properties: vec![CustomPropertyValue { name: "group".to_owned(), value: "a".to_owned() }],
            ..ids.clone()
        };
        assert_eq!(verdicts(Some(&all)), [Allowed, Depends, Allowed, Denied, Allowed, Denied]);

        let task = |id: &str, tag: &str, value: &str| TaskFacts {
            task: Task {
                id: id.to_owned(),
                tags: vec![tag.to_owned()],
                custom_properties: [("group".to_owned(), vec![value.to_owned()])].into(),
                ..Task::default()
            },
            ..TaskFacts::default()
        };
        let allows = |task: &TaskFacts| Filter(Some(&all)).allows(task);
        assert!(allows(&task(&LISTED.to_ascii_lowercase(), "", "")));
        assert!(allows(&task("0", "nightly", "")) && allows(&task("0", "", "a")));
        assert!(!allows(&task("0", "daily", "b")) && !Filter(Some(&nothing)).allows(&task(LISTED, "nightly", "a")));
    }
}
