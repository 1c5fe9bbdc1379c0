//! The open connections: how many there may be, and who gives way when there are more.
//!
//! The client with the most connections gives way, with the one that has waited longest for it; so whoever opens thousands
//! closes their own. A connection whose request a handler is at work on is never closed. When all are at work, a new one is.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::activity::Activity;
use super::limits::Limits;

/// That connections give way is said in the log so often at most.
const SAY: Duration = Duration::from_mins(10);

/// The connections that are open.
#[derive(Debug, Default)]
pub(in crate::rest) struct Connections {
    table: Mutex<Table>,
    gave_way: AtomicU64,
    refused: AtomicU64,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    count: usize,
    clients: HashMap<IpAddr, HashMap<u64, Arc<Activity>>>,
    said: Option<Instant>,
}

impl Table {
    fn remove(&mut self, client: IpAddr, number: u64) {
        let Some(connections) = self.clients.get_mut(&client) else { return };
        self.count -= usize::from(connections.remove(&number).is_some());
        if connections.is_empty() {
            self.clients.remove(&client);
        }
    }

    /// Closes the connection that has waited longest for this client.
    fn make_room_of(&mut self, client: IpAddr) -> bool {
        let Some(connections) = self.clients.get(&client) else { return false };
        let waiting = connections.iter().filter_map(|(number, it)| Some((it.waiting_since()?, *number, it)));
        // Its request may have come meanwhile.
        let Some(number) = waiting.min_by_key(|(since, ..)| *since).filter(|(.., it)| it.give_way()).map(|it| it.1)
        else {
            return false;
        };
        self.remove(client, number);
        true
    }

    /// Closes one of the client that has most.
    fn make_room(&mut self) -> bool {
        let mut clients: Vec<_> = self.clients.iter().map(|(client, its)| (its.len(), *client)).collect();
        clients.sort_unstable_by(|one, other| other.cmp(one));
        clients.into_iter().any(|(_, client)| self.make_room_of(client))
    }
}

impl Connections {
    /// A place for a connection; none if all others are at work.
    pub(super) fn admit(self: &Arc<Self>, peer: IpAddr, limits: &Limits) -> Option<Place> {
        let client = client(peer);
        let mut table = self.lock();
        let of_client = table.clients.get(&client).map_or(0, HashMap::len);
        let is_free = if of_client >= limits.connections_of_one() {
            Some(table.make_room_of(client))
        } else if table.count >= limits.connections {
            Some(table.make_room())
        } else {
            None
        };
        if is_free.is_some() && table.said.is_none_or(|said| said.elapsed() >= SAY) {
            table.said = Some(Instant::now());
            tracing::warn!(
                %client,
                connections = table.count,
                "the REST server has as many connections as it takes: those that wait longest for their client are closed \
                 for new ones"
            );
        }
        match is_free {
            Some(false) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                return None;
            }
            Some(true) => drop(self.gave_way.fetch_add(1, Ordering::Relaxed)),
            None => {}
        }
        let number = table.next;
        table.next += 1;
        table.count += 1;
        let activity = Activity::new();
        table.clients.entry(client).or_default().insert(number, activity.clone());
        Some(Place { connections: self.clone(), client, number, activity })
    }

    /// Ends those whose clients are too slow.
    pub(super) fn look(&self, limits: &Limits) {
        let now = Instant::now();
        for activity in self.lock().clients.values().flat_map(HashMap::values) {
            activity.look(now, limits.head, limits.answer);
        }
    }

    /// How many are open.
    pub(in crate::rest) fn open(&self) -> usize {
        self.lock().count
    }

    /// How many were closed for new ones, and how many were refused, since the start.
    pub(in crate::rest) fn turned_away(&self) -> [u64; 2] {
        [&self.gave_way, &self.refused].map(|count| count.load(Ordering::Relaxed))
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of a connection; free when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    connections: Arc<Connections>,
    client: IpAddr,
    number: u64,
    pub(super) activity: Arc<Activity>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.lock().remove(self.client, self.number);
    }
}

/// Who is one client: an address, with IPv6 the network of 64 bits that any machine has for itself.
fn client(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::super::activity::{Order, Phase};
    use super::*;

    const FOUR: Limits = Limits {
        connections: 4,
        head: Duration::from_secs(1),
        body: Duration::from_secs(1),
        answer: Duration::from_secs(1),
        stop: Duration::from_secs(1),
    };

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn is_closed(place: &Place) -> bool {
        *place.activity.orders().borrow() == Order::Close
    }

    #[test]
    fn who_opens_many_closes_their_own() {
        let connections: Arc<Connections> = Arc::default();
        let admit = |text: &str| connections.admit(ip(text), &FOUR);
        let other = admit("10.0.0.2").unwrap();
        let many: Vec<_> = (0..10).map(|_| admit("::ffff:10.0.0.1").unwrap()).collect();
        let closed: Vec<_> = many.iter().map(is_closed).collect();
        assert_eq!(closed, [[true; 7].as_slice(), &[false; 3]].concat(), "three of four, the newest ones");
        assert_eq!((connections.open(), connections.turned_away()), (4, [7, 0]));
        // A third client: the one with most gives way again.
        let third = admit("10.0.0.3").unwrap();
        assert!(is_closed(&many[7]) && !is_closed(&other) && !is_closed(&third));
        drop(many);
        assert_eq!(connections.open(), 2);
    }

    #[test]
    fn a_handler_at_work_keeps_its_place() {
        let connections: Arc<Connections> = Arc::default();
        let admit = |text: &str| connections.admit(ip(text), &FOUR);
        let hog: Vec<_> = (0..3).map(|_| admit("10.0.0.1").unwrap()).collect();
        let work: Vec<_> = hog.iter().map(|place| place.activity.begin(Phase::Working).unwrap()).collect();
        assert!(admit("10.0.0.1").is_none(), "all of its own are at work");
        let other = admit("10.0.0.2").unwrap();
        let third = admit("10.0.0.3").unwrap();
        assert!(is_closed(&other) && !hog.iter().any(is_closed), "the only one that waits");
        let at_work = third.activity.begin(Phase::Working).unwrap();
        assert!(admit("10.0.0.4").is_none());
        assert_eq!(connections.turned_away(), [1, 2]);
        drop((work, at_work));
        assert!(admit("10.0.0.4").is_some());
    }

    #[test]
    fn a_slow_upload_waits_longer_than_one_that_goes_on() {
        let connections: Arc<Connections> = Arc::default();
        let admit = || connections.admit(ip("10.0.0.1"), &FOUR).unwrap();
        let (slow, quick, idle) = (admit(), admit(), admit());
        let _slow = slow.activity.begin(Phase::Receiving).unwrap();
        let going_on = quick.activity.begin(Phase::Receiving).unwrap();
        drop(idle.activity.begin(Phase::Working));
        going_on.turn(Phase::Receiving, Phase::Receiving);
        let _new = admit();
        assert_eq!([&slow, &quick, &idle].map(is_closed), [true, false, false]);
        let _new = admit();
        assert_eq!([&slow, &quick, &idle].map(is_closed), [true, false, true]);
    }

    #[test]
    fn one_machine_is_one_client() {
        assert_eq!(client(ip("2001:db8:1:2:3:4:5:6")), client(ip("2001:db8:1:2::1")));
        assert_ne!(client(ip("2001:db8:1:2::1")), client(ip("2001:db8:1:3::1")));
        assert_ne!(client(ip("10.0.0.1")), client(ip("10.0.0.2")));
        assert_eq!(client(ip("::ffff:10.0.0.1")), ip("10.0.0.1"));
    }
}
