//! Reading a list of QRS in pages.
//!
//! A list of the repository service has a filter, but neither `skip` nor `take`; how many objects fit a filter is told by
//! `count`. So a span of time is halved until few enough objects have their time in it. The release of some moves no
//! others into another page, as numbered pages would.

use jiff::{SignedDuration, Timestamp};

/// Most objects that are read at once, unless more have the same millisecond.
pub(super) const PAGE: u64 = 500;

/// Times after one and up to another, of one field. At the ends of all windows there is no limit, so that nothing is outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    after: Option<Timestamp>,
    until: Option<Timestamp>,
    /// What stand for missing limits when it is halved.
    ends: (Timestamp, Timestamp),
    /// How many objects it has, if that is known already.
    pub(super) count: Option<u64>,
    /// How many it has together with its other half, which comes next.
    both: Option<u64>,
}

/// The windows that are still to be read, from the oldest on.
#[derive(Debug)]
pub(super) struct Windows(Vec<Window>);

impl Windows {
    /// All times up to `until`; absent: all. Most objects are thought to be between the ends.
    pub(super) fn new(ends: (Timestamp, Timestamp), until: Option<Timestamp>) -> Self {
        Self(vec![Window { after: None, until, ends, count: None, both: None }])
    }

    pub(super) fn next(&mut self) -> Option<Window> {
        self.0.pop()
    }

    /// So many objects are in the window that was given out last: what is left of both halves is in the other one.
    pub(super) fn counted(&mut self, window: &Window, count: u64) {
        if let (Some(both), Some(other)) = (window.both, self.0.last_mut()) {
            other.count = Some(both.saturating_sub(count));
        }
    }

    /// Halves the window that was given out last and has so many objects; false if it is to be read as it is.
    pub(super) fn halve(&mut self, window: &Window, count: u64) -> bool {
        let Some(middle) = window.middle().filter(|_| count > PAGE) else { return false };
        self.0.push(Window { after: Some(middle), count: None, both: None, ..*window });
        self.0.push(Window { until: Some(middle), count: None, both: Some(count), ..*window });
        true
    }
}

impl Window {
    /// What the filter of QRS says of the field.
    pub(super) fn filter(&self, field: &str) -> String {
        let after = self.after.map(|time| format!("{field} gt '{time:.3}'"));
        let until = self.until.map(|time| format!("{field} le '{time:.3}'"));
        [after, until].into_iter().flatten().collect::<Vec<_>>().join(" and ")
    }

    fn middle(&self) -> Option<Timestamp> {
        let (after, until) = (self.after.unwrap_or(self.ends.0), self.until.unwrap_or(self.ends.1));
        let millis = until.duration_since(after).as_millis();
        if millis <= 1 {
            return None;
        }
        let half = SignedDuration::from_millis(i64::try_from(millis / 2).ok()?);
        after.checked_add(half).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(millis).unwrap()
    }

    /// Reads a list of times as a run does: the pages, and how often it was asked for a number.
    fn read(times: &[i64], ends: (i64, i64), until: Option<i64>) -> (Vec<Vec<i64>>, usize) {
        let mut windows = Windows::new((at(ends.0), at(ends.1)), until.map(at));
        let (mut pages, mut asked) = (Vec::new(), 0);
        while let Some(window) = windows.next() {
            let fits = |time: &&i64| {
                window.after.is_none_or(|after| at(**time) > after)
                    && window.until.is_none_or(|until| at(**time) <= until)
            };
            let page: Vec<i64> = times.iter().filter(fits).copied().collect();
            let there = page.len() as u64;
            let count = window.count.unwrap_or_else(|| {
                asked += 1;
                there
            });
            assert_eq!(count, there, "what is known without asking is right");
            windows.counted(&window, count);
            if count == 0 || windows.halve(&window, count) {
                continue;
            }
            pages.push(page);
        }
        (pages, asked)
    }

    #[test]
    fn ten_thousand_are_read_in_few_pages() {
        let day = 86_400_000;
        let times: Vec<i64> = (0..10_000).map(|n| 1_500_000_000_000 + n * day / 4).collect();
        let (pages, asked) = read(&times, (1_388_534_400_000, 1_800_000_000_000), Some(1_800_000_000_000));
        assert_eq!(pages.iter().map(Vec::len).sum::<usize>(), 10_000);
        assert!(pages.len() <= 60 && asked <= 60, "{} pages, {asked} numbers", pages.len());
    }

    #[test]
    fn the_filter_has_the_limits_in_the_form_of_qrs() {
        let window = Window { after: None, until: None, ends: (at(0), at(1)), count: None, both: None };
        assert_eq!(window.filter("lastUsed"), "");
        let window = Window { after: Some(at(1_500)), until: Some(at(86_400_000)), ..window };
        assert_eq!(
            window.filter("lastUsed"),
            "lastUsed gt '1970-01-01T00:00:01.500Z' and lastUsed le '1970-01-02T00:00:00.000Z'"
        );
    }

    proptest! {
        #[test]
        fn each_is_read_once_and_pages_are_small(
            groups in prop::collection::vec((-5_000_i64..5_000, 1_usize..700), 0..12),
            ends in (-1_000_i64..0, 1_i64..1_000),
            until in prop::option::of(-4_000_i64..4_000),
        ) {
            let times: Vec<i64> = groups.iter().flat_map(|(time, count)| vec![*time; *count]).collect();
            let (pages, _) = read(&times, ends, until);
            let mut seen: Vec<i64> = pages.concat();
            let mut wanted: Vec<i64> = times.iter().filter(|time| until.is_none_or(|until| **time <= until)).copied().collect();
            seen.sort_unstable();
            wanted.sort_unstable();
            prop_assert_eq!(seen, wanted);
            for page in &pages {
                let mut different = BTreeMap::<i64, u64>::new();
                for time in page {
                    *different.entry(*time).or_default() += 1;
                }
                let outside = |time: &i64| *time <= ends.0 + 1 || *time > until.unwrap_or(ends.1) - 1;
                let cannot_be_halved = different.len() == 1 || different.keys().all(outside);
                prop_assert!(page.len() as u64 <= PAGE || cannot_be_halved, "{} in {different:?}", page.len());
            }
        }
    }
}
