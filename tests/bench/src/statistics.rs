//! Middle values and their like.

/// The middle one; 0 of none.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    quantile(values, 0.5)
}

/// The value below which this part of all lies: the nearest one that was measured. 0 of none.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an index, which is small"
)]
pub fn quantile(values: impl IntoIterator<Item = f64>, part: f64) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get((last as f64 * part).round() as usize).copied().unwrap_or_default()
}

/// A count as a figure.
#[allow(clippy::cast_precision_loss, reason = "counts of a benchmark are small")]
pub fn figure(count: impl TryInto<u64>) -> f64 {
    count.try_into().unwrap_or_default() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let part = |part| format!("{}", quantile((1_u8..=100).rev().map(f64::from), part));
        assert_eq!([0.0, 0.99, 1.0].map(part), ["1", "99", "100"]);
        assert_eq!(format!("{} {}", median([3.0, 1.0, 2.0]), median([])), "2 0");
    }
}
