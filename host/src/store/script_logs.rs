//! Script logs, kept once per execution, compressed.

use sqlx::SqliteConnection;

use super::{Store, StoreError, now_ms};

/// A script log to keep.
#[derive(Debug, Clone)]
pub struct NewScriptLog {
    /// Its name: the id of the execution result.
    pub reference: String,
    /// zstd-compressed text.
    pub compressed: Vec<u8>,
}

/// Longest text that is unpacked; what is stored was shorter.
const MAX_TEXT: usize = 256 << 20;

impl NewScriptLog {
    /// Compresses a text.
    pub fn new(reference: &str, text: &str) -> std::io::Result<Self> {
        Ok(Self { reference: reference.to_owned(), compressed: zstd::bulk::compress(text.as_bytes(), 3)? })
    }
}

impl Store {
    /// The text of a script log; `None` when it was never kept or its time is over.
    pub async fn script_log(&self, reference: &str) -> Result<Option<String>, StoreError> {
        let packed: Option<Vec<u8>> = sqlx::query_scalar("SELECT text FROM script_logs WHERE reference = ?")
            .bind(reference)
            .fetch_optional(&self.inner.readers)
            .await?;
        let text = packed.and_then(|packed| {
            let room = zstd::bulk::Decompressor::upper_bound(&packed).unwrap_or(MAX_TEXT).min(MAX_TEXT);
            zstd::bulk::decompress(&packed, room).ok()
        });
        Ok(text.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }
}

pub(super) async fn keep(log: &NewScriptLog, connection: &mut SqliteConnection) -> sqlx::Result<()> {
    sqlx::query("INSERT INTO script_logs (reference, at, text) VALUES (?, ?, ?) ON CONFLICT DO NOTHING")
        .bind(&log.reference)
        .bind(now_ms())
        .bind(&log.compressed)
        .execute(connection)
        .await?;
    Ok(())
}

/// Removes some of those kept before a time (ms since 1970), the oldest first; how many.
pub(super) async fn forget(before: i64, most: u32, connection: &mut SqliteConnection) -> sqlx::Result<u64> {
    let removed = sqlx::query(
        "DELETE FROM script_logs
         WHERE reference IN (SELECT reference FROM script_logs WHERE at < ? ORDER BY at LIMIT ?)",
    )
    .bind(before)
    .bind(most)
    .execute(connection)
    .await?;
    Ok(removed.rows_affected())
}
