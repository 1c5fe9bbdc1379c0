//! What Qlik Sense tells: which nodes write the log lines about tasks, and of how many tasks they should have told.
//!
//! That a task has failed, was aborted or has succeeded is logged by the scheduler that manages tasks, wherever the task was
//! executed: a site has one such scheduler, usually on the central node, and workers, which execute only. So the nodes to be
//! heard are those whose scheduler manages tasks (QRS `schedulerservice`, `settings.schedulerServiceType`). Where one does, all
//! executions of the site are its to tell; where several do, those on its own node.
//!
//! Counted is only what surely is logged: reload tasks by their last execution (QRS `reloadtask`,
//! `operational.lastExecutionResult`). The scheduler that manages tasks logs nothing when a distribution ends, a user
//! synchronisation fails, or a task fails that it tries again.

use butler_plugin_api::{Host, ServiceError, node_names};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::trouble::Trouble;

/// Statuses of executions whose end is logged: aborted, succeeded, failed.
const ABORTED: u8 = 6;
const SUCCEEDED: u8 = 7;
const FAILED: u8 = 8;
/// Type of reload tasks.
const RELOAD: u8 = 0;

/// The schedulers of a site, by the host names of their nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Site {
    /// Those that manage tasks.
    pub(crate) managers: Vec<String>,
    /// Those that execute only.
    pub(crate) workers: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    settings: Settings,
    server_node_configuration: Node,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Settings {
    scheduler_service_type: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    host_name: String,
}

impl Row {
    /// `schedulerServiceType`: 0 manages (`Master`), 1 executes (`Slave`), 2 does both (`MasterAndSlave`). What is not known may
    /// do both.
    fn manages(&self) -> bool {
        let kind = &self.settings.scheduler_service_type;
        let is_worker =
            kind.as_f64() == Some(1.0) || kind.as_str().is_some_and(|name| name.eq_ignore_ascii_case("slave"));
        !is_worker
    }
}

impl Site {
    /// Asks Qlik Sense.
    pub(crate) async fn ask(host: &Host) -> Result<Self, Trouble> {
        let path = "schedulerservice/full";
        let rows: Vec<Row> = serde_json::from_value(get(host, path, &[]).await?).map_err(|error| {
            Trouble::Qlik(format!("the answer to `{path}` is of a form that is not known: {error}"))
        })?;
        let mut site = Self::default();
        for row in rows {
            let manages = row.manages();
            let name = row.server_node_configuration.host_name;
            if !name.is_empty() {
                if manages { &mut site.managers } else { &mut site.workers }.push(name);
            }
        }
        if site.managers.is_empty() {
            return Err(Trouble::Qlik(
                "it names no scheduler that manages tasks: give the user of `qlik.user` the right to read schedulers (resource filter \
                 `SchedulerService_*`) and nodes (`ServerNodeConfiguration_*`)"
                    .to_owned(),
            ));
        }
        Ok(site)
    }

    /// Of how many tasks a node that manages tasks should have told: those whose last execution ended after `from` and up to `to`.
    pub(crate) async fn tasks(
        &self,
        host: &Host,
        node: &str,
        (from, to): (Timestamp, Timestamp),
        successes: bool,
    ) -> Result<u64, Trouble> {
        let path = "reloadtask/count";
        let answer = get(host, path, &[("filter", &self.filter(node, from, to, successes))]).await?;
        let value = answer.get("value").unwrap_or(&answer);
        // Some releases write whole numbers as `8.0`.
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count, and what is above is not told apart"
        )]
        let count =
            value.as_u64().or_else(|| value.as_f64().filter(|number| *number >= 0.0).map(|number| number as u64));
        count.ok_or_else(|| Trouble::Qlik(format!("the answer to `{path}` holds no count")))
    }

    fn filter(&self, node: &str, from: Timestamp, to: Timestamp, successes: bool) -> String {
        const LAST: &str = "operational.lastExecutionResult";
        // Of one that is tried again, attempts that fail are not logged, and which one is the last cannot be seen.
        let mut ends =
            vec![format!("{LAST}.status eq {ABORTED}"), format!("({LAST}.status eq {FAILED} and maxRetries eq 0)")];
        if successes {
            ends.push(format!("{LAST}.status eq {SUCCEEDED}"));
        }
        let ends = ends.join(" or ");
        let mut filter = format!(
            "taskType eq {RELOAD} and ({ends}) and {LAST}.stopTime gt '{from:.3}' and {LAST}.stopTime le '{to:.3}'"
        );
        if self.managers.len() > 1 {
            // It is not said how QRS compares names, nor that both are written alike.
            let names = node_names::spellings(node).into_iter();
            let names: Vec<String> =
                names.map(|name| format!("{LAST}.executingNodeName eq '{}'", name.replace('\'', "''"))).collect();
            filter = format!("{filter} and ({})", names.join(" or "));
        }
        filter
    }

    /// Those that are to be heard.
    pub(crate) fn watched(&self, ignored: &[String]) -> impl Iterator<Item = &String> {
        self.managers.iter().filter(|node| !ignored.iter().any(|name| node_names::same(name, node)))
    }
}

/// A JSON answer of QRS.
async fn get(host: &Host, path: &str, query: &[(&str, &str)]) -> Result<Value, Trouble> {
    let reply = host.qlik().get(path, query).await.map_err(|error| match error {
        ServiceError::Stopped => Trouble::Stopped,
        error => Trouble::Away(error.to_string()),
    })?;
    match reply.status {
        200 => Ok(reply.body),
        403 => Err(Trouble::Qlik(format!(
            "it answers 403 to `{path}`: give the user of `qlik.user` the right to read that"
        ))),
        status => Err(Trouble::Qlik(format!("it answers {status} to `{path}`"))),
    }
}

#[cfg(test)]
mod tests {
    use butler_plugin_api::testing::{FakeHost, block_on};
    use serde_json::json;

    use super::*;

    #[allow(clippy::needless_pass_by_value, reason = "reads better with `json!`")]
    fn row(host: &str, kind: Value) -> Value {
        json!({
            "id": "00000000-0000-4000-8000-000000000001", "settings": { "schedulerServiceType": kind, "engineTimeout": 30 },
            "serverNodeConfiguration": { "id": "n", "name": "x", "hostName": host, "privileges": null }
        })
    }

    fn ask(body: Value) -> Result<Site, Trouble> {
        block_on(Site::ask(&FakeHost::new("x").qlik("schedulerservice/full", body).host()))
    }

    #[test]
    fn who_manages_is_to_be_heard_and_who_only_executes_is_not() {
        let rows = json!([
            row("a", json!(0)),
            row("b", json!(1)),
            row("c", json!(2)),
            row("d", json!(1.0)),
            row("e", json!("Slave")),
            row("f", json!("MasterAndSlave")),
            row("g", json!(9)),
            row("", json!(0))
        ]);
        let site = ask(rows).unwrap();
        assert_eq!((site.managers.join(" "), site.workers.join(" ")), ("a c f g".to_owned(), "b d e".to_owned()));
        let watched: Vec<_> = site.watched(&["C.lab.local".to_owned(), "x".to_owned()]).collect();
        assert_eq!(watched, ["a", "f", "g"]);
    }

    #[test]
    fn an_answer_that_says_nothing_is_trouble_with_a_remedy() {
        for (body, part) in [
            (json!([]), "names no scheduler that manages tasks: give the user"),
            (json!([row("b", json!(1))]), "names no scheduler"),
            (json!({ "value": 1 }), "of a form that is not known"),
            (json!([{ "settings": {} }]), "of a form that is not known"),
        ] {
            let error = ask(body).unwrap_err().to_string();
            assert!(error.contains(part) && error.starts_with("Qlik Sense does not tell"), "{error}");
        }
        let error = block_on(Site::ask(&FakeHost::new("x").host())).unwrap_err();
        assert!(error.to_string().contains("it answers 404 to `schedulerservice/full`"), "{error}");
    }

    #[test]
    fn with_one_manager_all_executions_count_and_with_several_those_of_the_node() {
        let (from, to) = ("2026-03-04T05:06:07.89Z".parse().unwrap(), "2026-03-04T09:00:00Z".parse().unwrap());
        let of = |managers: &[&str]| Site {
            managers: managers.iter().map(ToString::to_string).collect(),
            workers: vec!["w".to_owned()],
        };
        let last = "operational.lastExecutionResult";
        assert_eq!(
            of(&["a"]).filter("a", from, to, true),
            format!(
                "taskType eq 0 and ({last}.status eq 6 or ({last}.status eq 8 and maxRetries eq 0) or {last}.status eq 7) and \
                 {last}.stopTime gt '2026-03-04T05:06:07.890Z' and {last}.stopTime le '2026-03-04T09:00:00.000Z'"
            )
        );
        let several = of(&["a", "o'b"]).filter("o'b", from, to, false);
        assert!(several.contains("maxRetries eq 0)) and "), "{several}");
        let end = format!(" and ({last}.executingNodeName eq 'O''B' or {last}.executingNodeName eq 'o''b')");
        assert!(several.ends_with(&end), "{several}");
    }

    #[test]
    fn a_count_is_read_in_each_of_its_forms() {
        let now = Timestamp::UNIX_EPOCH;
        let count = |body: Value| {
            let fake = FakeHost::new("x").qlik("reloadtask/count", body);
            block_on(Site::default().tasks(&fake.host(), "a", (now, now), true))
        };
        for body in [json!({ "value": 3, "schemaPath": "Int32" }), json!({ "value": 3.0 }), json!(3)] {
            assert_eq!(count(body).unwrap(), 3);
        }
        for body in [json!({ "value": -1 }), json!({ "value": "3" }), json!("3"), json!(null), json!([])] {
            assert!(count(body.clone()).unwrap_err().to_string().contains("holds no count"), "{body}");
        }
    }
}
