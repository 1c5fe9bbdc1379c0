//! What ids are made of: the store's own, and numbers that never come twice.
//!
//! Numbers begin at the time of a start, in ms since 1970, and rise by one. Events come more slowly than that, so the next
//! start is ahead of all numbers that were given, even if the file is a backup by then and the last of them were given by
//! the file that it replaces. They are exact as numbers of JSON.

use sqlx::SqliteConnection;

use super::now_ms;

/// The store's id, made at the first call.
pub(super) async fn store_id(connection: &mut SqliteConnection) -> sqlx::Result<String> {
    let mut random = [0_u8; 8];
    getrandom::fill(&mut random).map_err(|error| sqlx::Error::Protocol(error.to_string()))?;
    // Without letters that are read for digits; the first is no digit, so that an id never looks like a number.
    let alphabet = b"abcdefghjkmnpqrstvwxyz23456789";
    let pick = |(n, byte): (usize, &u8)| {
        let choice = if n == 0 { &alphabet[..22] } else { &alphabet[..] };
        char::from(choice[usize::from(*byte) % choice.len()])
    };
    let id: String = random.iter().enumerate().map(pick).collect();
    sqlx::query("INSERT INTO meta (name, value) VALUES ('id', ?) ON CONFLICT DO NOTHING")
        .bind(id)
        .execute(&mut *connection)
        .await?;
    sqlx::query_scalar("SELECT value FROM meta WHERE name = 'id'").fetch_one(connection).await
}

/// The number of the next event.
pub(super) async fn next_event(connection: &mut SqliteConnection) -> sqlx::Result<i64> {
    let last: Option<i64> = sqlx::query_scalar("SELECT max(seq) FROM events").fetch_one(connection).await?;
    Ok((last.unwrap_or(0) + 1).max(now_ms()))
}

/// Lets the numbers of deliveries go on in the same way.
pub(super) async fn advance_deliveries(connection: &mut SqliteConnection) -> sqlx::Result<()> {
    // Here SQLite has the last number of a table, once there was one.
    for sql in [
        "INSERT INTO sqlite_sequence (name, seq) SELECT 'deliveries', ?1
         WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'deliveries')",
        "UPDATE sqlite_sequence SET seq = ?1 WHERE name = 'deliveries' AND seq < ?1",
    ] {
        sqlx::query(sql).bind(now_ms()).execute(&mut *connection).await?;
    }
    Ok(())
}
