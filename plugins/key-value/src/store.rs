//! The store: reads from memory, writes through the host's storage.
//!
//! One loop makes all writes, so they have an order. Those that came while the disk was busy are made together: planned,
//! stored in one transaction, then shown in memory and answered. What is in memory is on disk.

use std::future::Future;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use butler_plugin_api::{Health, Host, ServiceError};
use futures_util::FutureExt;
use futures_util::future::{Either, select};
use tokio::sync::{mpsc, oneshot, watch};

use crate::data::Data;
use crate::plan::{Done, Plan, Refusal, Write};
use crate::records;
use crate::settings::Limits;

/// Writes that wait; further ones are refused.
const QUEUE: usize = 1_024;
/// Writes that are made together, and most bytes of them.
const GROUP: usize = 256;
const GROUP_BYTES: usize = 4 << 20;
/// So long a caller waits for the disk.
const PATIENCE: Duration = Duration::from_secs(10);
/// So long a start waits for writes of a former generation of the instance.
pub(crate) const PATIENCE_AT_START: Duration = Duration::from_secs(5);
/// So long a stop waits for the disk: the host gives an instance 2 s in a restart.
pub(crate) const PATIENCE_AT_STOP: Duration = Duration::from_secs(1);
/// How often keys whose time is over are taken out of memory.
const SWEEP: Duration = Duration::from_secs(10);

type Answer = Result<Done, Refusal>;

/// A write that waits for its answer.
struct Waiting {
    write: Write,
    answer: oneshot::Sender<Answer>,
}

/// All namespaces of the instance.
pub(crate) struct Store {
    host: Host,
    pub(crate) limits: Limits,
    /// Times are counted from here, by the steady clock.
    begun: Instant,
    data: Mutex<Data>,
    writes: mpsc::Sender<Waiting>,
    /// Writes of a former generation may still be made: what is in memory is read again behind them.
    is_early: bool,
    /// Until the loop takes it.
    queue: Mutex<Option<mpsc::Receiver<Waiting>>>,
    /// True from the moment that no more writes are taken; the loop ends when it has made those that it has.
    stopping: watch::Sender<bool>,
    /// True when the loop has ended.
    ended: watch::Sender<bool>,
    /// Why the storage does not take writes.
    trouble: Mutex<Option<String>>,
}

/// Tells that the loop has ended, also when it breaks off.
struct Ending<'a>(&'a watch::Sender<bool>);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    /// Reads what the storage has.
    pub(crate) async fn open(host: Host, limits: Limits) -> Result<Self, ServiceError> {
        let storage = host.storage();
        Self::open_behind(records::wait_for_writes(&storage), host, limits).await
    }

    /// The same behind `writes`, if they do not take too long: what can be read is not to wait for a disk that takes none.
    pub(crate) async fn open_behind(
        writes: impl Future<Output = Result<(), ServiceError>>,
        host: Host,
        limits: Limits,
    ) -> Result<Self, ServiceError> {
        let begun = Instant::now();
        let is_early = match select(pin!(writes), pin!(host.sleep(PATIENCE_AT_START))).await {
            Either::Left((made, _)) => {
                made?;
                false
            }
            Either::Right(_) => {
                let seconds = PATIENCE_AT_START.as_secs();
                tracing::warn!(
                    "the storage has not taken a write for {seconds} s: what is stored is read all the same"
                );
                true
            }
        };
        let data = records::load(&host.storage(), || begun.elapsed()).await?;
        tracing::info!(namespaces = data.len(), keys = data.keys(), "the key-value store is loaded");
        let (writes, queue) = mpsc::channel(QUEUE);
        Ok(Self {
            host,
            limits,
            begun,
            data: Mutex::new(data),
            writes,
            is_early,
            queue: Mutex::new(Some(queue)),
            stopping: watch::Sender::new(false),
            ended: watch::Sender::new(false),
            trouble: Mutex::default(),
        })
    }

    /// Looks at what is stored, at a time. Not for longer than that: writes wait meanwhile.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&Data, Duration) -> T) -> T {
        look(&lock(&self.data), self.begun.elapsed())
    }

    /// Makes a write; answers when it is on disk.
    pub(crate) async fn write(&self, write: Write) -> Answer {
        let (answer, answered) = oneshot::channel();
        self.writes.try_send(Waiting { write, answer }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                Refusal::Unavailable("Too many writes wait for the disk: try again later".to_owned())
            }
            mpsc::error::TrySendError::Closed(_) => stopping(),
        })?;
        answered.await.unwrap_or_else(|_| Err(stopping()))
    }

    /// How the storage is.
    pub(crate) fn health(&self) -> Health {
        lock(&self.trouble).clone().map_or(Health::Good, Health::Degraded)
    }

    fn set_trouble(&self, trouble: Option<String>) {
        let before = std::mem::replace(&mut *lock(&self.trouble), trouble.clone());
        match (before, trouble) {
            (None, Some(trouble)) => tracing::warn!("{trouble}; what is stored can be read"),
            (Some(_), None) => tracing::info!("the storage takes writes again"),
            _ => {}
        }
    }

    /// Takes no more writes, and returns when those that were taken have been made, or the disk takes too long.
    pub(crate) async fn stop(&self) {
        self.stopping.send_replace(true);
        if let Some(mut queue) = lock(&self.queue).take() {
            // The loop has not begun.
            queue.close();
            return;
        }
        let mut ended = self.ended.subscribe();
        if let Either::Right(_) =
            select(pin!(ended.wait_for(|ended| *ended)), pin!(self.host.sleep(PATIENCE_AT_STOP))).await
        {
            tracing::warn!("the storage has not taken the last writes; they may be made later");
        }
    }

    /// Makes writes and forgets what has expired, until [`Store::stop`].
    pub(crate) async fn run(&self) {
        let Some(mut queue) = lock(&self.queue).take() else { return };
        let _ending = Ending(&self.ended);
        if self.is_early {
            self.read_again(&mut queue).await;
        }
        self.work(queue).await;
    }

    /// Reads everything again when the writes of a former generation have been made.
    async fn read_again(&self, queue: &mut mpsc::Receiver<Waiting>) {
        let storage = self.host.storage();
        loop {
            let made = pin!(records::wait_for_writes(&storage));
            let (_, made) = self.patiently(made, Vec::new(), [&mut Vec::new(), &mut Vec::new()], queue).await;
            let read = match made {
                Ok(()) => records::load(&storage, || self.begun.elapsed()).await,
                Err(error) => Err(error),
            };
            match read {
                Ok(data) => {
                    *lock(&self.data) = data;
                    return;
                }
                Err(ServiceError::Stopped) => return,
                Err(error) => self.set_trouble(Some(format!("what is stored cannot be read again: {error}"))),
            }
            self.host.sleep(SWEEP).await;
        }
    }

    async fn work(&self, mut queue: mpsc::Receiver<Waiting>) {
        let mut stopping = self.stopping.subscribe();
        let mut stopping = pin!(
            async move {
                // Its sender lives as long as the store.
                let _ = stopping.wait_for(|stopping| *stopping).await;
            }
            .fuse()
        );
        let mut group = Vec::with_capacity(GROUP);
        let mut sweep = Box::pin(self.host.sleep(Duration::ZERO).fuse());
        loop {
            let received = futures_util::select_biased! {
                count = pin!(queue.recv_many(&mut group, GROUP).fuse()) => Some(count),
                () = sweep.as_mut() => None,
                () = stopping.as_mut() => {
                    queue.close();
                    continue;
                }
            };
            match received {
                None => {
                    self.sweep();
                    sweep = Box::pin(self.host.sleep(SWEEP).fuse());
                }
                Some(0) => return,
                Some(_) => {
                    while !group.is_empty() {
                        let mut behind = group.split_off(together(&group));
                        self.make(group, &mut behind, &mut queue).await;
                        group = behind;
                    }
                }
            }
        }
    }

    fn sweep(&self) {
        let (namespaces, keys) = {
            let mut data = lock(&self.data);
            data.forget_expired(self.begun.elapsed());
            (data.len(), data.keys())
        };
        let metrics = self.host.metrics();
        metrics.gauge("namespaces", &[], f64::from(u32::try_from(namespaces).unwrap_or(u32::MAX)));
        metrics.gauge("keys", &[], f64::from(u32::try_from(keys).unwrap_or(u32::MAX)));
    }

    /// Makes writes together and answers them. If the quota does not let that, each has a try of its own. `behind`: those
    /// whose turn is next.
    async fn make(&self, group: Vec<Waiting>, behind: &mut Vec<Waiting>, queue: &mut mpsc::Receiver<Waiting>) {
        let Err(mut left) = self.try_group(group, [behind, &mut Vec::new()], queue).await else { return };
        left.reverse();
        while let Some(waiting) = left.pop() {
            if let Err(alone) = self.try_group(vec![waiting], [&mut left, behind], queue).await {
                let message = "The storage refuses the value".to_owned();
                answer_all(alone, &Refusal::Full(message));
            }
        }
    }

    /// The writes come back when they are to be tried one by one.
    async fn try_group(
        &self,
        group: Vec<Waiting>,
        behind: [&mut Vec<Waiting>; 2],
        queue: &mut mpsc::Receiver<Waiting>,
    ) -> Result<(), Vec<Waiting>> {
        let (answers, changes, effects) = self.read(|data, now| {
            let mut plan = Plan::new(data, self.limits, now);
            let answers: Vec<Answer> = group.iter().map(|waiting| plan.add(&waiting.write)).collect();
            (answers, plan.changes, plan.effects)
        });
        let (group, stored) = if changes.is_empty() {
            (group, Ok(()))
        } else {
            let storage = self.host.storage();
            self.patiently(pin!(storage.apply(&changes)), group, behind, queue).await
        };
        match stored {
            Ok(()) => {
                {
                    let mut data = lock(&self.data);
                    let now = self.begun.elapsed();
                    for effect in effects {
                        data.apply(effect, now);
                    }
                }
                self.count(&group, &answers);
                for (waiting, answer) in group.into_iter().zip(answers) {
                    // A caller that has gone away does not need it.
                    let _ = waiting.answer.send(answer);
                }
            }
            Err(ServiceError::Quota(_)) if group.len() > 1 => return Err(group),
            Err(ServiceError::Quota(why)) => answer_all(group, &Refusal::Full(why)),
            Err(ServiceError::Stopped) => answer_all(group, &stopping()),
            Err(error) => {
                self.set_trouble(Some(format!("the storage does not take writes: {error}")));
                answer_all(group, &Refusal::Failed(error.to_string()));
            }
        }
        Ok(())
    }

    /// Waits for the storage; callers wait for a while only. What is under way is not given up, and takes effect when the
    /// disk lets it. The writes that are still to be answered come back.
    async fn patiently(
        &self,
        mut stored: impl Future<Output = Result<(), ServiceError>> + Unpin,
        group: Vec<Waiting>,
        behind: [&mut Vec<Waiting>; 2],
        queue: &mut mpsc::Receiver<Waiting>,
    ) -> (Vec<Waiting>, Result<(), ServiceError>) {
        let patience = pin!(self.host.sleep(PATIENCE));
        let stored = match select(&mut stored, patience).await {
            Either::Left((result, _)) => {
                if result.is_ok() {
                    self.set_trouble(None);
                }
                return (group, result);
            }
            Either::Right(_) => stored,
        };
        let seconds = PATIENCE.as_secs();
        self.set_trouble(Some(format!(
            "the storage has not taken a write for {seconds} s: look at the disk of Butler's store"
        )));
        let message = format!("The disk did not take the write within {seconds} s; it may be made later");
        answer_all(group, &Refusal::Unavailable(message));
        let refused = Refusal::Unavailable("The disk does not take writes at present: try again later".to_owned());
        for behind in behind {
            answer_all(std::mem::take(behind), &refused);
        }
        let mut stored = stored;
        loop {
            match select(&mut stored, pin!(queue.recv())).await {
                Either::Left((result, _)) => {
                    if result.is_ok() {
                        self.set_trouble(None);
                    }
                    return (Vec::new(), result);
                }
                Either::Right((Some(waiting), _)) => answer_all(vec![waiting], &refused),
                // Nobody can write any more.
                Either::Right((None, _)) => return (Vec::new(), stored.await),
            }
        }
    }

    fn count(&self, group: &[Waiting], answers: &[Answer]) {
        let (mut set, mut deleted, mut namespaces) = (0, 0, 0);
        for (waiting, _) in group.iter().zip(answers).filter(|(_, answer)| answer.is_ok()) {
            match waiting.write {
                Write::Set { .. } => set += 1,
                Write::Delete { .. } => deleted += 1,
                Write::DeleteNamespace { .. } => namespaces += 1,
            }
        }
        for (operation, count) in [("set", set), ("delete", deleted), ("deleteNamespace", namespaces)] {
            if count > 0 {
                self.host.metrics().count("writes_total", &[("operation", operation)], count);
            }
        }
    }
}

/// How many of these can be made together.
fn together(group: &[Waiting]) -> usize {
    let mut bytes = 0;
    let fitting = group.iter().take_while(|waiting| {
        bytes += waiting.write.size();
        bytes <= GROUP_BYTES
    });
    fitting.count().max(1)
}

fn answer_all(group: Vec<Waiting>, refusal: &Refusal) {
    for waiting in group {
        let _ = waiting.answer.send(Err(refusal.clone()));
    }
}

fn stopping() -> Refusal {
    Refusal::Unavailable("The instance is being stopped".to_owned())
}
