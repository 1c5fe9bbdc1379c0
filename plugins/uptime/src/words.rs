//! Figures in words, for the message of the event and the line in the log.

use std::collections::BTreeMap;

use butler_plugin_api::{Butler, Ingest, Memory};

/// `Butler has been running for 2 hours 5 minutes`.
pub(crate) fn running(butler: &Butler) -> String {
    format!("Butler has been running for {}", time(butler.uptime_ms.unwrap_or_default()))
}

/// The same with all that is known.
pub(crate) fn line(butler: &Butler) -> String {
    let mut parts = vec![running(butler)];
    if let Some(Memory { process_bytes: Some(process), heap_used_bytes, heap_total_bytes, external_bytes }) =
        butler.memory
    {
        let parts_of_it = [("its own", heap_used_bytes), ("files", external_bytes), ("committed", heap_total_bytes)];
        let parts_of_it: Vec<_> = parts_of_it
            .into_iter()
            .filter_map(|(name, bytes)| Some(format!("{name} {} MB", megabytes(bytes?))))
            .collect();
        let inside = if parts_of_it.is_empty() { String::new() } else { format!(" ({})", parts_of_it.join(", ")) };
        parts.push(format!("memory {} MB{inside}", megabytes(process)));
    }
    parts.extend(butler.cpu_percent.map(|percent| format!("{percent} % of a processor")));
    parts.extend(butler.events_waiting.map(|count| format!("events waiting {count}")));
    parts.extend(butler.deliveries_open.map(|count| format!("deliveries open {count}")));
    parts.extend(butler.deliveries_dead.map(|count| format!("dead {count}")));
    parts.join("; ")
}

/// `1200 datagrams received, 3 dropped, 2 no events`.
pub(crate) fn received(ingest: &Ingest) -> String {
    let sum = |counts: &BTreeMap<String, u64>| counts.values().fold(0_u64, |sum, count| sum.saturating_add(*count));
    let no_events = match sum(&ingest.rejected) {
        0 => String::new(),
        count => format!(", {count} no events"),
    };
    format!("{} datagrams received, {} dropped{no_events}", ingest.received, sum(&ingest.dropped))
}

/// `1 day 3 seconds`: what is 0 is left out.
fn time(millis: u64) -> String {
    let seconds = millis / 1000;
    let parts = [
        (seconds / 86_400, "day"),
        (seconds / 3600 % 24, "hour"),
        (seconds / 60 % 60, "minute"),
        (seconds % 60, "second"),
    ];
    let parts: Vec<_> = parts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count} {unit}{}", if count == 1 { "" } else { "s" }))
        .collect();
    if parts.is_empty() { "less than a second".to_owned() } else { parts.join(" ") }
}

#[allow(clippy::cast_precision_loss, reason = "two decimals are shown")]
fn megabytes(bytes: u64) -> String {
    format!("{:.2}", bytes as f64 / 1_048_576.0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_leave_out_what_is_nothing() {
        for (millis, text) in [
            (7_503_999, "2 hours 5 minutes 3 seconds"),
            (90_061_000, "1 day 1 hour 1 minute 1 second"),
            (400 * 86_400_000, "400 days"),
            (900_000, "15 minutes"),
            (999, "less than a second"),
        ] {
            assert_eq!(time(millis), text);
        }
    }

    #[test]
    fn a_line_tells_what_is_known() {
        let all = json!({ "uptimeMs": 900_000, "cpuPercent": 1.5, "eventsWaiting": 2, "deliveriesOpen": 5, "deliveriesDead": 1,
                          "memory": { "processBytes": 41_943_040, "heapUsedBytes": 12_582_912, "heapTotalBytes": 16_777_216,
                                      "externalBytes": 2_097_152 } });
        assert_eq!(
            line(&serde_json::from_value(all).unwrap()),
            "Butler has been running for 15 minutes; memory 40.00 MB (its own 12.00 MB, files 2.00 MB, committed 16.00 MB); \
             1.5 % of a processor; events waiting 2; deliveries open 5; dead 1"
        );
        let some = json!({ "uptimeMs": 900_000, "memory": { "processBytes": 1_048_576 } });
        assert_eq!(
            line(&serde_json::from_value(some).unwrap()),
            "Butler has been running for 15 minutes; memory 1.00 MB"
        );
        let none = json!({ "uptimeMs": 1000, "memory": {} });
        assert_eq!(line(&serde_json::from_value(none).unwrap()), "Butler has been running for 1 second");
    }

    #[test]
    fn what_was_received_is_summed_up() {
        let counts =
            json!({ "received": 1200, "dropped": { "size": 1, "buffer-full": 2 }, "rejected": { "empty": 2 } });
        assert_eq!(
            received(&serde_json::from_value(counts).unwrap()),
            "1200 datagrams received, 3 dropped, 2 no events"
        );
        assert_eq!(received(&Ingest::default()), "0 datagrams received, 0 dropped");
    }
}
