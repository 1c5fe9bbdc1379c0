//! One run by several roads is told once, in whatever order its roads arrive and become ready.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// Routes an event with one delivery; whether it was told.
async fn tell(store: &Store, seq: i64, keys: &[&str]) -> bool {
    let answers = store.route(vec![route(seq, keys, vec![to("x")])]).await.unwrap();
    answers[0].as_ref().is_some_and(|made| !made.is_empty())
}

#[tokio::test]
async fn an_event_does_not_join_one_that_joined_it() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let seqs: Vec<i64> = store
        .accept(vec![event(&["exec:e:pending"]), event(&["exec:e:failed"])])
        .await
        .unwrap()
        .into_iter()
        .map(Accepted::seq)
        .collect();
    let first = tell(store, seqs[0], &["result:r", "exec:e:failed"]).await;
    let second = tell(store, seqs[1], &["result:r"]).await;
    assert_eq!(u8::from(first) + u8::from(second), 1, "{first} {second}");
    assert_eq!(fixture.states("x").await.len(), 1);
}

#[tokio::test]
async fn what_is_ready_is_told_and_the_one_that_still_waits_joins_it() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let seqs = store.accept(vec![event(&["exec:e:failed"]), event(&["exec:e:pending"])]).await.unwrap();
    assert!(tell(store, seqs[1].seq(), &["exec:e:failed"]).await, "nobody knows how long the other one will wait");
    assert_eq!(store.event(seqs[0].seq()).await.unwrap().unwrap().state, "joined");
    assert_eq!(store.accepted_count().await.unwrap(), 0);
    assert!(!tell(store, seqs[0].seq(), &["result:r"]).await, "it was being looked up meanwhile");
    let later = store.accept(vec![event(&["exec:e:failed"]), event(&["result:r"])]).await.unwrap();
    assert!(later.iter().all(|answer| *answer == Accepted::Duplicate(seqs[1].seq())), "{later:?}");
}

#[tokio::test]
async fn an_event_that_was_told_is_not_joined_to_another_when_it_is_routed_again() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let seqs = store.accept(vec![event(&["exec:1:failed"]), event(&["exec:2:failed"])]).await.unwrap();
    assert!(tell(store, seqs[0].seq(), &[]).await && tell(store, seqs[1].seq(), &[]).await);
    assert!(!tell(store, seqs[1].seq(), &["exec:1:failed"]).await);
    assert_eq!(store.event(seqs[1].seq()).await.unwrap().unwrap().state, "routed");
}

#[tokio::test]
async fn a_duplicate_leaves_the_keys_that_identify_its_run_to_the_original_and_no_others() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let original = store.accept(vec![event(&["task:t:failed:a1", "task:t:failed:b2"])]).await.unwrap()[0].seq();
    let duplicate = event(&["task:t:failed:b2", "task:t:failed:a2", "exec:1:failed", "result:1"]);
    let later = ["exec:1:failed", "result:1", "task:t:failed:a2"].map(|key| event(&[key]));
    let answers = store.accept([vec![duplicate], later.to_vec()].concat()).await.unwrap();
    assert!(answers[..3].iter().all(|answer| *answer == Accepted::Duplicate(original)), "{answers:?}");
    assert_eq!(answers[3], Accepted::New(answers[3].seq()), "neighbouring runs do not become one");
}

#[tokio::test]
async fn a_duplicate_joins_its_run_to_no_neighbour() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let seqs = store.accept(vec![event(&["task:t:failed:a1"]), event(&["exec:2:failed"])]).await.unwrap();
    let answers = store.accept(vec![event(&["task:t:failed:a1", "exec:2:failed"])]).await.unwrap();
    assert_eq!(answers[0], Accepted::Duplicate(seqs[1].seq()), "the execution says more than the minute");
    assert!(tell(store, seqs[0].seq(), &[]).await && tell(store, seqs[1].seq(), &[]).await);
}

#[tokio::test]
async fn a_duplicate_of_two_events_makes_them_one() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let seqs = store.accept(vec![event(&["exec:1:failed"]), event(&["result:1"])]).await.unwrap();
    store.accept(vec![event(&["exec:1:failed", "result:1"])]).await.unwrap();
    let told = (tell(store, seqs[0].seq(), &[]).await, tell(store, seqs[1].seq(), &[]).await);
    assert!(told.0 ^ told.1, "{told:?}");
}

/// What happens in a test: events are accepted together, with keys each, or ones of those that were accepted before are
/// routed together, with further keys each.
#[derive(Debug, Clone)]
enum Step {
    Accept(Vec<BTreeSet<u8>>),
    Route(Vec<(prop::sample::Index, BTreeSet<u8>)>),
}

fn keys(most: usize) -> impl Strategy<Value = BTreeSet<u8>> {
    prop::collection::btree_set(0..6_u8, 0..=most)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        prop::collection::vec(keys(2), 1..4).prop_map(Step::Accept),
        prop::collection::vec((any::<prop::sample::Index>(), keys(2)), 1..4).prop_map(Step::Route),
    ]
}

/// Groups of events and keys that are known to belong together.
#[derive(Default)]
struct Groups {
    /// Group of each key.
    of_key: BTreeMap<u8, usize>,
    /// Group of each event that was stored.
    of_event: BTreeMap<i64, usize>,
    /// How many of each group cannot but be told, as their keys were not known to be shared before.
    told: BTreeMap<usize, usize>,
}

impl Groups {
    /// Makes one group of these; a new one if there is none.
    fn unite(&mut self, event: Option<i64>, keys: &BTreeSet<u8>) -> usize {
        let mut groups: BTreeSet<usize> = keys.iter().filter_map(|key| self.of_key.get(key).copied()).collect();
        groups.extend(event.and_then(|event| self.of_event.get(&event).copied()));
        let group =
            groups.first().copied().unwrap_or_else(|| self.told.last_key_value().map_or(0, |(last, _)| last + 1));
        let told = groups.iter().filter_map(|group| self.told.remove(group)).sum();
        self.told.insert(group, told);
        for known in self.of_key.values_mut().chain(self.of_event.values_mut()) {
            if groups.contains(known) {
                *known = group;
            }
        }
        self.of_key.extend(keys.iter().map(|key| (*key, group)));
        group
    }

    fn accept(&mut self, answer: Accepted, keys: &BTreeSet<u8>) {
        let known = keys.iter().any(|key| self.of_key.contains_key(key));
        assert_eq!(known, matches!(answer, Accepted::Duplicate(_)), "{answer:?} {keys:?}");
        let group = self.unite(None, keys);
        if let Accepted::New(seq) = answer {
            self.of_event.insert(seq, group);
        }
    }

    fn route(&mut self, event: i64, keys: &BTreeSet<u8>) {
        let group = self.unite(Some(event), keys);
        let told = self.told.entry(group).or_default();
        *told = (*told).max(1);
    }
}

fn names(case: usize, keys: &BTreeSet<u8>) -> Vec<String> {
    keys.iter().map(|key| format!("exec:{case}-{key}:failed")).collect()
}

async fn check(store: &Store, case: usize, steps: Vec<Step>) {
    let mut groups = Groups::default();
    let mut seqs: Vec<i64> = Vec::new();
    let mut routed = BTreeSet::new();
    for step in steps {
        match step {
            Step::Accept(new) => {
                let events: Vec<NewEvent> =
                    new.iter().map(|keys| NewEvent { keys: names(case, keys), ..event(&[]) }).collect();
                for (answer, keys) in store.accept(events).await.unwrap().into_iter().zip(&new) {
                    groups.accept(answer, keys);
                    if let Accepted::New(seq) = answer {
                        seqs.push(seq);
                    }
                }
            }
            Step::Route(some) if seqs.is_empty() => assert!(!some.is_empty()),
            Step::Route(some) => {
                let mut batch: Vec<(i64, BTreeSet<u8>)> = Vec::new();
                for (index, keys) in some {
                    let seq = *index.get(&seqs);
                    // Each is looked up and routed once.
                    if routed.insert(seq) {
                        batch.push((seq, keys));
                    }
                }
                route_all(store, case, &mut groups, batch).await;
            }
        }
    }
    let rest = seqs.iter().filter(|seq| !routed.contains(seq)).map(|seq| (*seq, BTreeSet::new())).collect();
    route_all(store, case, &mut groups, rest).await;

    let mut told: BTreeMap<usize, usize> = BTreeMap::new();
    for seq in &seqs {
        let state = store.event(*seq).await.unwrap().unwrap().state;
        assert_ne!(state, "accepted");
        let filter = DeliveryFilter { event: Some(*seq), limit: 10, ..DeliveryFilter::default() };
        let deliveries = store.deliveries(&filter).await.unwrap().len();
        assert_eq!(deliveries, usize::from(state == "routed"));
        *told.entry(groups.of_event[seq]).or_default() += deliveries;
    }
    for (group, told) in told {
        assert!((1..=groups.told[&group]).contains(&told), "{told} were told of {}", groups.told[&group]);
    }
}

async fn route_all(store: &Store, case: usize, groups: &mut Groups, batch: Vec<(i64, BTreeSet<u8>)>) {
    for (seq, keys) in &batch {
        groups.route(*seq, keys);
    }
    let routes: Vec<Routed> =
        batch.iter().map(|(seq, keys)| Routed { keys: names(case, keys), ..route(*seq, &[], vec![to("x")]) }).collect();
    store.route(routes).await.unwrap();
}

#[test]
fn a_run_is_told_once_whatever_keys_its_events_bring_and_in_whatever_order() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let fixture = runtime.block_on(Fixture::new());
    let case = std::cell::Cell::new(0);
    proptest!(ProptestConfig::with_cases(300), |(steps in prop::collection::vec(step(), 1..8))| {
        case.set(case.get() + 1);
        runtime.block_on(check(&fixture.store, case.get(), steps));
    });
}
