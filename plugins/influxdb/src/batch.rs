//! Joins the points of several deliveries into one request.
//!
//! A delivery puts its lines here and waits until they were accepted. A background task writes them: when the time is over, when
//! there are enough, or when no more can come. It belongs to nobody, so that a delivery that is abandoned takes no other with
//! it. What waits is bounded; beyond that deliveries wait before they put anything here.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use butler_plugin_api::{DeliveryError, Health, Host};

use crate::answer::Later;
use crate::line::cut;
use crate::server::Server;
use crate::write::{Fate, Place, write};

/// Most bytes of lines in one request. InfluxDB 3 takes 10 MB, InfluxDB 1 25 MB, InfluxDB 2 50 MB.
const REQUEST_BYTES: usize = 4 << 20;
/// Most bytes of lines that wait.
const WAITING_BYTES: usize = 16 << 20;
/// How much of a refused line its error quotes, in bytes.
const LONGEST_QUOTE: usize = 120;

/// The points that wait, and who writes them.
pub(crate) struct Batcher(Arc<Shared>);

struct Shared {
    host: Host,
    server: Server,
    interval: Duration,
    points: usize,
    /// So many calls at a time: when all of them wait, no more points come.
    calls: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Parcel>,
    points: usize,
    bytes: usize,
    /// Calls that have put all they have.
    calls: usize,
    /// There is no point in waiting for more.
    hurry: bool,
    /// Who wait for room.
    room: Vec<Waker>,
    /// The task that writes is there.
    writing: bool,
    writer: Option<Waker>,
    health: Option<Health>,
    place: Place,
}

/// The lines of a delivery.
struct Parcel {
    lines: Vec<String>,
    bytes: usize,
    ticket: Arc<Mutex<Slot>>,
}

/// Where the outcome of a parcel is left.
#[derive(Default)]
struct Slot {
    outcome: Option<Result<(), DeliveryError>>,
    waker: Option<Waker>,
}

/// What a delivery waits for.
pub(crate) struct Ticket(Arc<Mutex<Slot>>);

impl Ticket {
    pub(crate) async fn outcome(self) -> Result<(), DeliveryError> {
        poll_fn(|cx| {
            let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(outcome) = slot.outcome.take() {
                return Poll::Ready(outcome);
            }
            slot.waker = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }
}

impl Parcel {
    fn settle(&self, outcome: Result<(), DeliveryError>) {
        let mut slot = self.ticket.lock().unwrap_or_else(PoisonError::into_inner);
        slot.outcome.get_or_insert(outcome);
        let waker = slot.waker.take();
        drop(slot);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Drop for Parcel {
    /// The task that writes has ended before its time: by a panic, or since the instance stops.
    fn drop(&mut self) {
        self.settle(Err(DeliveryError::retry("the points were not written: the instance ends")));
    }
}

/// A call that waits for its outcomes.
pub(crate) struct Call(Arc<Shared>);

impl Drop for Call {
    fn drop(&mut self) {
        self.0.state().calls -= 1;
    }
}

/// The task that writes. When it ends before its time, nobody waits for it in vain.
struct Writer {
    shared: Arc<Shared>,
    at_its_end: bool,
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.at_its_end {
            return;
        }
        let mut state = self.shared.state();
        state.writing = false;
        let left = std::mem::take(&mut state.waiting);
        (state.points, state.bytes, state.hurry) = (0, 0, false);
        let room = std::mem::take(&mut state.room);
        drop(state);
        drop(left);
        room.into_iter().for_each(Waker::wake);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_due(&self, state: &State) -> bool {
        state.hurry || state.points >= self.points || state.calls >= self.calls || !state.room.is_empty()
    }

    /// Wakes the task that writes if it is time.
    fn look(&self, mut state: MutexGuard<'_, State>) {
        let writer = if self.is_due(&state) { state.writer.take() } else { None };
        drop(state);
        if let Some(writer) = writer {
            writer.wake();
        }
    }

    /// The first parcels that fit into a request; at least one, if any wait.
    fn take(&self) -> Vec<Parcel> {
        let mut state = self.state();
        let (mut parcels, mut points, mut bytes) = (Vec::new(), 0, 0);
        while let Some(next) = state.waiting.front() {
            (points, bytes) = (points + next.lines.len(), bytes + next.bytes);
            if !parcels.is_empty() && (points > self.points || bytes > REQUEST_BYTES) {
                break;
            }
            parcels.extend(state.waiting.pop_front());
        }
        state.points -= parcels.iter().map(|parcel| parcel.lines.len()).sum::<usize>();
        state.hurry &= !state.waiting.is_empty();
        parcels
    }

    /// Waits until it is time to write.
    async fn gather(&self) {
        let mut sleep = pin!(self.host.sleep(self.interval));
        poll_fn(|cx| {
            let mut state = self.state();
            if self.is_due(&state) {
                return Poll::Ready(());
            }
            state.writer = Some(cx.waker().clone());
            drop(state);
            sleep.as_mut().poll(cx)
        })
        .await;
    }

    /// Writes a request, and tells what became of each parcel in it.
    async fn write(&self, parcels: Vec<Parcel>) {
        let lines: Vec<&str> = parcels.iter().flat_map(|parcel| &parcel.lines).map(String::as_str).collect();
        let mut place = std::mem::take(&mut self.state().place);
        let fates = write(&self.server, &self.host, &mut place, &lines).await;
        self.count(&fates);
        let (health, away) = judge(&fates);
        let bytes = parcels.iter().map(|parcel| parcel.bytes).sum::<usize>();
        let mut state = self.state();
        (state.place, state.health) = (place, Some(health));
        state.bytes = state.bytes.saturating_sub(bytes);
        // What waits would only find out the same, one time limit after the other.
        let others = if away.is_some() { std::mem::take(&mut state.waiting) } else { VecDeque::new() };
        state.points -= others.iter().map(|parcel| parcel.lines.len()).sum::<usize>();
        state.bytes = state.bytes.saturating_sub(others.iter().map(|parcel| parcel.bytes).sum());
        let room = std::mem::take(&mut state.room);
        drop(state);
        let mut fates = fates.as_slice();
        for parcel in &parcels {
            let (own, rest) = fates.split_at(parcel.lines.len());
            parcel.settle(outcome(&parcel.lines, own));
            fates = rest;
        }
        for (parcel, away) in others.iter().zip(std::iter::repeat(away).flatten()) {
            parcel.settle(Err(away.into()));
        }
        room.into_iter().for_each(Waker::wake);
    }

    fn count(&self, fates: &[Fate]) {
        let count = |fits: fn(&Fate) -> bool| fates.iter().filter(|fate| fits(fate)).count() as u64;
        let metrics = self.host.metrics();
        metrics.count("points", &[("outcome", "written")], count(|fate| matches!(fate, Fate::Written)));
        metrics.count("points", &[("outcome", "refused")], count(|fate| matches!(fate, Fate::Refused(_))));
    }
}

impl Writer {
    /// Writes until nothing waits.
    async fn work(mut self) {
        self.shared.gather().await;
        loop {
            let parcels = self.shared.take();
            if !parcels.is_empty() {
                self.shared.write(parcels).await;
                continue;
            }
            let mut state = self.shared.state();
            if state.waiting.is_empty() {
                // From now on whoever brings points begins another task.
                state.writing = false;
                drop(state);
                self.at_its_end = true;
                return;
            }
        }
    }
}

/// How InfluxDB is, and why, if it is away.
fn judge(fates: &[Fate]) -> (Health, Option<Later>) {
    let refused = fates.iter().filter(|fate| matches!(fate, Fate::Refused(_))).count();
    let reason = fates.iter().find_map(|fate| if let Fate::Refused(why) = fate { Some(why) } else { None });
    let later = fates.iter().find_map(|fate| if let Fate::Again(later) = fate { Some(later) } else { None });
    match (later, reason) {
        (Some(later), None) if fates.iter().all(|fate| matches!(fate, Fate::Again(_))) => {
            (Health::Bad(later.message.clone()), Some(later.clone()))
        }
        (Some(later), _) => (Health::Degraded(later.message.clone()), None),
        (None, Some(why)) => (Health::Degraded(format!("{refused} of the last points were refused: {why}")), None),
        (None, None) => (Health::Good, None),
    }
}

/// The outcome of a delivery by the fates of its lines.
fn outcome(lines: &[String], fates: &[Fate]) -> Result<(), DeliveryError> {
    let again = fates.iter().find_map(|fate| if let Fate::Again(later) = fate { Some(later) } else { None });
    if let Some(later) = again {
        return Err(later.clone().into());
    }
    let mut refused = fates.iter().zip(lines).filter_map(|(fate, line)| match fate {
        Fate::Refused(why) => Some((why, line)),
        _ => None,
    });
    let Some((why, line)) = refused.next() else { return Ok(()) };
    let which = cut(line, LONGEST_QUOTE);
    if lines.len() == 1 {
        return Err(DeliveryError::reject(format!("the point was refused: {why}; it begins with `{which}`")));
    }
    let count = 1 + refused.count();
    let of = lines.len();
    Err(DeliveryError::reject(format!("{count} of {of} points were refused: {why}; the first begins with `{which}`")))
}

impl Batcher {
    /// `calls`: so many calls bring points at a time.
    pub(crate) fn new(host: Host, server: Server, interval: Duration, points: usize, calls: usize) -> Self {
        Self(Arc::new(Shared { host, server, interval, points, calls, state: Mutex::default() }))
    }

    pub(crate) fn server(&self) -> &Server {
        &self.0.server
    }

    pub(crate) fn health(&self) -> Health {
        self.0.state().health.clone().unwrap_or(Health::Good)
    }

    /// Puts the lines of a delivery here, once there is room.
    pub(crate) async fn put(&self, lines: Vec<String>) -> Ticket {
        let bytes = lines.iter().map(|line| line.len() + 1).sum::<usize>();
        let ticket = Arc::<Mutex<Slot>>::default();
        let mut parcel = Some(Parcel { lines, bytes, ticket: ticket.clone() });
        poll_fn(|cx| {
            let shared = &self.0;
            let mut state = shared.state();
            if state.bytes > 0 && state.bytes + bytes > WAITING_BYTES {
                if !state.room.iter().any(|waker| waker.will_wake(cx.waker())) {
                    state.room.push(cx.waker().clone());
                }
                shared.look(state);
                return Poll::Pending;
            }
            if let Some(parcel) = parcel.take() {
                state.points += parcel.lines.len();
                state.bytes += bytes;
                state.waiting.push_back(parcel);
            }
            if std::mem::replace(&mut state.writing, true) {
                shared.look(state);
            } else {
                drop(state);
                let writer = Writer { shared: shared.clone(), at_its_end: false };
                shared.host.spawn(writer.work());
            }
            Poll::Ready(())
        })
        .await;
        Ticket(ticket)
    }

    /// A call has put all it has, and waits. `full`: there is more where that came from.
    pub(crate) fn call(&self, full: bool) -> Call {
        let mut state = self.0.state();
        state.calls += 1;
        state.hurry |= full && !state.waiting.is_empty();
        self.0.look(state);
        Call(self.0.clone())
    }
}
