//! What lies between two looks at Butler's figures.
//!
//! Counters count since the process was started. A look at another process than the last one, or a counter that went back,
//! counts from 0: nothing that is told is ever negative.

use std::collections::BTreeMap;

use butler_plugin_api::{Butler, Ingest, Status};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What a look saw, as it is remembered for the next one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Seen {
    /// When the process was started: another one has other counters.
    pub(crate) started_at: String,
    /// The planned time of the look.
    pub(crate) planned: String,
    pub(crate) uptime_ms: u64,
    pub(crate) cpu_ms: Option<u64>,
    pub(crate) ingest: Option<Ingest>,
}

impl Seen {
    pub(crate) fn new(status: &Status, planned: &str) -> Self {
        Self {
            started_at: status.started_at.clone(),
            planned: planned.to_owned(),
            uptime_ms: status.uptime_ms,
            cpu_ms: status.cpu_ms,
            ingest: status.ingest.clone(),
        }
    }

    /// The same without counters, if it is of another process than `now`.
    fn before(&self, now: &Self) -> Self {
        if self.started_at == now.started_at { self.clone() } else { Self::default() }
    }

    /// From the look before to this one, in milliseconds: from planned time to planned time, so that it is what the schedule
    /// says; of another process, since that was started.
    fn interval_ms(&self, before: &Self) -> u64 {
        let passed = self.uptime_ms.saturating_sub(before.uptime_ms);
        let at = |planned: &str| planned.parse().ok().map(Timestamp::as_millisecond);
        let planned = at(&self.planned).zip(at(&before.planned)).map(|(now, before)| now - before);
        planned.and_then(|planned| u64::try_from(planned).ok()).filter(|planned| *planned > 0).unwrap_or(passed)
    }
}

/// How Butler has been since the last look.
pub(crate) fn butler(status: &Status, last: &Seen, now: &Seen) -> Butler {
    let before = last.before(now);
    Butler {
        version: Some(status.version.clone()),
        uptime_ms: Some(status.uptime_ms),
        interval_ms: Some(now.interval_ms(&before)),
        memory: status.memory.clone(),
        cpu_ms: status.cpu_ms,
        cpu_percent: cpu_percent(&before, now),
        events_waiting: status.events_waiting,
        deliveries_open: status.deliveries_open,
        deliveries_dead: status.deliveries_dead,
    }
}

/// Of one processor, to the hundredth. It goes by the time that has really passed.
fn cpu_percent(before: &Seen, now: &Seen) -> Option<f64> {
    let used = since(now.cpu_ms?, before.cpu_ms.unwrap_or_default());
    let passed = now.uptime_ms.saturating_sub(before.uptime_ms);
    #[allow(clippy::cast_precision_loss, reason = "milliseconds of a process are far below 2^53")]
    let percent = |used: u64, passed: u64| (used as f64 * 10_000.0 / passed as f64).round() / 100.0;
    (passed > 0).then(|| percent(used, passed))
}

/// What was received since the last look; what is a state, such as the use of the buffer, is that of now.
pub(crate) fn ingest(last: &Seen, now: &Seen) -> Option<Ingest> {
    let before = last.before(now);
    let was = before.ingest.clone().unwrap_or_default();
    let now_counted = now.ingest.clone()?;
    let by_reason = |now: &BTreeMap<String, u64>, was: &BTreeMap<String, u64>| {
        let count = |reason: &String, count: &u64| since(*count, was.get(reason).copied().unwrap_or_default());
        now.iter().map(|(reason, counted)| (reason.clone(), count(reason, counted))).collect()
    };
    let mut told = Ingest {
        interval_ms: Some(now.interval_ms(&before)),
        received: since(now_counted.received, was.received),
        queued: since(now_counted.queued, was.queued),
        queued_bytes: since(now_counted.queued_bytes, was.queued_bytes),
        processed: since(now_counted.processed, was.processed),
        duplicates: since(now_counted.duplicates, was.duplicates),
        receive_errors: since(now_counted.receive_errors, was.receive_errors),
        dropped: by_reason(&now_counted.dropped, &was.dropped),
        rejected: by_reason(&now_counted.rejected, &was.rejected),
        kernel_drops: now_counted.kernel_drops.map(|drops| since(drops, was.kernel_drops.unwrap_or_default())),
        ..now_counted
    };
    if told.processed == 0 && told.duplicates == 0 {
        // They would be those of messages that an earlier event has told of.
        (told.processing_average_us, told.processing_p95_us, told.processing_max_us) = (None, None, None);
    }
    Some(told)
}

/// What a counter has grown by; one that went back began anew.
fn since(now: u64, was: u64) -> u64 {
    now.checked_sub(was).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn seen(value: Value) -> Seen {
        serde_json::from_value(value).unwrap()
    }

    fn status(value: Value) -> Status {
        serde_json::from_value(value).unwrap()
    }

    fn pair() -> (Seen, Seen) {
        let last =
            json!({ "startedAt": "A", "planned": "2026-03-02T06:00:00.000Z", "uptimeMs": 10_007, "cpuMs": 4000 });
        let now =
            json!({ "startedAt": "A", "planned": "2026-03-02T06:15:00.000Z", "uptimeMs": 910_012, "cpuMs": 17_500 });
        (seen(last), seen(now))
    }

    #[test]
    fn an_interval_is_what_the_schedule_says_and_the_load_that_of_the_time_that_passed() {
        let (last, mut now) = pair();
        let figures = json!({ "version": "17.0.0", "uptimeMs": 910_012, "cpuMs": 17_500, "eventsWaiting": 2,
                              "deliveriesOpen": 5, "deliveriesDead": 1, "memory": { "processBytes": 7 } });
        let told = butler(&status(figures), &last, &now);
        let expected = json!({ "version": "17.0.0", "uptimeMs": 910_012, "intervalMs": 900_000, "cpuMs": 17_500,
                               "cpuPercent": 1.5, "eventsWaiting": 2, "deliveriesOpen": 5, "deliveriesDead": 1,
                               "memory": { "processBytes": 7 } });
        assert_eq!(serde_json::to_value(told).unwrap(), expected);
        // The clock was set back, or what was planned cannot be read.
        for planned in ["2026-03-02T05:00:00.000Z", "2026-03-02T06:00:00.000Z", "soon"] {
            now.planned = planned.to_owned();
            assert_eq!(now.interval_ms(&last), 900_005, "{planned}");
        }
        // Where the system does not tell, nothing is told.
        let told = butler(&Status::default(), &Seen::default(), &Seen::default());
        assert_eq!((told.cpu_percent, told.cpu_ms, told.memory), (None, None, None));
    }

    #[test]
    fn a_new_process_counts_from_its_start() {
        let (last, mut now) = pair();
        (now.started_at, now.uptime_ms, now.cpu_ms) = ("B".to_owned(), 60_000, Some(600));
        let told = butler(&status(json!({ "uptimeMs": 60_000, "cpuMs": 600 })), &last, &now);
        assert_eq!((told.interval_ms, told.cpu_percent), (Some(60_000), Some(1.0)));
    }

    fn counted(received: u64, full: u64, empty: u64) -> Value {
        json!({ "received": received, "queued": received - full, "queuedBytes": 100 * received, "processed": received / 2,
                "duplicates": received / 10, "receiveErrors": 1, "dropped": { "buffer-full": full, "size": 0 },
                "rejected": { "empty": empty }, "buffered": 3, "bufferedBytes": 300, "capacityBytes": 1000, "pending": 2,
                "processingAverageUs": 10, "processingP95Us": 20, "processingMaxUs": 30, "perMinute": 4, "kernelDrops": full })
    }

    #[test]
    fn counters_are_told_by_what_they_grew() {
        let (mut last, mut now) = pair();
        last.ingest = serde_json::from_value(counted(1000, 10, 1)).unwrap();
        now.ingest = serde_json::from_value(counted(1200, 13, 1)).unwrap();
        let told = serde_json::to_value(ingest(&last, &now).unwrap()).unwrap();
        let expected = json!({ "intervalMs": 900_000, "received": 200, "queued": 197, "queuedBytes": 20_000, "processed": 100,
                               "duplicates": 20, "receiveErrors": 0, "dropped": { "buffer-full": 3, "size": 0 },
                               "rejected": { "empty": 0 }, "buffered": 3, "bufferedBytes": 300, "capacityBytes": 1000,
                               "pending": 2, "processingAverageUs": 10, "processingP95Us": 20, "processingMaxUs": 30,
                               "perMinute": 4, "kernelDrops": 3 });
        assert_eq!(told, expected);
        // Times of messages that were told of already are not told again.
        let idle = ingest(&now, &now).unwrap();
        assert_eq!((idle.received, idle.processing_average_us, idle.processing_max_us), (0, None, None));
        assert_eq!(ingest(&last, &Seen::default()), None, "without UDP");
    }

    #[test]
    fn counters_that_went_back_count_from_nothing() {
        let (mut last, mut now) = pair();
        last.ingest = serde_json::from_value(counted(1000, 10, 5)).unwrap();
        now.ingest = serde_json::from_value(counted(40, 2, 1)).unwrap();
        let expected = (40, 38, Some(&2), Some(&1), Some(2));
        for started_at in ["A", "B"] {
            started_at.clone_into(&mut now.started_at);
            let told = ingest(&last, &now).unwrap();
            let dropped = told.dropped.get("buffer-full");
            assert_eq!((told.received, told.queued, dropped, told.rejected.get("empty"), told.kernel_drops), expected);
        }
        // Of another process a count that is larger is no less whole.
        now.ingest = serde_json::from_value(counted(1500, 11, 5)).unwrap();
        assert_eq!(ingest(&last, &now).unwrap().received, 1500);
        // A reason that is new.
        last.ingest.as_mut().unwrap().dropped.clear();
        now.started_at = "A".to_owned();
        let told = ingest(&last, &now).unwrap();
        assert_eq!((told.received, told.dropped["buffer-full"]), (500, 11));
    }
}
