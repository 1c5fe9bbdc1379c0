//! Executions that ended in a window of time, as far as is needed to know whether they were heard of.

use serde::Deserialize;
use serde_json::Number;
use serde_json::value::RawValue;

use super::error::QlikError;
use super::facts;
use super::lookups::{Lookups, Outcome};

/// Longest list that is read, in bytes: some thousand results.
const LONGEST_LIST: usize = if cfg!(test) { 256 << 10 } else { 16 << 20 };

/// An execution that is over (QRS `executionresult`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Id of the result, one per attempt; lower case.
    pub result_id: String,
    /// Id of the execution, as the scheduler's log has it; lower case.
    pub execution_id: Option<String>,
    /// Id of the task; lower case.
    pub task_id: String,
    /// `failed`, `aborted` or `succeeded`.
    pub outcome: &'static str,
    /// Number of the status.
    pub status: i64,
    /// When it began, ms since 1970 UTC.
    pub started_ms: Option<i64>,
    /// When it ended, ms since 1970 UTC.
    pub stopped_ms: i64,
    /// Host name of the node that executed it.
    pub node: Option<String>,
}

/// The part of an answer that is looked at.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    id: String,
    #[serde(rename = "taskID")]
    task_id: String,
    #[serde(default, rename = "executionID")]
    execution_id: Option<String>,
    status: Number,
    #[serde(default)]
    start_time: Option<String>,
    stop_time: String,
    #[serde(default)]
    executing_node_name: Option<String>,
}

impl Row {
    /// `None` while it is not over, or when it is of no task.
    fn ended(self) -> Option<Ended> {
        // Some releases write whole numbers as `8.0`.
        #[allow(clippy::cast_possible_truncation, reason = "numbers of statuses are small")]
        let status = self.status.as_i64().or_else(|| self.status.as_f64().map(|number| number as i64))?;
        let guid = |id: String| facts::is_guid(&id).then(|| id.to_ascii_lowercase());
        Some(Ended {
            result_id: guid(self.id)?,
            execution_id: self.execution_id.and_then(guid),
            task_id: guid(self.task_id)?,
            outcome: Outcome::of_status(status)?,
            status,
            started_ms: self.start_time.as_deref().and_then(facts::millis),
            stopped_ms: facts::millis(&self.stop_time)?,
            node: self.executing_node_name.filter(|node| !node.is_empty()),
        })
    }
}

impl Lookups {
    /// The time of the Qlik Sense server, ms since 1970 UTC; `None`: it does not tell.
    pub async fn server_time(&self) -> Result<Option<i64>, QlikError> {
        Ok(self.repository().get("about", &[]).await?.success()?.date_ms)
    }

    /// Executions that ended at or after `from_ms` and before `to_ms`, by the server's clock. What is no result, or of no
    /// task, is left out.
    pub async fn ended(&self, from_ms: i64, to_ms: i64) -> Result<Vec<Ended>, QlikError> {
        let time = |ms| jiff::Timestamp::from_millisecond(ms).map(|time| format!("{time:.3}")).unwrap_or_default();
        let filter = format!("stopTime ge '{}' and stopTime lt '{}'", time(from_ms), time(to_ms));
        self.ended_by(&filter).await
    }

    /// Those of these results that are over.
    pub async fn ended_of(&self, result_ids: &[String]) -> Result<Vec<Ended>, QlikError> {
        let ids: Vec<String> =
            result_ids.iter().filter(|id| facts::is_guid(id)).map(|id| format!("id eq {id}")).collect();
        if ids.is_empty() { Ok(Vec::new()) } else { self.ended_by(&ids.join(" or ")).await }
    }

    /// All ended attempts of the execution of a result.
    pub async fn attempts(&self, of: &Ended) -> Result<Vec<Ended>, QlikError> {
        match &of.execution_id {
            Some(id) => self.ended_by(&format!("executionID eq {id}")).await,
            None => Ok(vec![of.clone()]),
        }
    }

    async fn ended_by(&self, filter: &str) -> Result<Vec<Ended>, QlikError> {
        let path = "executionresult/full";
        let reply = self.repository().get_at_most(LONGEST_LIST, path, &[("filter", filter)]).await?.success()?;
        let rows: Vec<&RawValue> = reply.read()?;
        let read = |row: &&RawValue| serde_json::from_str::<Row>(row.get()).map_err(|error| error.to_string());
        let (rows, strange): (Vec<_>, Vec<_>) = rows.iter().map(read).partition(Result::is_ok);
        if let Some(Err(error)) = strange.first() {
            tracing::warn!(
                results = strange.len(),
                "execution results of a form that is not known are left out: {error}"
            );
        }
        Ok(rows.into_iter().flatten().filter_map(Row::ended).collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ended(change: impl FnOnce(&mut serde_json::Value)) -> Option<Ended> {
        let mut row = json!({
            "id": "AA7C7E52-4d1e-4b0f-8f52-3a9f0d8a6c01", "taskID": "0b7c7e52-4d1e-4b0f-8f52-3a9f0d8a6c01",
            "executionID": "00000000-0000-0000-0000-000000000000", "status": 8.0, "startTime": "1753-01-01T00:00:00.000Z",
            "stopTime": "2026-03-04T05:06:07.89Z", "executingNodeName": "", "details": [{ "moon": 1 }]
        });
        change(&mut row);
        serde_json::from_value::<Row>(row).ok()?.ended()
    }

    #[test]
    fn a_result_is_read_and_what_is_none_is_left_out() {
        let full = ended(|_| ()).unwrap();
        assert_eq!(full.result_id, "aa7c7e52-4d1e-4b0f-8f52-3a9f0d8a6c01");
        assert_eq!((full.execution_id, full.outcome, full.node), (None, "failed", None));
        assert_eq!(full.stopped_ms, 1_772_600_767_890);
        assert_eq!(ended(|row| row["status"] = 11.into()).unwrap().outcome, "failed");
        assert_eq!(ended(|row| row["status"] = 6.into()).unwrap().outcome, "aborted");
        for status in [0, 2, 9, 10, 12, 13, 99] {
            assert_eq!(ended(|row| row["status"] = status.into()), None, "{status}");
        }
        for (name, value) in
            [("taskID", json!("x")), ("stopTime", json!("soon")), ("id", json!(7)), ("status", json!("8"))]
        {
            assert_eq!(ended(|row| row[name] = value), None, "{name}");
        }
    }
}
