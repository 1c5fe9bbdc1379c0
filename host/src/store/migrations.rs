//! Numbered forward migrations. The number of the last one is SQLite's `user_version`.

use std::path::{Path, PathBuf};

use futures_util::future::BoxFuture;
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::{StoreError, disk, keys};

/// Each is run once, in order, in a transaction of its own. Never change one that has been released: add another.
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

/// Brings the file to the present version; makes a backup beside it before it changes an older one.
pub(super) async fn run(connection: &mut SqliteConnection, path: &Path) -> Result<(), StoreError> {
    let open_error = |error: sqlx::Error| StoreError::Open { path: path.to_owned(), cause: disk::told(&error) };
    let found: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *connection).await.map_err(open_error)?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(StoreError::Newer { path: path.to_owned(), found, known });
    }
    if found > 0 && found < known {
        let backup = back_up(found, connection, path).await.map_err(open_error)?;
        tracing::info!(backup = %backup.display(), from = found, to = known, "the store is migrated");
    }
    for (version, migration) in (1..).zip(MIGRATIONS).skip(usize::try_from(found).unwrap_or(0)) {
        if let Err(error) = migrate(migration, version, connection).await {
            let _ = sqlx::raw_sql("ROLLBACK").execute(&mut *connection).await;
            return Err(open_error(error));
        }
    }
    Ok(())
}

/// Makes a backup beside the file. Its name says until when it goes: to the last event. A migration that is tried again
/// needs no other, but one that is there from an earlier update is of an earlier time.
async fn back_up(version: i64, connection: &mut SqliteConnection, path: &Path) -> sqlx::Result<PathBuf> {
    let last: Option<i64> = sqlx::query_scalar("SELECT received FROM events ORDER BY seq DESC LIMIT 1")
        .fetch_optional(&mut *connection)
        .await?;
    let last = jiff::Timestamp::from_millisecond(last.unwrap_or_default()).unwrap_or_default();
    let name = format!("v{version}-{}.bak", last.strftime("%Y%m%dT%H%M%S%3fZ"));
    let backup = path.with_extension(&name);
    if !backup.exists() {
        // Under its name it is there when it is whole.
        let part = path.with_extension(format!("{name}.part"));
        match std::fs::remove_file(&part) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        sqlx::query("VACUUM INTO ?").bind(part.to_string_lossy().into_owned()).execute(&mut *connection).await?;
        std::fs::File::open(&part)?.sync_all()?;
        std::fs::rename(&part, &backup)?;
    }
    Ok(backup)
}

async fn migrate(migration: &Migration, version: i64, connection: &mut SqliteConnection) -> sqlx::Result<()> {
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut *connection).await?;
    match migration {
        Migration::Script(sql) => sqlx::raw_sql(*sql).execute(&mut *connection).await.map(drop)?,
        Migration::Code(code) => code(connection).await?,
    }
    let done = format!("PRAGMA user_version = {version}; COMMIT");
    sqlx::raw_sql(AssertSqlSafe(done)).execute(connection).await.map(drop)
}
