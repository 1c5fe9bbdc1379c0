//! `butler deliveries`: asks the running daemon.

use anyhow::Context as _;
use clap::Subcommand;
use serde_json::{Value, json};

use super::ConfigFile;
use super::client::Daemon;
use crate::daemon::Failure;

#[derive(Debug, Subcommand)]
pub(super) enum Deliveries {
    /// List deliveries, the newest first.
    List {
        #[command(flatten)]
        file: ConfigFile,
        /// Only in this state: pending, leased, delivered, dead, suppressed or parked.
        #[arg(long)]
        state: Option<String>,
        /// Only to this instance.
        #[arg(long)]
        instance: Option<String>,
        /// Only of this task, by its id.
        #[arg(long)]
        task: Option<String>,
        /// At most so many.
        #[arg(long, default_value_t = 50)]
        limit: u32,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Send deliveries that ended again.
    Retry {
        #[command(flatten)]
        file: ConfigFile,
        /// Ids as `list` shows them.
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Give the deliveries of an instance that is gone from the config, perhaps renamed, to another one.
    Move {
        #[command(flatten)]
        file: ConfigFile,
        /// The instance that is gone.
        old: String,
        /// The instance that gets them.
        new: String,
    },
}

impl Deliveries {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::List { file, state, instance, task, limit, json } => {
                let mut query = vec![("limit", limit.to_string())];
                for (name, value) in [("state", state), ("instance", instance), ("task", task)] {
                    query.extend(value.map(|value| (name, value)));
                }
                let answer = Daemon::find(&file)?.get("/v5/deliveries", &query).await?;
                if json {
                    println!("{answer:#}");
                } else {
                    print(&answer);
                }
            }
            Self::Retry { file, ids } => {
                let daemon = Daemon::find(&file)?;
                for id in ids {
                    let path = format!("/v5/deliveries/{id}/retry");
                    daemon.post(&path, &Value::Null).await.with_context(|| id.clone())?;
                    println!("{id} is pending again");
                }
            }
            Self::Move { file, old, new } => {
                let moved =
                    Daemon::find(&file)?.post("/v5/deliveries/move", &json!({ "from": old, "to": new })).await?;
                println!("{} open deliveries of {old} go to {new} now", moved["moved"]);
            }
        }
        Ok(())
    }
}

fn print(answer: &Value) {
    println!("{:<18} {:<10} {:<18} {:<26} {:<24} {:>3}  ERROR", "ID", "STATE", "INSTANCE", "KIND", "CREATED", "TRY");
    let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
    for row in answer["deliveries"].as_array().into_iter().flatten() {
        println!(
            "{:<18} {:<10} {:<18} {:<26} {:<24} {:>3}  {}",
            text(row, "id"),
            text(row, "state"),
            text(row, "instance"),
            text(row, "kind"),
            text(row, "createdAt"),
            row["attempt"],
            text(row, "error").chars().take(80).collect::<String>(),
        );
    }
}
