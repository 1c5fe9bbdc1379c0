//! What the running daemon has dropped of UDP, as its metrics tell.

use std::collections::BTreeMap;

use super::super::client::Daemon;

/// Why a datagram of somebody who may not send is dropped.
const SOURCE: &str = "butler_udp_dropped_total{reason=\"source\"}";
const REJECTED: &str = "butler_udp_rejected_total";

/// Counts since the daemon was started, by the names of its metrics.
#[derive(Debug, Default)]
pub(super) struct Drops(BTreeMap<String, f64>);

impl Drops {
    pub(super) async fn of(daemon: &Daemon) -> Self {
        Self::read(&daemon.get_text("/metrics", &[]).await.unwrap_or_default())
    }

    pub(super) fn read(page: &str) -> Self {
        let counts = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            let wanted = ["butler_udp_dropped_total", REJECTED, "butler_udp_kernel_dropped_total"];
            wanted.iter().any(|name| series.starts_with(name)).then_some((series.to_owned(), value.parse().ok()?))
        };
        Self(page.lines().filter_map(counts).collect())
    }

    /// Those that have grown, in words.
    pub(super) fn since(&self, before: &Self) -> String {
        let grown = self.0.iter().filter(|(series, count)| before.0.get(*series).is_none_or(|old| old < count));
        let grown: Vec<&str> = grown.filter(|(_, count)| **count > 0.0).map(|(series, _)| series.as_str()).collect();
        grown.join(", ")
    }

    /// How many came from senders that are not in `udp.allowFrom`.
    pub(super) fn of_strangers(&self) -> f64 {
        self.0.get(SOURCE).copied().unwrap_or_default()
    }

    /// How many were no events.
    pub(super) fn of_no_event(&self) -> f64 {
        self.0.iter().filter(|(series, _)| series.starts_with(REJECTED)).fold(0.0, |sum, (_, count)| sum + count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_grown_is_told_and_what_counts_is_summed() {
        let page = |source: u32| {
            Drops::read(&format!(
                "# TYPE butler_udp_dropped_total counter\nbutler_udp_dropped_total{{reason=\"source\"}} {source}\n\
                 butler_udp_dropped_total{{reason=\"rate\"}} 0\nbutler_udp_rejected_total{{reason=\"form\"}} 2\n\
                 butler_udp_rejected_total{{reason=\"kind\"}} 1\nbutler_udp_processed_total 9\n"
            ))
        };
        assert_eq!(page(3).since(&page(2)), "butler_udp_dropped_total{reason=\"source\"}");
        assert_eq!(page(2).since(&page(2)), "");
        let text = format!("{} {} {}", page(2).of_strangers(), page(2).of_no_event(), Drops::default().of_no_event());
        assert_eq!(text, "2 3 0");
    }
}
