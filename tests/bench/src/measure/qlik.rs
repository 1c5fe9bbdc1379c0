//! How often Qlik Sense is called for an event.

use super::burst::burst;
use crate::lab::Variant;
use crate::table::Row;

/// A thousand events of as many tasks, and a thousand of ten.
pub async fn measure() -> anyhow::Result<Vec<Row>> {
    let distinct = burst(1_000, None, Variant::default()).await?;
    let few = burst(1_000, Some(10), Variant::default()).await?;
    Ok(vec![
        Row::at_most("calls of Qlik Sense for an event, distinct tasks", distinct.calls, 4.0, ""),
        Row::at_most("calls of Qlik Sense for an event, 1,000 failures of 10 tasks", few.calls, 1.1, ""),
    ])
}
