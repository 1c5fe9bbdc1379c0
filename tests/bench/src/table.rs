//! What is printed: one line for each promise.

use std::fmt;

/// One line.
pub struct Row {
    what: String,
    measured: String,
    target: String,
    original: String,
    met: Option<bool>,
}

impl Row {
    /// A figure that must not be above `limit`.
    pub fn at_most(what: impl Into<String>, measured: f64, limit: f64, unit: &str) -> Self {
        Self::new(what, measured, unit).with_target(format!("<= {}", with_unit(limit, unit)), measured <= limit)
    }

    /// A figure that must not be below `limit`.
    pub fn at_least(what: impl Into<String>, measured: f64, limit: f64, unit: &str) -> Self {
        Self::new(what, measured, unit).with_target(format!(">= {}", with_unit(limit, unit)), measured >= limit)
    }

    /// A figure without a target.
    pub fn new(what: impl Into<String>, measured: f64, unit: &str) -> Self {
        Self::text(what, with_unit(measured, unit))
    }

    /// A text without a target.
    pub fn text(what: impl Into<String>, measured: impl Into<String>) -> Self {
        Self { what: what.into(), measured: measured.into(), target: String::new(), original: String::new(), met: None }
    }

    /// What was to be reached, and whether it was.
    pub fn with_target(mut self, target: impl Into<String>, met: bool) -> Self {
        self.target = target.into();
        self.met = Some(met);
        self
    }

    /// What Butler 16 needs, on two cores.
    pub fn original(mut self, text: &str) -> Self {
        text.clone_into(&mut self.original);
        self
    }
}

/// All lines.
#[derive(Default)]
pub struct Table(Vec<Row>);

impl Table {
    /// Adds lines.
    pub fn add(&mut self, rows: Vec<Row>) {
        self.0.extend(rows);
    }

    /// Whether every line with a target met it.
    pub fn all_met(&self) -> bool {
        self.0.iter().all(|row| row.met != Some(false))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["what", "measured", "at least", "Butler 16", "met?"].map(str::to_owned);
        let met = |row: &Row| match row.met {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "",
        };
        let cells = |row: &Row| {
            [&row.what, &row.measured, &row.target, &row.original]
                .map(Clone::clone)
                .into_iter()
                .chain([met(row).into()])
        };
        let lines: Vec<Vec<String>> =
            std::iter::once(head.to_vec()).chain(self.0.iter().map(|row| cells(row).collect())).collect();
        let widths: Vec<usize> = (0..head.len())
            .map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default())
            .collect();
        for (number, line) in lines.iter().enumerate() {
            let padded: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            writeln!(f, "{}", padded.join(" | ").trim_end())?;
            if number == 0 {
                let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
                writeln!(f, "{}", rules.join("-|-"))?;
            }
        }
        Ok(())
    }
}

fn with_unit(value: f64, unit: &str) -> String {
    format!("{} {unit}", number(value)).trim_end().to_owned()
}

/// Three digits that mean something, thousands apart.
pub fn number(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 100.0 || size == 0.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.decimals$}");
    let (whole, rest) = text.split_once('.').map_or((text.as_str(), ""), |(whole, rest)| (whole, rest));
    let digits = whole.len();
    let grouped: String = whole
        .chars()
        .enumerate()
        .flat_map(|(at, digit)| {
            let gap = at > 0 && (digits - at) % 3 == 0 && digit.is_ascii_digit();
            gap.then_some(',').into_iter().chain([digit])
        })
        .collect();
    let rest = rest.trim_end_matches('0');
    if rest.is_empty() { grouped } else { format!("{grouped}.{rest}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let shown: Vec<String> =
            [0.0, 0.0123, 0.5, 3.0, 4.567, 45.67, 999.6, 50_000.0, 1_234_567.0].into_iter().map(number).collect();
        assert_eq!(shown, ["0", "0.012", "0.5", "3", "4.57", "45.7", "1,000", "50,000", "1,234,567"]);
    }

    #[test]
    fn a_missed_target_is_not_hidden_by_others() {
        let mut table = Table::default();
        table.add(vec![Row::at_most("a", 1.0, 1.0, "s"), Row::text("b", "as it is")]);
        assert!(table.all_met());
        table.add(vec![Row::at_least("c", 1.0, 2.0, "/s").original("0.5/s"), Row::at_least("d", 2.0, 2.0, "/s")]);
        assert!(!table.all_met());
        let text = table.to_string();
        assert_eq!(text.lines().filter(|line| line.ends_with("NO")).count(), 1, "{text}");
        assert!(text.contains("c    | 1 /s     | >= 2 /s  | 0.5/s     | NO"), "{text}");
    }
}
