//! The one connection that writes, in groups.
//!
//! An operation is a function over its input and the connection. Operations that wait when the writer becomes free are
//! run in one transaction; each is answered after its commit. When the disk does not let the group commit, the same group
//! is tried again until it does: the callers wait. When an operation itself is at fault, the group is run one by one.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use sqlx::{Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use super::StoreError;
use crate::stop::stopping;

/// Operations in one transaction.
const GROUP: usize = 256;
/// Operations waiting; callers wait for a place.
const QUEUE: usize = 1024;
/// Room that is set aside and given back to the file system when it is full, so that outcomes can still be written.
const RESERVE: u64 = 4 << 20;
const PAUSE: Duration = Duration::from_millis(500);

pub(super) struct Writer {
    queue: mpsc::Sender<Box<dyn Operation>>,
    health: Arc<Mutex<DiskHealth>>,
    reserve: Arc<Reserve>,
    task: Mutex<Option<tokio::task::JoinHandle<()>>>,
    closing: tokio::sync::watch::Sender<bool>,
}

/// What the writer knows of its disk.
#[derive(Default)]
struct DiskHealth {
    /// Why the last commit failed.
    trouble: Option<String>,
    since: Option<Instant>,
    /// Length of outages that have ended and were not asked for yet.
    past: Duration,
    /// The room that was set aside is used up.
    short: bool,
}

pub(super) type Apply<I, O> = for<'a> fn(&'a I, &'a mut SqliteConnection) -> BoxFuture<'a, sqlx::Result<O>>;

trait Operation: Send {
    fn apply<'a>(&'a mut self, connection: &'a mut SqliteConnection) -> BoxFuture<'a, sqlx::Result<()>>;
    fn answer(self: Box<Self>, result: Result<(), sqlx::Error>);
}

struct Pending<I, O> {
    input: I,
    apply: Apply<I, O>,
    output: Option<O>,
    reply: oneshot::Sender<sqlx::Result<O>>,
}

impl<I: Send + Sync, O: Send> Operation for Pending<I, O> {
    fn apply<'a>(&'a mut self, connection: &'a mut SqliteConnection) -> BoxFuture<'a, sqlx::Result<()>> {
        Box::pin(async move {
            self.output = Some((self.apply)(&self.input, connection).await?);
            Ok(())
        })
    }

    fn answer(self: Box<Self>, result: sqlx::Result<()>) {
        let result = match (result, self.output) {
            (Ok(()), Some(output)) => Ok(output),
            (Err(error), _) => Err(error),
            (Ok(()), None) => Err(sqlx::Error::WorkerCrashed),
        };
        // A caller that went away does not need the answer; what it wrote stands.
        let _ = self.reply.send(result);
    }
}

impl Writer {
    pub(super) fn start(connection: SqliteConnection, reserve: PathBuf) -> Self {
        let (queue, receiver) = mpsc::channel(QUEUE);
        let (closing, closed) = tokio::sync::watch::channel(false);
        let health = Arc::new(Mutex::new(DiskHealth::default()));
        let reserve = Arc::new(Reserve(reserve));
        let state = Loop { connection, health: health.clone(), reserve: reserve.clone(), closed };
        let task = tokio::spawn(state.run(receiver));
        Self { queue, health, reserve, task: Mutex::new(Some(task)), closing }
    }

    pub(super) fn trouble(&self) -> Option<String> {
        lock(&self.health).trouble.clone()
    }

    /// Whether the room that is set aside is used up, and cannot be set aside again.
    pub(super) async fn is_short(&self) -> bool {
        if self.trouble().is_some() {
            return lock(&self.health).short;
        }
        let reserve = self.reserve.clone();
        let filled = tokio::task::spawn_blocking(move || reserve.fill()).await.unwrap_or(false);
        lock(&self.health).short = !filled;
        !filled
    }

    /// How long the store could not be written, until now.
    pub(super) fn outage(&self) -> Outage {
        Outage(self.health.clone())
    }

    /// Runs an operation and waits for its commit.
    pub(super) async fn run<I, O>(&self, input: I, apply: Apply<I, O>) -> Result<O, StoreError>
    where
        I: Send + Sync + 'static,
        O: Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let operation = Box::new(Pending { input, apply, output: None, reply });
        self.queue.send(operation).await.map_err(|_| StoreError::Closed)?;
        Ok(answer.await.map_err(|_| StoreError::Closed)??)
    }

    pub(super) async fn close(&self) {
        self.closing.send_replace(true);
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            let _ = task.await;
        }
    }
}

/// For how long the store could not be written.
pub(super) struct Outage(Arc<Mutex<DiskHealth>>);

impl Outage {
    /// In ms, until now.
    pub(super) fn length(&self) -> i64 {
        let health = lock(&self.0);
        let present = health.since.map(|since| since.elapsed()).unwrap_or_default();
        i64::try_from((health.past + present).as_millis()).unwrap_or(i64::MAX)
    }

    /// It has been made up for.
    pub(super) fn forget(&self) {
        lock(&self.0).past = Duration::ZERO;
    }
}

fn lock(health: &Mutex<DiskHealth>) -> MutexGuard<'_, DiskHealth> {
    health.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file that takes room, to be given back when the disk is full.
struct Reserve(PathBuf);

impl Reserve {
    /// Sets the room aside, where there is as much again; false when there is not. Written, not just sized: a file with
    /// holes would reserve nothing.
    fn fill(&self) -> bool {
        let Ok(size) = usize::try_from(RESERVE) else { return false };
        if std::fs::metadata(&self.0).is_ok_and(|file| file.len() == RESERVE) {
            return true;
        }
        let written = std::fs::write(&self.0, vec![0x42; 2 * size])
            .and_then(|()| std::fs::File::options().write(true).open(&self.0)?.set_len(RESERVE));
        if let Err(error) = written {
            tracing::debug!(%error, "no room for the reserve file");
            self.free();
            return false;
        }
        true
    }

    fn free(&self) -> bool {
        std::fs::remove_file(&self.0).is_ok()
    }
}

struct Loop {
    connection: SqliteConnection,
    health: Arc<Mutex<DiskHealth>>,
    reserve: Arc<Reserve>,
    closed: tokio::sync::watch::Receiver<bool>,
}

impl Loop {
    async fn run(mut self, mut queue: mpsc::Receiver<Box<dyn Operation>>) {
        self.reserve.fill();
        let mut group: Vec<Box<dyn Operation>> = Vec::with_capacity(GROUP);
        loop {
            tokio::select! {
                biased;
                count = queue.recv_many(&mut group, GROUP) => if count == 0 { break },
                () = stopping(&mut self.closed) => {
                    queue.close();
                    if queue.recv_many(&mut group, GROUP).await == 0 {
                        break;
                    }
                }
            }
            if !self.commit(&mut group).await {
                break;
            }
        }
        if let Err(error) = self.connection.close().await {
            tracing::warn!(%error, "the store was not closed cleanly; it repairs itself at the next start");
        }
    }

    /// Commits a group and answers it; false when the store was closed while the disk did not let it.
    async fn commit(&mut self, group: &mut Vec<Box<dyn Operation>>) -> bool {
        loop {
            match self.transaction(group).await {
                Ok(()) => {
                    self.recovered();
                    group.drain(..).for_each(|operation| operation.answer(Ok(())));
                    return true;
                }
                Err(error) if is_trouble(&error) => {
                    if self.report(&error) {
                        continue;
                    }
                    tokio::select! {
                        () = tokio::time::sleep(PAUSE) => {}
                        () = stopping(&mut self.closed) => return false,
                    }
                }
                Err(error) if group.len() == 1 => {
                    tracing::error!(%error, "the store refused an operation");
                    group.drain(..).for_each(|operation| operation.answer(Err(clone_error(&error))));
                    return true;
                }
                Err(_) => {
                    // One of them is at fault: find out which, without failing the others.
                    for operation in std::mem::take(group) {
                        let mut single = vec![operation];
                        if !Box::pin(self.commit(&mut single)).await {
                            return false;
                        }
                    }
                    return true;
                }
            }
        }
    }

    async fn transaction(&mut self, group: &mut [Box<dyn Operation>]) -> sqlx::Result<()> {
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut self.connection).await?;
        let mut result = Ok(());
        for operation in group {
            result = operation.apply(&mut self.connection).await;
            if result.is_err() {
                break;
            }
        }
        if result.is_ok() {
            result = sqlx::raw_sql("COMMIT").execute(&mut self.connection).await.map(drop);
        }
        if result.is_err() {
            // Fails when SQLite has rolled back by itself already.
            let _ = sqlx::raw_sql("ROLLBACK").execute(&mut self.connection).await;
        }
        result
    }

    /// Notes what is wrong; true when room was given back for it.
    fn report(&self, error: &sqlx::Error) -> bool {
        let mut health = lock(&self.health);
        let mut freed = false;
        if health.trouble.is_none() {
            health.since = Some(Instant::now());
            freed = self.reserve.free();
            health.short |= freed;
            let remedy = match result_code(error) {
                Some(CORRUPT | NOTADB) => {
                    "its file is damaged: stop Butler, keep the file, and restore a backup or let Butler make a new one"
                }
                _ => "make room on its disk or mend its permissions",
            };
            tracing::error!(%error, "the store cannot be written: nothing is sent until it can; {remedy}");
        }
        health.trouble = Some(error.to_string());
        freed
    }

    fn recovered(&self) {
        let mut health = lock(&self.health);
        if health.trouble.take().is_some() {
            let outage = health.since.take().map(|since| since.elapsed()).unwrap_or_default();
            health.past += outage;
            if health.short {
                tracing::warn!(
                    "the store can be written again, in the room that was set aside; make room on its disk soon"
                );
            } else {
                tracing::info!("the store can be written again");
            }
        }
    }
}

// SQLite's primary result codes.
const BUSY: i32 = 5;
const LOCKED: i32 = 6;
const READONLY: i32 = 8;
const IOERR: i32 = 10;
const CORRUPT: i32 = 11;
const FULL: i32 = 13;
const CANTOPEN: i32 = 14;
const NOTADB: i32 = 26;

fn result_code(error: &sqlx::Error) -> Option<i32> {
    let sqlx::Error::Database(error) = error else { return None };
    error.code()?.parse::<i32>().ok().map(|code| code & 0xff)
}

/// Whether the disk, not the operation, is at fault.
fn is_trouble(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Io(_))
        || matches!(result_code(error), Some(BUSY | LOCKED | READONLY | IOERR | CORRUPT | FULL | CANTOPEN | NOTADB))
}

fn clone_error(error: &sqlx::Error) -> sqlx::Error {
    sqlx::Error::Protocol(error.to_string())
}
