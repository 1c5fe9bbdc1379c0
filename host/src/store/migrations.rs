//! Numbered forward migrations. The number of the last one is SQLite's `user_version`.

use std::path::Path;

use sqlx::{AssertSqlSafe, SqliteConnection};

use super::StoreError;

/// Each is run once, in order, in a transaction of its own. Never change one that has been released: add another.
const MIGRATIONS: &[&str] = &[include_str!("migrations/0001_spine.sql"), include_str!("migrations/0002_indexes.sql")];

/// Brings the file to the present version; makes a backup beside it before it changes an older one.
pub(super) async fn run(connection: &mut SqliteConnection, path: &Path) -> Result<(), StoreError> {
    let open_error = |error: sqlx::Error| StoreError::Open { path: path.to_owned(), cause: error.to_string() };
    let found: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *connection).await.map_err(open_error)?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(StoreError::Newer { path: path.to_owned(), found, known });
    }
    if found > 0 && found < known {
        let backup = path.with_extension(format!("v{found}.bak"));
        if !backup.exists() {
            // Under its name it is there when it is whole.
            let part = path.with_extension(format!("v{found}.bak.part"));
            let failed = |error: std::io::Error| open_error(sqlx::Error::Io(error));
            match std::fs::remove_file(&part) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
                _ => {}
            }
            sqlx::query("VACUUM INTO ?")
                .bind(part.to_string_lossy().into_owned())
                .execute(&mut *connection)
                .await
                .map_err(open_error)?;
            std::fs::File::open(&part).and_then(|file| file.sync_all()).map_err(failed)?;
            std::fs::rename(&part, &backup).map_err(failed)?;
        }
        tracing::info!(backup = %backup.display(), from = found, to = known, "the store is migrated");
    }
    for (version, sql) in (1..).zip(MIGRATIONS).skip(usize::try_from(found).unwrap_or(0)) {
        let script = format!("BEGIN IMMEDIATE;\n{sql}\nPRAGMA user_version = {version};\nCOMMIT;");
        if let Err(error) = sqlx::raw_sql(AssertSqlSafe(script)).execute(&mut *connection).await {
            let _ = sqlx::raw_sql("ROLLBACK").execute(&mut *connection).await;
            return Err(open_error(error));
        }
    }
    Ok(())
}
