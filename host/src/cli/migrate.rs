//! `butler migrate`: a config of Butler 16 as one of this Butler.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;

use crate::daemon::Failure;
use crate::migrate::{Migrated, Order, migrate};

#[derive(Debug, Args)]
pub(super) struct Migrate {
    /// Config file of Butler 16, or of a version before it.
    #[arg(value_name = "OLD.yaml")]
    old: PathBuf,
    /// File of schedules; absent: the one that the old config names.
    #[arg(long, value_name = "FILE")]
    schedule: Option<PathBuf>,
    /// Folder for the new files. None that is there is replaced.
    #[arg(long, value_name = "DIR", default_value = "butler-migrated")]
    out: PathBuf,
    /// Folder that the old Butler was started in: relative paths in its config start there, and nowhere else. Absent: they
    /// are looked for above the old file's folder if that is called `config`, beside the old file, and in the current folder.
    #[arg(long, value_name = "DIR")]
    base: Option<PathBuf>,
}

impl Migrate {
    pub(super) fn run(self) -> Result<(), Failure> {
        let Self { old, schedule, out, base } = self;
        let Migrated { summary, failure } = migrate(&Order { old, schedules: schedule, out, base })?;
        print!("{summary}");
        failure.map_or(Ok(()), |failure| Err(Failure::Other(anyhow!(failure))))
    }
}
