//! Which accounts get an event.

use butler_plugin_api::Data;

/// An account of New Relic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) name: String,
    /// Digits.
    pub(crate) id: String,
    pub(crate) key: String,
}

/// How a rule chooses accounts, by their indices.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SendTo {
    All,
    Chosen {
        always: Vec<usize>,
        /// Custom property whose values are names of accounts.
        property: Option<String>,
    },
}

/// Accounts, each once, in order: those that are always meant, then those that the custom property names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Chosen {
    pub(crate) accounts: Vec<usize>,
    /// Values of the custom property that name no account.
    pub(crate) unknown: Vec<String>,
    /// For people: why there is none.
    pub(crate) why_none: Option<String>,
}

impl SendTo {
    /// The accounts for the facts of an event.
    ///
    /// If the task, or the app where there is no task, could not be fetched, its custom property is unknown: then all accounts get
    /// the event, since an alert for one too many is better than none.
    pub(crate) fn choose(&self, data: &Data, all: &[Account]) -> Chosen {
        let everyone = || Chosen { accounts: (0..all.len()).collect(), ..Chosen::default() };
        let (always, property) = match self {
            Self::All => return everyone(),
            Self::Chosen { always, property } => (always, property),
        };
        let mut chosen = Chosen { accounts: always.clone(), ..Chosen::default() };
        let Some(property) = property else { return chosen };
        let is_missing = |name: &str| data.missing.iter().any(|fact| fact == name);
        if is_missing("task") || (data.task.is_none() && is_missing("app")) {
            return everyone();
        }
        let of_task = data.task.as_ref().map(|task| &task.custom_properties);
        let properties = of_task.or_else(|| data.app.as_ref().map(|app| &app.custom_properties));
        for value in properties.and_then(|properties| properties.get(property)).into_iter().flatten() {
            match all.iter().position(|account| account.name == *value) {
                Some(index) if chosen.accounts.contains(&index) => {}
                Some(index) => chosen.accounts.push(index),
                None if chosen.unknown.contains(value) => {}
                None => chosen.unknown.push(value.clone()),
            }
        }
        if chosen.accounts.is_empty() {
            chosen.why_none = Some(if chosen.unknown.is_empty() {
                format!(
                    "the custom property `{property}` has no value and `always` names no account: name one there, or keep \
                     such events out by `where: {{ task.customProperties.{property}: \"*\" }}` in `on:`"
                )
            } else {
                format!(
                    "the custom property `{property}` names `{}`, which is none of `accounts`, and `always` names no account",
                    chosen.unknown.join("`, `")
                )
            });
        }
        chosen
    }
}

#[cfg(test)]
mod tests {
    use butler_plugin_api::testing::sample_event;

    use super::*;

    const PROPERTY: &str = "Butler_NewRelicAccount";

    fn accounts() -> Vec<Account> {
        let account = |name: &str| Account { name: name.to_owned(), id: "1".to_owned(), key: "k".to_owned() };
        vec![account("A"), account("B"), account("C")]
    }

    fn data(values: &[&str]) -> Data {
        let mut data = sample_event("reload-task.failed").data;
        let values = values.iter().map(ToString::to_string).collect();
        data.task.as_mut().unwrap().custom_properties.insert(PROPERTY.to_owned(), values);
        data
    }

    fn by_property(always: &[usize]) -> SendTo {
        SendTo::Chosen { always: always.to_vec(), property: Some(PROPERTY.to_owned()) }
    }

    #[test]
    fn those_that_are_always_meant_come_first_and_each_comes_once() {
        let choose = |send_to: &SendTo, values: &[&str]| send_to.choose(&data(values), &accounts()).accounts;
        assert_eq!(choose(&SendTo::All, &["B"]), [0, 1, 2]);
        assert_eq!(choose(&by_property(&[0]), &["B", "A"]), [0, 1]);
        assert_eq!(choose(&by_property(&[]), &["C", "B", "C"]), [2, 1]);
        assert_eq!(choose(&SendTo::Chosen { always: vec![2], property: None }, &["B"]), [2]);
    }

    #[test]
    fn an_unknown_name_is_told_and_the_others_get_it() {
        let chosen = by_property(&[]).choose(&data(&["B", "b", "b"]), &accounts());
        assert_eq!((chosen.accounts, chosen.unknown, chosen.why_none), (vec![1], vec!["b".to_owned()], None));
        let none = by_property(&[]).choose(&data(&["b"]), &accounts());
        assert!(none.accounts.is_empty() && none.why_none.unwrap().contains("names `b`"));
    }

    #[test]
    fn a_property_that_is_not_there_chooses_nobody_but_one_that_is_not_known_everybody() {
        let mut data = data(&[]);
        let none = by_property(&[]).choose(&data, &accounts());
        assert!(none.accounts.is_empty() && none.why_none.unwrap().contains("has no value"));
        data.missing = vec!["task".to_owned()];
        assert_eq!(by_property(&[1]).choose(&data, &accounts()).accounts, [0, 1, 2]);
        let service = sample_event("service.stopped").data;
        assert_eq!(by_property(&[1]).choose(&service, &accounts()).accounts, [1]);
    }

    #[test]
    fn without_a_task_the_app_says_it() {
        let mut data = sample_event("app-reload.failed").data;
        data.app.as_mut().unwrap().custom_properties.insert(PROPERTY.to_owned(), vec!["C".to_owned()]);
        assert_eq!(by_property(&[]).choose(&data, &accounts()).accounts, [2]);
    }

    #[test]
    fn an_app_that_is_not_known_chooses_everybody_unless_the_task_says_it() {
        let mut reload = sample_event("app-reload.failed").data;
        reload.app.as_mut().unwrap().custom_properties.clear();
        reload.missing = vec!["app".to_owned()];
        for app in [reload.app.clone(), None] {
            reload.app = app;
            assert_eq!(by_property(&[]).choose(&reload, &accounts()).accounts, [0, 1, 2]);
        }
        let mut of_task = data(&["B"]);
        of_task.missing = vec!["app".to_owned()];
        assert_eq!(by_property(&[]).choose(&of_task, &accounts()).accounts, [1]);
    }
}
