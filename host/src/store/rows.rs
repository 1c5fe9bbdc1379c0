//! Statements over many rows: each statement is a trip to SQLite's thread and back, which costs more than its work.

use std::fmt::Write;

/// Rows of one statement. Few sizes, so that few statements are prepared.
const CHUNKS: [usize; 5] = [256, 64, 16, 4, 1];

/// Cuts rows into pieces of those sizes.
pub(super) fn chunks<T>(mut rest: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let size = CHUNKS.into_iter().find(|size| *size <= rest.len())?;
        let (chunk, tail) = rest.split_at(size);
        rest = tail;
        Some(chunk)
    })
}

/// ` VALUES row, row, …`.
pub(super) fn values(rows: usize, row: &str) -> String {
    let mut text = String::with_capacity(rows * (row.len() + 2));
    for n in 0..rows {
        let _ = write!(text, "{}{row}", if n == 0 { " VALUES " } else { ", " });
    }
    text
}
