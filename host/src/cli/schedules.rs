//! `butler schedules`: asks the running daemon; `next` needs none.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use clap::Subcommand;
use jiff::Timestamp;
use serde_json::Value;

use super::ConfigFile;
use super::client::Daemon;
use crate::daemon::Failure;
use crate::schedule::{Cron, Months, Zone};

#[derive(Debug, Subcommand)]
pub(super) enum Schedules {
    /// List the schedules, with their last and next runs.
    List {
        #[command(flatten)]
        file: ConfigFile,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Add the schedules of a file, of this Butler or of Butler 16: all, or none if anything is wrong.
    Import {
        #[command(flatten)]
        config: ConfigFile,
        /// YAML or JSON.
        #[arg(value_name = "FILE")]
        schedules: PathBuf,
        /// Replace schedules that have the same id.
        #[arg(long)]
        replace: bool,
    },
    /// Write all schedules as YAML.
    Export {
        #[command(flatten)]
        file: ConfigFile,
        /// As Butler 16 has them, with months from 0.
        #[arg(long)]
        butler16: bool,
    },
    /// Show when a cron expression comes next.
    Next {
        /// 5 or 6 fields, such as `0 6 * * 1-5`.
        cron: String,
        /// Name of the IANA database.
        #[arg(long, value_name = "ZONE", default_value = "UTC")]
        time_zone: String,
        /// How many times.
        #[arg(long, default_value_t = 5)]
        count: usize,
    },
}

impl Schedules {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::List { file, json } => {
                let answer = Daemon::find(&file)?.get("/v5/schedules", &[]).await?;
                if json {
                    println!("{answer:#}");
                } else {
                    print(&answer);
                }
            }
            Self::Import { config, schedules, replace } => {
                let text = std::fs::read_to_string(&schedules)
                    .with_context(|| format!("{} cannot be read", schedules.display()))?;
                let path = if replace { "/v5/schedules/import?replace=true" } else { "/v5/schedules/import" };
                let answer = Daemon::find(&config)?.post_text(path, text).await;
                let answer = answer.with_context(|| format!("nothing of {} is imported", schedules.display()))?;
                for warning in answer["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                    eprintln!("{warning}");
                }
                println!("{} schedules are imported", answer["imported"]);
            }
            Self::Export { file, butler16 } => {
                let query: &[_] = if butler16 { &[("format", "butler16".to_owned())] } else { &[] };
                print!("{}", Daemon::find(&file)?.get_text("/v5/schedules/export", query).await?);
            }
            Self::Next { cron, time_zone, count } => next(&cron, &time_zone, count)?,
        }
        Ok(())
    }
}

fn next(text: &str, zone: &str, count: usize) -> anyhow::Result<()> {
    let cron = Cron::parse(text, Months::FromOne).map_err(|error| anyhow!("`{text}`: {error}"))?;
    let zone = Zone::named(zone)?;
    let mut last = Timestamp::now();
    for _ in 0..count {
        let Some(next) = cron.next(last, zone.zone()) else {
            println!("no more until 2100");
            break;
        };
        println!("{}", next.to_zoned(zone.zone().clone()).strftime("%a %Y-%m-%d %H:%M:%S %:z"));
        last = next;
    }
    Ok(())
}

fn print(answer: &Value) {
    println!(
        "{:<36}  {:<8} {:<18} {:<20} {:<24}  {:<8} {:<24}  NAME",
        "ID", "STATE", "CRON", "TIME ZONE", "NEXT", "LAST", "AT"
    );
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    for row in answer["schedules"].as_array().into_iter().flatten() {
        println!(
            "{:<36}  {:<8} {:<18} {:<20} {:<24}  {:<8} {:<24}  {}",
            text(&row["id"]),
            match (row["error"].is_string(), row["enabled"] == true) {
                (true, _) => "error",
                (false, true) => "started",
                (false, false) => "stopped",
            },
            text(&row["cron"]),
            text(&row["timeZone"]),
            text(&row["nextRuns"][0]),
            text(&row["lastRun"]["result"]),
            text(&row["lastRun"]["planned"]),
            text(&row["name"]),
        );
        if let Some(error) = row["error"].as_str() {
            eprintln!("{} cannot run: {error}", text(&row["id"]));
        }
    }
}
