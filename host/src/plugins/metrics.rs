//! Counters and gauges that plugins keep at the host.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

/// Names and series that one instance may have.
const MAX_NAMES: usize = 100;
const MAX_SERIES: usize = 1000;

type Labels = BTreeMap<String, String>;

/// All series, by family, instance and labels. A family is named as it is shown, after its plugin: so two plugins may
/// use one name, for a counter and a gauge.
#[derive(Debug, Default)]
pub struct PluginMetrics {
    families: Mutex<BTreeMap<String, Family>>,
    /// Instances with names of metrics that were refused.
    refused: Mutex<BTreeMap<String, BTreeSet<String>>>,
}

/// Whose metric it is.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    /// Name of the plugin.
    pub plugin: &'a str,
    /// Name of the instance.
    pub instance: &'a str,
}

#[derive(Debug, Default)]
struct Family {
    counter: bool,
    series: BTreeMap<(String, Labels), f64>,
}

/// One series, for the exposition.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Name as it is shown: `butler_plugin_<plugin>_<name>`.
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
    pub fn count(&self, owner: Owner<'_>, name: &str, labels: Labels, add: f64) -> Result<(), String> {
        self.change(owner, name, labels, true, |value| value + add.max(0.0))
    }

    /// Sets a gauge.
    pub fn gauge(&self, owner: Owner<'_>, name: &str, labels: Labels, value: f64) -> Result<(), String> {
        self.change(owner, name, labels, false, |_| value)
    }

    fn change(
        &self,
        owner: Owner<'_>,
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
        let family = family_name(owner.plugin, name, counter);
        let mut families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (owner.instance.to_owned(), labels);
        let known = families.get(&family).is_some_and(|family| family.series.contains_key(&key));
        if !known {
            let own = |family: &Family| family.series.keys().filter(|(instance, _)| instance == owner.instance).count();
            let series: usize = families.values().map(own).sum();
            let names = families.values().filter(|family| own(family) > 0).count();
            if series >= MAX_SERIES || names >= MAX_NAMES && families.get(&family).is_none_or(|family| own(family) == 0)
            {
                return Err(format!(
                    "an instance may have {MAX_NAMES} metrics with {MAX_SERIES} series in all: leave out labels that take \
                     many values"
                ));
            }
        }
        let family = families.entry(family).or_insert_with(|| Family { counter, series: BTreeMap::new() });
        if family.counter != counter {
            return Err(format!("`{name}` is used as a counter and as a gauge: give one of them another name"));
        }
        let value = family.series.entry(key).or_default();
        *value = change(*value);
        Ok(())
    }

    /// Notes that a metric was refused; true when that has to be said: for each name once, as far as names are counted.
    pub fn refuse(&self, instance: &str, name: &str) -> bool {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let names = refused.entry(instance.to_owned()).or_default();
        names.len() < MAX_NAMES && names.insert(name.to_owned())
    }

    /// All series, sorted by name.
    pub fn series(&self) -> Vec<Series> {
        let families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
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

/// The name that is shown. Counters get the ending that Prometheus wants.
fn family_name(plugin: &str, name: &str, counter: bool) -> String {
    let ending = if counter && !name.ends_with("_total") { "_total" } else { "" };
    format!("butler_plugin_{}_{name}{ending}", plugin.replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(n: usize) -> Labels {
        Labels::from([("n".to_owned(), n.to_string())])
    }

    #[test]
    fn counters_grow_and_series_are_limited() {
        let metrics = PluginMetrics::default();
        let owner = Owner { plugin: "chat", instance: "i" };
        metrics.count(owner, "sent", labels(0), 2.0).unwrap();
        metrics.count(owner, "sent", labels(0), 3.0).unwrap();
        assert!((metrics.series()[0].value - 5.0).abs() < f64::EPSILON);
        assert!(metrics.gauge(owner, "sent_total", labels(0), 1.0).unwrap_err().contains("another name"));
        assert!(metrics.gauge(owner, "Bad Name", labels(0), 1.0).is_err());
        let made = (0..2000).filter(|n| metrics.gauge(owner, "g", labels(*n), 1.0).is_ok()).count();
        assert_eq!(made, 999);
        metrics.gauge(Owner { instance: "other", ..owner }, "g", labels(0), 1.0).unwrap();
    }

    #[test]
    fn a_family_belongs_to_a_plugin() {
        let metrics = PluginMetrics::default();
        metrics.count(Owner { plugin: "new-relic", instance: "a" }, "sent", labels(0), 1.0).unwrap();
        metrics.count(Owner { plugin: "new-relic", instance: "a" }, "sent_total", labels(0), 1.0).unwrap();
        metrics.gauge(Owner { plugin: "chat", instance: "b" }, "sent_total", labels(0), 1.0).unwrap();
        metrics.gauge(Owner { plugin: "chat", instance: "b" }, "sent", labels(0), 1.0).unwrap();
        let series = metrics.series();
        let names: Vec<_> = series.iter().map(|one| (one.name.as_str(), one.counter)).collect();
        assert_eq!(
            names,
            [
                ("butler_plugin_chat_sent", false),
                ("butler_plugin_chat_sent_total", false),
                ("butler_plugin_new_relic_sent_total", true)
            ]
        );
    }

    #[test]
    fn a_refusal_is_said_once_for_each_name() {
        let metrics = PluginMetrics::default();
        assert_eq!(
            [metrics.refuse("i", "A"), metrics.refuse("i", "A"), metrics.refuse("other", "A")],
            [true, false, true]
        );
        assert_eq!((0..1000).filter(|n| metrics.refuse("i", &format!("A{n}"))).count(), 99);
    }
}
