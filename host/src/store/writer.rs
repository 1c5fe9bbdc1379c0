//! The one connection that writes, in groups.
//!
//! An operation is a function over its input and the connection. Operations that wait when the writer becomes free are
//! run in one transaction; each is answered after its commit. When the disk does not let the group commit, the same group
//! is tried again until it does: the callers wait. So they do for whatever else may pass, such as a lack of memory, with a new
//! connection. When an operation itself is proven to be at fault, the group is run one by one.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use super::disk::{Disk, is_fault, is_of_disk};
use super::{StoreError, storage};
use crate::stop::stopping;

/// Operations in one transaction.
const GROUP: usize = 256;
/// Operations waiting; callers wait for a place.
const QUEUE: usize = 1024;
const PAUSE: Duration = Duration::from_millis(500);

pub(super) struct Writer {
    queue: mpsc::Sender<Box<dyn Operation>>,
    disk: Arc<Disk>,
    task: Mutex<Option<tokio::task::JoinHandle<SqliteConnection>>>,
    closing: tokio::sync::watch::Sender<bool>,
}

type Apply<I, O> = for<'a> fn(&'a I, &'a mut SqliteConnection) -> BoxFuture<'a, sqlx::Result<O>>;

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
    /// `options` open the file that `connection` has open.
    pub(super) fn start(connection: SqliteConnection, options: SqliteConnectOptions, reserve: PathBuf) -> Self {
        let (queue, receiver) = mpsc::channel(QUEUE);
        let (closing, closed) = tokio::sync::watch::channel(false);
        let disk = Arc::new(Disk::new(reserve));
        let state = Loop { connection, options, disk: disk.clone(), closed };
        let task = tokio::spawn(state.run(receiver));
        Self { queue, disk, task: Mutex::new(Some(task)), closing }
    }

    /// The disk of the store.
    pub(super) fn disk(&self) -> &Arc<Disk> {
        &self.disk
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

    /// Ends it after all waiting operations, unless the disk does not let it. Its connection, for whoever is the first to end it.
    pub(super) async fn end(&self) -> Option<SqliteConnection> {
        self.closing.send_replace(true);
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        task?.await.ok()
    }
}

struct Loop {
    connection: SqliteConnection,
    options: SqliteConnectOptions,
    disk: Arc<Disk>,
    closed: tokio::sync::watch::Receiver<bool>,
}

impl Loop {
    async fn run(mut self, mut queue: mpsc::Receiver<Box<dyn Operation>>) -> SqliteConnection {
        self.disk.set_aside();
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
        self.connection
    }

    /// Commits a group and answers it; false when the store was closed while the disk did not let it.
    async fn commit(&mut self, group: &mut Vec<Box<dyn Operation>>) -> bool {
        loop {
            match self.transaction(group).await {
                Ok(()) => {
                    self.disk.recovered();
                    group.drain(..).for_each(|operation| operation.answer(Ok(())));
                    return true;
                }
                Err(Failed::Trouble(error)) => {
                    if self.disk.failed(&error) {
                        continue;
                    }
                    tokio::select! {
                        () = tokio::time::sleep(PAUSE) => {}
                        () = stopping(&mut self.closed) => return false,
                    }
                    if !is_of_disk(&error) {
                        self.reopen().await;
                    }
                }
                Err(Failed::Fault(error)) if group.len() == 1 => {
                    tracing::error!(%error, "the store refused an operation");
                    group.drain(..).for_each(|operation| operation.answer(Err(clone_error(&error))));
                    return true;
                }
                Err(Failed::Fault(_)) => {
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

    async fn transaction(&mut self, group: &mut [Box<dyn Operation>]) -> Result<(), Failed> {
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut self.connection).await.map_err(Failed::Trouble)?;
        let mut result = Ok(());
        for operation in group {
            result = operation.apply(&mut self.connection).await.map_err(Failed::of);
            if result.is_err() {
                break;
            }
        }
        if result.is_ok() {
            let committed = sqlx::raw_sql("COMMIT").execute(&mut self.connection).await;
            result = committed.map(drop).map_err(Failed::Trouble);
        }
        if result.is_err() {
            // Fails when SQLite has rolled back by itself already.
            let _ = sqlx::raw_sql("ROLLBACK").execute(&mut self.connection).await;
        }
        result
    }

    /// Takes a new connection, if there is one to be had.
    async fn reopen(&mut self) {
        let opened = async {
            let mut connection = SqliteConnection::connect_with(&self.options).await?;
            storage::prepare(&mut connection).await?;
            Ok::<_, sqlx::Error>(connection)
        };
        match opened.await {
            Ok(connection) => {
                let former = std::mem::replace(&mut self.connection, connection);
                // What it had not committed is rolled back; if it fails, it is gone all the same.
                let _ = former.close_hard().await;
            }
            Err(error) => tracing::debug!(%error, "no new connection to the store yet"),
        }
    }
}

/// Why a group was not committed.
enum Failed {
    /// One of its operations is wrong.
    Fault(sqlx::Error),
    /// Something that may pass. Beginning and committing are never an operation's fault.
    Trouble(sqlx::Error),
}

impl Failed {
    /// Of the error of an operation.
    fn of(error: sqlx::Error) -> Self {
        if is_fault(&error) { Self::Fault(error) } else { Self::Trouble(error) }
    }
}

fn clone_error(error: &sqlx::Error) -> sqlx::Error {
    sqlx::Error::Protocol(error.to_string())
}
