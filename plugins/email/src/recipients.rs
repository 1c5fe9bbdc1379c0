//! Who gets a mail about an event.
//!
//! In this order: the addresses of the task's custom property, the fixed ones, the app's owner. Nobody gets two mails, and
//! whatever is wrong with one of them stops none of the others.
//!
//! When nobody is left there are two cases. Either nobody is meant to get a mail (the task has no property, the owner is
//! excluded): then there is nothing to deliver, and the delivery is done. Or somebody is meant to and cannot be reached (no
//! address in the directory, no valid address, Qlik Sense could not be asked): then it is not done, and must not look so.

use butler_plugin_api::{Data, Event};
use lettre::Address;

use crate::address;
use crate::settings::{Owners, Recipients, RecipientsIf, Who};

/// The recipients of one event.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Plan {
    /// Valid addresses, each once.
    pub(crate) to: Vec<Address>,
    /// The same by where they come from, for templates of Butler 16: the task's own, and all others.
    pub(crate) of_task: Vec<String>,
    pub(crate) common: Vec<String>,
    /// Who cannot be reached, and why; for people.
    pub(crate) unreachable: Vec<String>,
    /// Who is not meant to get this mail, and why; for people.
    pub(crate) left_out: Vec<String>,
}

impl Recipients {
    /// Decides by the facts of the event.
    pub(crate) fn of(&self, event: &Event) -> Plan {
        let data = &event.data;
        let mut plan = Plan::default();
        if let Some(property) = &self.property {
            let addresses = data.task.as_ref().and_then(|task| task.custom_properties.get(property));
            match addresses {
                Some(addresses) => addresses.iter().for_each(|address| plan.add(address, true)),
                None if is_missing(data, "task") => {
                    plan.unreachable
                        .push(format!("the addresses in `{property}`: Qlik Sense could not be asked for the task"));
                }
                None => plan.left_out.push(format!("there is no task with the custom property `{property}`")),
            }
        }
        match self.only_if.as_ref().map_or(Ok(()), |gate| gate.opens(data)) {
            Ok(()) => self.always.iter().for_each(|address| plan.add(address, false)),
            Err(why) => plan.left_out.push(why),
        }
        if let Some(owners) = &self.owner {
            owners.add(data, &mut plan);
        }
        plan
    }
}

impl Plan {
    fn add(&mut self, text: &str, of_task: bool) {
        match address::recipient(text) {
            Ok(address) => {
                // Mail servers that tell upper from lower case are extinct; two mails would be the more likely mistake.
                if !self.to.iter().any(|known| same(known.as_ref(), address.as_ref())) {
                    let list = if of_task { &mut self.of_task } else { &mut self.common };
                    list.push(address.to_string());
                    self.to.push(address);
                }
            }
            Err(why) => self.unreachable.push(format!("`{}`: {why}", text.trim())),
        }
    }
}

impl RecipientsIf {
    /// Whether the fixed recipients are used. What could not be found out opens: a mail too many beats none.
    fn opens(&self, data: &Data) -> Result<(), String> {
        if data.cloud.is_some() {
            let Some(tag) = &self.tag else { return Ok(()) };
            let has = data.app.as_ref().is_some_and(|app| app.tags.iter().any(|it| it == tag));
            return if has || is_missing(data, "tags") || is_missing(data, "app") {
                Ok(())
            } else {
                Err(format!("`recipients` are for apps with the tag `{tag}`"))
            };
        }
        let (Some(property), Some(value), Some(task)) = (&self.property, &self.value, &data.task) else {
            return Ok(());
        };
        let values = task.custom_properties.get(property);
        if values.is_some_and(|values| values.contains(value)) || is_missing(data, "task") {
            Ok(())
        } else {
            Err(format!("`recipients` are for tasks with `{property}` = `{value}`"))
        }
    }
}

impl Owners {
    fn add(&self, data: &Data, plan: &mut Plan) {
        let Some(owner) = data.app.as_ref().and_then(|app| app.owner.as_ref()) else {
            if is_missing(data, "owner") || is_missing(data, "app") {
                plan.unreachable.push("the app's owner: Qlik Sense could not be asked who that is".to_owned());
            } else {
                plan.left_out.push("there is no app with an owner".to_owned());
            }
            return;
        };
        let shown = if owner.name.is_empty() { &owner.user_id } else { &owner.name };
        let is = |who: &Who| match (&who.directory, &who.user_id, &who.email) {
            (Some(directory), Some(id), _) => same(directory, &owner.user_directory) && same(id, &owner.user_id),
            (_, _, Some(email)) => owner.emails.iter().any(|known| same(known.trim(), email.trim())),
            _ => false,
        };
        if self.exclude.iter().any(is) || self.include.as_ref().is_some_and(|include| !include.iter().any(is)) {
            plan.left_out.push(format!("the app's owner, {shown}, gets no mails by `owner`"));
        } else if owner.emails.iter().all(|address| address.trim().is_empty()) {
            plan.unreachable.push(format!("the app's owner, {shown}, has no mail address in the user directory"));
        } else {
            owner
                .emails
                .iter()
                .filter(|address| !address.trim().is_empty())
                .for_each(|address| plan.add(address, false));
        }
    }
}

fn same(a: &str, b: &str) -> bool {
    a.to_lowercase() == b.to_lowercase()
}

fn is_missing(data: &Data, fact: &str) -> bool {
    data.missing.iter().any(|missing| missing == fact)
}

#[cfg(test)]
mod tests;
