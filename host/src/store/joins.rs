//! Joins: events that turn out to be the same one.
//!
//! An event that shares a key with another joins it. So events form groups, each with one root that the others have joined,
//! directly or over others, and only a root is told. Who is ready first is told: an event that is routed never joins one
//! that still waits for its facts, or may never get them, but takes its place. Of those that were told already, one is the
//! root of those that come later.

use std::collections::BTreeMap;

use sqlx::SqliteConnection;

use super::keys;

/// Longer chains of joins are a fault of the file.
const LONGEST_CHAIN: usize = 1000;

/// The root of a group.
struct Root {
    seq: i64,
    /// It was routed, or is gone already.
    told: bool,
}

/// The root of an event's group.
async fn root(mut seq: i64, connection: &mut SqliteConnection) -> sqlx::Result<Root> {
    for _ in 0..LONGEST_CHAIN {
        let row: Option<(i64, Option<i64>)> = sqlx::query_as("SELECT state, joined FROM events WHERE seq = ?")
            .bind(seq)
            .fetch_optional(&mut *connection)
            .await?;
        match row {
            Some((2, Some(joined))) => seq = joined,
            Some((state, _)) => return Ok(Root { seq, told: !matches!(state, 0 | 3) }),
            None => break,
        }
    }
    Ok(Root { seq, told: true })
}

/// Makes one group of an event and the owners of `keys`, and gives the keys that identify it to the root. Answers the root.
pub(super) async fn unite(event: i64, keys: &[&str], connection: &mut SqliteConnection) -> sqlx::Result<i64> {
    let own = root(event, connection).await?;
    let mut roots = BTreeMap::from([(own.seq, own.told)]);
    for key in keys {
        if let Some(owner) = keys::owner(key, connection).await? {
            let root = root(owner, connection).await?;
            roots.insert(root.seq, root.told);
        }
    }
    let told = roots.iter().find(|(_, told)| **told).map(|(seq, _)| *seq);
    let target = told.filter(|_| !own.told).unwrap_or(own.seq);
    for (seq, _) in roots.into_iter().filter(|(seq, told)| *seq != target && !told) {
        let claimed: Option<String> =
            sqlx::query_scalar("UPDATE events SET state = 2, joined = ? WHERE seq = ? RETURNING keys")
                .bind(target)
                .bind(seq)
                .fetch_optional(&mut *connection)
                .await?;
        give(&claimed.unwrap_or_default().lines().collect::<Vec<_>>(), seq, target, connection).await?;
    }
    give(keys, event, target, connection).await?;
    Ok(target)
}

/// Gives keys that belong to `from` or to nobody to another event, and notes them there. Only those that identify one run:
/// neighbouring runs may share the others, and would become one.
async fn give(keys: &[&str], from: i64, to: i64, connection: &mut SqliteConnection) -> sqlx::Result<()> {
    let mut given = Vec::new();
    for key in keys.iter().filter(|key| keys::is_identity(key)) {
        if keys::give(key, from, to, connection).await? {
            given.push(*key);
        }
    }
    if !given.is_empty() {
        sqlx::query("UPDATE events SET keys = trim(keys || char(10) || ?, char(10)) WHERE seq = ?")
            .bind(given.join("\n"))
            .bind(to)
            .execute(connection)
            .await?;
    }
    Ok(())
}
