//! Which ended executions are worth an event.

use super::window::GRACE_MS;
use crate::config::AlertOn;
use crate::qlik::{Ended, TaskFacts};

/// What becomes of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It becomes an event.
    Tell,
    /// It becomes an event of this attempt only: others of the same execution are events too.
    TellAttempt,
    /// Not now: Qlik Sense does not want it told, or tries again. It is judged anew while it is recent.
    Leave,
}

/// The keys of a result: of its execution, as the other roads have it, and of the result itself. An attempt that is not the
/// last has the latter only.
pub(super) fn keys(result: &Ended, attempt: bool) -> Vec<String> {
    let execution = result.execution_id.as_ref().filter(|_| !attempt);
    let execution = execution.map(|id| format!("exec:{id}:{}", result.outcome));
    execution.into_iter().chain([result_key(result)]).collect()
}

pub(super) fn result_key(result: &Ended) -> String {
    format!("result:{}", result.result_id)
}

/// Whether Qlik Sense may try again after this result.
pub(super) fn has_retries(result: &Ended, task: &TaskFacts) -> bool {
    result.outcome == "failed" && task.task.max_retries.is_some_and(|retries| retries > 0)
}

/// `attempts`: all ended results of the same execution, if the task has retries. `now`: by the server's clock, ms. A task
/// that Qlik Sense does not know any more is told: what has failed has failed.
pub(super) fn judge(
    result: &Ended,
    task: Option<&TaskFacts>,
    attempts: &[Ended],
    now: i64,
    alert_on: AlertOn,
) -> Verdict {
    let Some(task) = task else { return Verdict::Tell };
    if alert_on == AlertOn::Final && task.task.enabled == Some(false) {
        return Verdict::Leave;
    }
    if !has_retries(result, task) {
        return Verdict::Tell;
    }
    match (is_last(result, task, attempts, now), alert_on) {
        (true, _) => Verdict::Tell,
        (false, AlertOn::Attempt) => Verdict::TellAttempt,
        (false, AlertOn::Final) => Verdict::Leave,
    }
}

/// Whether no further attempt comes.
fn is_last(result: &Ended, task: &TaskFacts, attempts: &[Ended], now: i64) -> bool {
    let followed =
        attempts.iter().any(|other| other.result_id != result.result_id && other.started_ms > result.started_ms);
    if followed {
        return false;
    }
    let failed = attempts.iter().filter(|other| other.outcome == "failed").count();
    let retries = task.task.max_retries.and_then(|retries| usize::try_from(retries).ok()).unwrap_or_default();
    if failed > retries {
        return true;
    }
    // Some retries are left, but nobody takes them: the task may have been changed, or its retries have executions of
    // their own.
    now - result.stopped_ms > GRACE_MS && !begins_after(result, task)
}

/// Whether the task's last run began soon after this result: that is the next attempt.
fn begins_after(result: &Ended, task: &TaskFacts) -> bool {
    let Some(last) = &task.last else { return false };
    let begun = last.execution.start_time.as_deref().and_then(crate::qlik::millis);
    let other = last.execution.result_id.as_deref().is_some_and(|id| !id.eq_ignore_ascii_case(&result.result_id));
    other && begun.is_some_and(|begun| (result.stopped_ms..result.stopped_ms + GRACE_MS).contains(&begun))
}

#[cfg(test)]
mod tests {
    use butler_plugin_api::{Execution, Task};

    use super::*;
    use crate::qlik::ResultFacts;

    const NOW: i64 = 1_772_600_767_890;
    const MINUTE: i64 = 60_000;

    fn ended(id: &str, started: i64, stopped: i64) -> Ended {
        Ended {
            result_id: id.to_owned(),
            execution_id: Some("e".to_owned()),
            task_id: "t".to_owned(),
            outcome: "failed",
            status: 8,
            started_ms: Some(NOW + started * MINUTE),
            stopped_ms: NOW + stopped * MINUTE,
            node: None,
        }
    }

    fn task(retries: i64, enabled: bool) -> TaskFacts {
        let task = Task { max_retries: Some(retries), enabled: Some(enabled), ..Task::default() };
        TaskFacts { task, ..TaskFacts::default() }
    }

    fn last(id: &str, started: i64) -> ResultFacts {
        let start = jiff::Timestamp::from_millisecond(NOW + started * MINUTE).unwrap().to_string();
        let execution = Execution { result_id: Some(id.to_owned()), start_time: Some(start), ..Execution::default() };
        ResultFacts { execution, file_reference: None }
    }

    #[test]
    fn without_retries_everything_of_an_enabled_task_is_told() {
        let one = ended("a", -4, -3);
        assert_eq!(judge(&one, Some(&task(0, true)), &[], NOW, AlertOn::Final), Verdict::Tell);
        assert_eq!(judge(&one, None, &[], NOW, AlertOn::Final), Verdict::Tell);
        assert_eq!(judge(&one, Some(&task(0, false)), &[], NOW, AlertOn::Final), Verdict::Leave);
        assert_eq!(judge(&one, Some(&task(0, false)), &[], NOW, AlertOn::Attempt), Verdict::Tell);
    }

    #[test]
    fn of_several_attempts_the_last_is_told_or_each() {
        let attempts = [ended("a", -10, -9), ended("b", -8, -7), ended("c", -6, -3)];
        let verdict =
            |n: usize, retries, alert_on| judge(&attempts[n], Some(&task(retries, true)), &attempts, NOW, alert_on);
        assert_eq!([0, 1, 2].map(|n| verdict(n, 2, AlertOn::Final)), [Verdict::Leave, Verdict::Leave, Verdict::Tell]);
        assert_eq!(
            [0, 1, 2].map(|n| verdict(n, 2, AlertOn::Attempt)),
            [Verdict::TellAttempt, Verdict::TellAttempt, Verdict::Tell]
        );
        assert_eq!(verdict(2, 3, AlertOn::Final), Verdict::Leave, "one retry is left, and there is time for it");
        let mut succeeded = attempts[0].clone();
        succeeded.outcome = "succeeded";
        assert_eq!(judge(&succeeded, Some(&task(2, true)), &[], NOW, AlertOn::Final), Verdict::Tell);
    }

    #[test]
    fn a_retry_that_does_not_come_is_not_waited_for() {
        let one = ended("a", -10, -6);
        let mut facts = task(3, true);
        let verdict = |facts: &TaskFacts| judge(&one, Some(facts), std::slice::from_ref(&one), NOW, AlertOn::Final);
        assert_eq!(verdict(&facts), Verdict::Tell);
        facts.last = Some(last("A", -6));
        assert_eq!(verdict(&facts), Verdict::Tell, "that is itself");
        facts.last = Some(last("b", -5));
        assert_eq!(verdict(&facts), Verdict::Leave, "it has come as another execution");
        facts.last = Some(last("b", 0));
        assert_eq!(verdict(&facts), Verdict::Tell, "that is a later run");
    }

    #[test]
    fn keys_are_those_of_the_other_roads() {
        assert_eq!(keys(&ended("a", 0, 0), false), ["exec:e:failed", "result:a"]);
        assert_eq!(keys(&ended("a", 0, 0), true), ["result:a"]);
    }
}
