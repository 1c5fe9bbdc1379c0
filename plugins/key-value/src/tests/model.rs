//! Random writes, in groups as they come, with time passing, storage refusing and restarts between, against a list of
//! lists.

use std::time::Duration;

use butler_plugin_api::testing::{FakeHost, block_on};
use proptest::prelude::*;

use crate::data::Data;
use crate::plan::{Done, Plan, Refusal, Write};
use crate::records;
use crate::settings::Limits;

const LIMITS: Limits = Limits { keys: 3, namespaces: 3, value: 10 };

/// What happens.
#[derive(Debug, Clone)]
enum Step {
    /// Writes that come together; `false`: the storage refuses them.
    Group(Vec<Call>, bool),
    /// So many milliseconds pass.
    Pass(u64),
    Sweep,
    Restart,
}

#[derive(Debug, Clone)]
enum Call {
    Set(u8, u8, u8, u64),
    Delete(u8, u8),
    DeleteNamespace(u8),
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        6 => (0..5u8, 0..5u8, 0..12u8, prop_oneof![Just(0u64), 1..40u64]).prop_map(|(n, k, v, ttl)| Call::Set(n, k, v, ttl)),
        2 => (0..5u8, 0..5u8).prop_map(|(n, k)| Call::Delete(n, k)),
        1 => (0..5u8).prop_map(Call::DeleteNamespace),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (prop::collection::vec(call(), 1..8), prop::bool::weighted(0.9)).prop_map(|(calls, taken)| Step::Group(calls, taken)),
        3 => (0..30u64).prop_map(Step::Pass),
        1 => Just(Step::Sweep),
        1 => Just(Step::Restart),
    ]
}

/// Names with what could be taken for something else.
fn name(number: u8) -> String {
    ["", "a", "a/", "ns:1", "\0"][usize::from(number)].to_owned()
}

/// The simplest store: what is over is not in it, for it is told the time before each step.
#[derive(Debug, Clone, Default)]
struct Model(Vec<(String, Vec<Pair>)>);

#[derive(Debug, Clone, PartialEq)]
struct Pair {
    key: String,
    value: String,
    /// When it ends, ms.
    end: Option<u64>,
}

impl Model {
    fn tell(&mut self, now: u64) {
        for (_, pairs) in &mut self.0 {
            pairs.retain(|pair| pair.end.is_none_or(|end| now < end));
        }
    }

    fn find(&mut self, namespace: &str) -> Option<&mut Vec<Pair>> {
        self.0.iter_mut().find(|(name, _)| name == namespace).map(|(_, pairs)| pairs)
    }

    /// The kind of the answer.
    fn call(&mut self, call: &Call, now: u64) -> &'static str {
        match call {
            Call::Set(namespace, key, length, ttl) => {
                let (namespace, key, value) = (name(*namespace), name(*key), "v".repeat(usize::from(*length)));
                if namespace.is_empty() || key.is_empty() {
                    return "missing";
                }
                if value.len() > LIMITS.value {
                    return "too large";
                }
                let end = (*ttl > 0).then(|| now + ttl);
                let pair = Pair { key: key.clone(), value, end };
                let count = self.0.len();
                let Some(pairs) = self.find(&namespace) else {
                    if count == LIMITS.namespaces {
                        return "full";
                    }
                    self.0.push((namespace, vec![pair]));
                    return "created";
                };
                if let Some(known) = pairs.iter_mut().find(|known| known.key == key) {
                    *known = pair;
                    return "replaced";
                }
                if pairs.len() == LIMITS.keys {
                    return "full";
                }
                pairs.push(pair);
                "created"
            }
            Call::Delete(namespace, key) => {
                let (namespace, key) = (name(*namespace), name(*key));
                if namespace.is_empty() || key.is_empty() {
                    return "missing";
                }
                let Some(pairs) = self.find(&namespace) else { return "no namespace" };
                let before = pairs.len();
                pairs.retain(|pair| pair.key != key);
                if pairs.len() < before { "deleted" } else { "no key" }
            }
            Call::DeleteNamespace(namespace) => {
                let namespace = name(*namespace);
                if namespace.is_empty() {
                    return "missing";
                }
                let before = self.0.len();
                self.0.retain(|(name, _)| *name != namespace);
                if self.0.len() < before { "deleted" } else { "no namespace" }
            }
        }
    }
}

fn write(call: &Call) -> Result<Write, Refusal> {
    match call {
        Call::Set(namespace, key, length, ttl) => {
            let (namespace, key, value) = (name(*namespace), name(*key), "v".repeat(usize::from(*length)));
            let ttl = (*ttl > 0).then(|| Duration::from_millis(*ttl));
            Write::set((&namespace, &key, &value), ttl, &LIMITS)
        }
        Call::Delete(namespace, key) => Write::delete(&name(*namespace), &name(*key)),
        Call::DeleteNamespace(namespace) => Write::delete_namespace(&name(*namespace)),
    }
}

fn kind(answer: &Result<Done, Refusal>) -> &'static str {
    match answer {
        Ok(Done::Created) => "created",
        Ok(Done::Replaced) => "replaced",
        Ok(Done::Deleted) => "deleted",
        Err(Refusal::Missing) => "missing",
        Err(Refusal::TooLarge(_)) => "too large",
        Err(Refusal::Full(_)) => "full",
        Err(Refusal::NoNamespace) => "no namespace",
        Err(Refusal::NoKey) => "no key",
        Err(Refusal::Name(_) | Refusal::Unavailable(_) | Refusal::Failed(_)) => "something else",
    }
}

fn shown(data: &Data, now: u64) -> Vec<(String, Vec<Pair>)> {
    let time = Duration::from_millis(now);
    let pairs = |namespace: &crate::data::Namespace| {
        let pairs = namespace.keys(None, time).map(|(key, entry)| Pair {
            key: key.to_string(),
            value: entry.value.to_string(),
            end: entry.ttl_ms(time).map(|left| now + left),
        });
        let pairs: Vec<Pair> = pairs.collect();
        assert_eq!(namespace.count(time), pairs.len());
        assert!(pairs.iter().all(|pair| namespace.get(&pair.key, time).is_some_and(|e| *e.value == *pair.value)));
        pairs
    };
    data.namespaces().map(|(name, namespace)| (name.to_string(), pairs(namespace))).collect()
}

fn play(steps: &[Step]) {
    let fake = FakeHost::new("key-value").manual_time();
    let storage = fake.host().storage();
    let (mut data, mut model, mut now) = (Data::default(), Model::default(), 0);
    for step in steps {
        let time = Duration::from_millis(now);
        model.tell(now);
        match step {
            Step::Group(calls, taken) => {
                let mut plan = Plan::new(&data, LIMITS, time);
                let answers: Vec<_> = calls.iter().map(|call| write(call).and_then(|write| plan.add(&write))).collect();
                let (changes, effects) = (plan.changes, plan.effects);
                let before = model.clone();
                let expected: Vec<_> = calls.iter().map(|call| model.call(call, now)).collect();
                assert_eq!(answers.iter().map(kind).collect::<Vec<_>>(), expected);
                if *taken {
                    block_on(storage.apply(&changes)).unwrap();
                    for effect in effects {
                        data.apply(effect, time);
                    }
                } else {
                    model = before;
                }
            }
            Step::Pass(ms) => {
                now += ms;
                fake.advance(Duration::from_millis(*ms));
                model.tell(now);
            }
            Step::Sweep => {
                data.forget_expired(time);
                assert_eq!(data.keys(), model.0.iter().map(|(_, pairs)| pairs.len()).sum::<usize>());
            }
            Step::Restart => data = block_on(records::load(&storage, || time)).unwrap(),
        }
        assert_eq!(shown(&data, now), model.0);
    }
    let time = Duration::from_millis(now);
    let loaded = block_on(records::load(&storage, || time)).unwrap();
    assert_eq!(shown(&loaded, now), model.0, "after a last restart");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn random_writes_end_as_the_model_says(steps in prop::collection::vec(step(), 1..40)) {
        play(&steps);
    }
}
