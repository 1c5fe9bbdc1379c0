//! Numbered forward migrations. The number of the last one is SQLite's `user_version`.
//!
//! A store that lacks several gets all of them or none: they share a transaction. So what was there before is there after a
//! migration that fails, is stopped or killed, and the Butler that wrote it can go on with it.

use std::path::Path;
use std::time::Instant;

use futures_util::future::BoxFuture;
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::copies::{self, Copy};
use super::look::Look;
use super::{StoreError, disk, keys};

/// Each is run once, in order. Never change one that has been released: add another.
const MIGRATIONS: &[Migration] = &[
    Migration::Script(include_str!("migrations/0001_spine.sql")),
    Migration::Script(include_str!("migrations/0002_indexes.sql")),
    Migration::Code(|connection| {
        Box::pin(async {
            keys::migrate(connection).await?;
            sqlx::raw_sql(include_str!("migrations/0003_joins.sql")).execute(connection).await.map(drop)
        })
    }),
    Migration::Script(include_str!("migrations/0004_history.sql")),
    Migration::Script(include_str!("migrations/0006_schedules.sql")),
];

enum Migration {
    Script(&'static str),
    /// What SQL cannot say.
    Code(for<'a> fn(&'a mut SqliteConnection) -> BoxFuture<'a, sqlx::Result<()>>),
}

/// The version that this Butler has.
pub(super) fn known() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// The version of a store; 0 when nothing is in it.
pub(super) async fn version(connection: &mut SqliteConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar("PRAGMA user_version").fetch_one(connection).await
}

/// Brings a store that was looked at to the present version; copies it beside itself before it changes an older one.
pub(super) async fn run(look: &Look, connection: &mut SqliteConnection, path: &Path) -> Result<(), StoreError> {
    // What it has in its log counts as well, wherever that was looked for.
    let found = version(connection).await.map_err(|error| disk::not_opened(path, &error))?;
    // Nothing of what was there to be used again is there after this.
    let look = Look { found, reused: 0, ..*look };
    let known = look.known;
    look.refuse_newer(path)?;
    copies::tidy(path, found);
    if found >= known {
        return Ok(());
    }
    if found == 0 {
        let found = all(connection).await.map_err(|failed| disk::not_opened(path, &failed.error))?;
        return Look { found, ..look }.refuse_newer(path);
    }
    let begun = Instant::now();
    tracing::info!(
        from = found,
        to = known,
        "the store is of an earlier version: it is copied, then brought to this one"
    );
    let failed = |failed: &Failed| StoreError::Update {
        path: path.to_owned(),
        found,
        known,
        cause: disk::told(&failed.error),
        remedy: remedy(failed, &look),
    };
    let copy = Copy::make(found, connection, path).await;
    let copy = copy.map_err(|error| failed(&Failed { error, certain: true }))?;
    match all(connection).await {
        Ok(was) if was == found => copy.keep(),
        // By a process that was told to stop and was not gone yet. It has made a copy too, from before that.
        Ok(found) => {
            copy.discard();
            return Look { found, ..look }.refuse_newer(path);
        }
        Err(error) => {
            if error.certain {
                copy.discard();
            }
            return Err(failed(&error));
        }
    }
    tracing::info!(
        copy = %copy.path().display(),
        from = found,
        to = known,
        ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        "the store is migrated; its copy is for the way back, and yours to remove"
    );
    Ok(())
}

/// How the store is now, and what to do.
fn remedy(Failed { error, certain }: &Failed, look: &Look) -> String {
    if !certain {
        return "it is not known whether it was all the same: see to its disk, and start this Butler again, which finds out".to_owned();
    }
    let remedy = if disk::may_be_full(error) {
        &format!("make room on its disk, {} for this, and start Butler again", super::Megabytes::from(look.room()))
    } else {
        disk::remedy(error).unwrap_or("go on with the Butler that it is of, and report this, please")
    };
    format!("nothing was changed: {remedy}")
}

/// Migrations that were not done.
struct Failed {
    error: sqlx::Error,
    /// Nothing of them is in the file. After an error of the disk at the very end it is not known before the next start.
    certain: bool,
}

/// Does what the store lacks; the version that it had.
async fn all(connection: &mut SqliteConnection) -> Result<i64, Failed> {
    let was = match pending(connection).await {
        Ok(was) => was,
        Err(error) => {
            let _ = sqlx::raw_sql("ROLLBACK").execute(connection).await;
            return Err(Failed { error, certain: true });
        }
    };
    if let Err(error) = sqlx::raw_sql("COMMIT").execute(&mut *connection).await {
        let _ = sqlx::raw_sql("ROLLBACK").execute(connection).await;
        return Err(Failed { certain: disk::is_full(&error), error });
    }
    Ok(was)
}

async fn pending(connection: &mut SqliteConnection) -> sqlx::Result<i64> {
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut *connection).await?;
    let was = version(connection).await?;
    if was >= known() {
        return Ok(was);
    }
    for migration in MIGRATIONS.iter().skip(usize::try_from(was).unwrap_or(0)) {
        match migration {
            Migration::Script(sql) => sqlx::raw_sql(*sql).execute(&mut *connection).await.map(drop)?,
            Migration::Code(code) => code(connection).await?,
        }
    }
    let version = format!("PRAGMA user_version = {}", known());
    sqlx::raw_sql(AssertSqlSafe(version)).execute(connection).await?;
    Ok(was)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_of_a_failed_update_is_told() {
        let look = Look { found: 1, known: 5, size: 10 << 20, reused: 0 };
        let said = |certain| remedy(&Failed { error: sqlx::Error::WorkerCrashed, certain }, &look);
        assert!(said(true).contains("nothing was changed: go on with the Butler that it is of"), "{}", said(true));
        assert!(!said(false).contains("nothing was changed") && !said(false).contains("go on with"), "{}", said(false));
        assert!(said(false).contains("start this Butler again, which finds out"), "{}", said(false));
    }
}
