//! Counters and gauges that plugins keep at the host.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Names and series that one instance may have.
const MAX_NAMES: usize = 100;
const MAX_SERIES: usize = 1000;

type Labels = BTreeMap<String, String>;

/// All series, by name, instance and labels.
#[derive(Debug, Default)]
pub struct PluginMetrics(Mutex<BTreeMap<String, Family>>);

#[derive(Debug, Default)]
struct Family {
    counter: bool,
    series: BTreeMap<(String, Labels), f64>,
}

/// One series, for the exposition.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Name without prefix.
    pub name: String,
    /// Whether it only grows.
    pub counter: bool,
    /// Labels, the instance among them.
    pub labels: Labels,
    /// Value.
    pub value: f64,
}

impl PluginMetrics {
    /// Adds to a counter.
    pub fn count(&self, instance: &str, name: &str, labels: Labels, add: f64) -> Result<(), String> {
        self.change(instance, name, labels, true, |value| value + add.max(0.0))
    }

    /// Sets a gauge.
    pub fn gauge(&self, instance: &str, name: &str, labels: Labels, value: f64) -> Result<(), String> {
        self.change(instance, name, labels, false, |_| value)
    }

    fn change(
        &self,
        instance: &str,
        name: &str,
        labels: Labels,
        counter: bool,
        change: impl FnOnce(f64) -> f64,
    ) -> Result<(), String> {
        let valid = |text: &str| {
            text.starts_with(|c: char| c.is_ascii_lowercase())
                && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        };
        if !valid(name) || !labels.keys().all(|label| valid(label) && label != "instance") {
            return Err(format!("`{name}` or one of its labels is no name for a metric: use a to z, 0 to 9 and _"));
        }
        let mut families = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (instance.to_owned(), labels);
        let known = families.get(name).is_some_and(|family| family.series.contains_key(&key));
        if !known {
            let own = |family: &Family| family.series.keys().filter(|(owner, _)| owner == instance).count();
            let series: usize = families.values().map(own).sum();
            let names = families.values().filter(|family| own(family) > 0).count();
            if series >= MAX_SERIES || names >= MAX_NAMES && families.get(name).is_none_or(|family| own(family) == 0) {
                return Err(format!("an instance may have {MAX_NAMES} metrics with {MAX_SERIES} series in all"));
            }
        }
        let family = families.entry(name.to_owned()).or_insert_with(|| Family { counter, series: BTreeMap::new() });
        if family.counter != counter {
            return Err(format!("`{name}` is used as a counter and as a gauge"));
        }
        let value = family.series.entry(key).or_default();
        *value = change(*value);
        Ok(())
    }

    /// All series, sorted by name.
    pub fn series(&self) -> Vec<Series> {
        let families = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = Vec::new();
        for (name, family) in families.iter() {
            for ((instance, labels), value) in &family.series {
                let mut labels = labels.clone();
                labels.insert("instance".to_owned(), instance.clone());
                all.push(Series { name: name.clone(), counter: family.counter, labels, value: *value });
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_grow_and_series_are_limited() {
        let metrics = PluginMetrics::default();
        let labels = |n: usize| Labels::from([("n".to_owned(), n.to_string())]);
        metrics.count("i", "sent", labels(0), 2.0).unwrap();
        metrics.count("i", "sent", labels(0), 3.0).unwrap();
        assert!((metrics.series()[0].value - 5.0).abs() < f64::EPSILON);
        assert!(metrics.gauge("i", "sent", labels(0), 1.0).is_err());
        assert!(metrics.gauge("i", "Bad Name", labels(0), 1.0).is_err());
        let made = (0..2000).filter(|n| metrics.gauge("i", "g", labels(*n), 1.0).is_ok()).count();
        assert_eq!(made, 999);
        metrics.gauge("other", "g", labels(0), 1.0).unwrap();
    }
}
