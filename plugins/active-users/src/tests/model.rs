//! Random events against a list of all events, which is sorted and counted anew each time.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use crate::presence::{Deed, MOST_MARKS, Mark, Moment, Presence};
use crate::settings::Rules;
use crate::sighting::Sighting;
use crate::users::{Counted, Place, Plan, Users};

const HOUR: i64 = 3_600_000;

fn rules(max_users: usize) -> Rules {
    Rules { expire_ms: HOUR, publish_every: std::time::Duration::from_secs(10), max_users }
}

/// All events, each once.
#[derive(Default)]
struct Model(Vec<Sighting>);

impl Model {
    fn add(&mut self, sightings: &[Sighting]) {
        for sighting in sightings {
            if !self.0.contains(sighting) {
                self.0.push(sighting.clone());
            }
        }
    }

    fn count(&self, now_ms: i64) -> (BTreeSet<String>, BTreeMap<String, u64>) {
        let mut all: Vec<&Sighting> = self.0.iter().collect();
        all.sort_by(|a, b| a.mark.0.cmp(&b.mark.0));
        let mut there: BTreeMap<(String, String), (u32, i64)> = BTreeMap::new();
        for Sighting { user, node, mark: Mark(Moment(ms, _), deed) } in all {
            let (sessions, last) = there.entry((user.to_lowercase(), node.clone())).or_insert((0, *ms));
            if ms - *last > HOUR {
                *sessions = 0;
            }
            *last = *ms;
            match deed {
                Deed::Started => *sessions += 1,
                Deed::Stopped => *sessions = sessions.saturating_sub(1),
                Deed::Opened => *sessions = (*sessions).max(1),
                Deed::Closed => {}
            }
        }
        let active = there.into_iter().filter(|(_, (sessions, last))| *sessions > 0 && (now_ms - last).abs() <= HOUR);
        let (mut users, mut nodes) = (BTreeSet::new(), BTreeMap::new());
        for ((user, node), _) in active {
            users.insert(user);
            *nodes.entry(node).or_insert(0) += 1;
        }
        (users, nodes)
    }
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![Just(Deed::Started), Just(Deed::Stopped), Just(Deed::Opened), Just(Deed::Closed)]
}

/// User, node, minute and deed.
fn events(most: usize) -> impl Strategy<Value = Vec<(usize, usize, i64, Deed)>> {
    prop::collection::vec((0..3_usize, 0..2_usize, 0..240_i64, deed()), 0..most)
}

fn sighting(index: usize, (user, node, minute, deed): (usize, usize, i64, Deed)) -> Sighting {
    let user = if index.is_multiple_of(2) { format!("LAB\\u{user}") } else { format!("lab\\U{user}") };
    let mark = Mark(Moment(minute * 60_000, format!("x-{index}")), deed);
    Sighting { user, node: format!("n{node}"), mark }
}

/// What is in memory, and in the storage.
#[derive(Default)]
struct Site {
    users: Users,
    stored: BTreeMap<Place, (String, String)>,
}

impl Site {
    fn take(&mut self, sightings: &[Sighting], now_ms: i64, rules: &Rules) -> Plan {
        let plan = self.users.plan(sightings, now_ms, rules);
        for (place, change) in plan.changes.clone() {
            match change {
                Some((name, presence)) => {
                    self.stored.insert(place, (name, serde_json::to_string(&presence).unwrap()));
                }
                None => assert!(self.stored.remove(&place).is_some()),
            }
        }
        self.users.apply(plan.changes.clone());
        plan
    }

    fn take_all(&mut self, sightings: &[Sighting], now_ms: i64) {
        let plan = self.take(sightings, now_ms, &rules(100));
        assert_eq!((plan.refused, plan.too_long), (0, 0));
    }

    /// As after a restart.
    fn reread(&self, now_ms: i64) -> Users {
        let stored = self.stored.iter().map(|(place, (name, presence))| {
            (place.clone(), (name.clone(), serde_json::from_str::<Presence>(presence).unwrap()))
        });
        let left = stored.filter(|(_, (_, presence))| !presence.is_over(now_ms, HOUR));
        let mut again = Users::default();
        again.apply(left.map(|(place, record)| (place, Some(record))).collect());
        again
    }
}

fn same(counted: &Counted, model: &Model, now_ms: i64) -> Result<(), TestCaseError> {
    let (users, nodes) = model.count(now_ms);
    let told: BTreeSet<String> = counted.users.iter().map(|user| user.to_lowercase()).collect();
    prop_assert_eq!(told.len(), counted.users.len());
    prop_assert_eq!(told, users);
    let used: BTreeMap<String, u64> = counted.nodes.clone().into_iter().filter(|(_, count)| *count > 0).collect();
    prop_assert_eq!(used, nodes);
    Ok(())
}

proptest! {
    #[test]
    fn as_many_as_are_kept_come_to_the_same_in_any_order_and_number(
        all in events(MOST_MARKS), order in prop::collection::vec(any::<prop::sample::Index>(), 0..40), now in 0..400_i64,
    ) {
        // All within an hour: none is over when another comes.
        let within = all.into_iter().map(|(user, node, minute, deed)| (user, node, minute % 50, deed));
        let all: Vec<Sighting> = within.enumerate().map(|(index, event)| sighting(index, event)).collect();
        let mut model = Model::default();
        model.add(&all);
        let mut site = Site::default();
        // Some of them several times in any order, then all in the reverse one.
        let mut given: Vec<Sighting> = order.iter().filter(|_| !all.is_empty()).map(|index| index.get(&all).clone()).collect();
        given.extend(all.iter().rev().cloned());
        for some in given.chunks(3) {
            site.take_all(some, 50 * 60_000);
            let mut again = site.reread(50 * 60_000);
            prop_assert_eq!(again.count(0, &rules(100)), site.users.count(0, &rules(100)));
            site.users = again;
        }
        let now_ms = now * 60_000;
        same(&site.users.count(now_ms, &rules(100)), &model, now_ms)?;
    }

    #[test]
    fn any_number_in_their_order_and_some_twice_come_to_the_same(
        mut all in events(200), again in prop::collection::vec(0..5_usize, 200), batch in 1..20_usize,
    ) {
        all.sort_by_key(|(_, _, minute, _)| *minute);
        let (mut model, mut site) = (Model::default(), Site::default());
        let all: Vec<Sighting> = all.into_iter().enumerate().map(|(index, event)| sighting(index, event)).collect();
        for (number, some) in all.chunks(batch).enumerate() {
            let now_ms = some.iter().map(|sighting| sighting.mark.0.0).max().unwrap_or_default();
            model.add(some);
            site.take_all(some, now_ms);
            // The last of them again, as after a crash.
            let from = some.len().saturating_sub(again[number]);
            site.take_all(&some[from..], now_ms);
            let counted = site.users.count(now_ms, &rules(100));
            same(&counted, &model, now_ms)?;
            let mut again = site.reread(now_ms);
            prop_assert_eq!(again.count(now_ms, &rules(100)).users, counted.users);
            if number.is_multiple_of(3) {
                site.users = again;
            }
        }
    }

    #[test]
    fn no_events_make_it_larger_than_allowed(all in events(100), max_users in 1..5_usize) {
        let mut site = Site::default();
        for (index, event) in all.into_iter().enumerate() {
            let sighting = sighting(index, event);
            let now_ms = sighting.mark.0.0;
            site.take(&[sighting], now_ms, &rules(max_users));
            prop_assert!(site.users.len() <= max_users);
            prop_assert_eq!(site.stored.len(), site.users.len());
        }
    }
}

#[test]
fn a_user_is_called_as_their_first_event_has_it_on_all_nodes() {
    let named = |index: usize, user: &str, node: &str| Sighting {
        user: user.to_owned(),
        node: node.to_owned(),
        mark: Mark(Moment(0, format!("x-{index}")), Deed::Started),
    };
    let mut site = Site::default();
    // In one batch, and the second node is the first by its name.
    site.take_all(&[named(1, r"LAB\ann", "n2"), named(2, r"lab\ANN", "n1"), named(3, r"lab\Ann", "n2")], 0);
    site.take_all(&[named(4, r"Lab\ann", "n3"), named(5, r"lab\ann", "n1")], 0);
    assert!(site.stored.len() == 3 && site.stored.values().all(|(name, _)| name == r"LAB\ann"), "{:?}", site.stored);
    assert_eq!(site.users.count(0, &rules(100)).users, [r"LAB\ann"]);
}

#[test]
fn a_node_whose_users_never_logged_out_is_told_with_nobody_before_it_is_forgotten() {
    const DAY: i64 = 24 * HOUR;
    let rules = Rules { expire_ms: 30 * DAY, ..rules(100) };
    let mut users = Users::default();
    let plan = users.plan(&[sighting(0, (0, 0, 0, Deed::Started))], 0, &rules);
    users.apply(plan.changes);
    let nodes = |users: &mut Users, day: i64| users.count(day * DAY, &rules).nodes;
    assert_eq!(nodes(&mut users, 29), BTreeMap::from([("n0".to_owned(), 1)]));
    assert_eq!(nodes(&mut users, 31), BTreeMap::from([("n0".to_owned(), 0)]));
    assert_eq!(nodes(&mut users, 38), BTreeMap::new());
}
