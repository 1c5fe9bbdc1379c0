//! `butler deliveries`: asks the running daemon, whose address and token are in its run file.

use anyhow::{Context as _, bail};
use clap::Subcommand;
use serde_json::Value;

use super::ConfigFile;
use crate::config::{Document, TlsProfile};
use crate::daemon::Failure;
use crate::{qlik, rest};

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
}

/// A running daemon.
struct Daemon {
    client: reqwest::Client,
    run: rest::RunInfo,
}

impl Daemon {
    fn find(file: &ConfigFile) -> anyhow::Result<Self> {
        let store = Document::read(&file.config)?.store_path();
        let run = rest::RunInfo::read(&store)?;
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(qlik::profile(&TlsProfile::default())?)
            .no_proxy()
            .build()?;
        Ok(Self { client, run })
    }

    async fn ask(&self, method: reqwest::Method, path: &str, query: &[(&str, String)]) -> anyhow::Result<Value> {
        let mut url: reqwest::Url = format!("{}{path}", self.run.rest).parse()?;
        url.query_pairs_mut().extend_pairs(query);
        let answer = self.client.request(method, url).bearer_auth(&self.run.token).send().await;
        let answer = answer.with_context(|| format!("the daemon does not answer at {}", self.run.rest))?;
        let status = answer.status();
        let body: Value = serde_json::from_slice(&answer.bytes().await?).unwrap_or_default();
        if !status.is_success() {
            bail!("{}", body["message"].as_str().unwrap_or("the daemon refused without a reason"));
        }
        Ok(body)
    }
}

impl Deliveries {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::List { file, state, instance, task, limit, json } => {
                let mut query = vec![("limit", limit.to_string())];
                for (name, value) in [("state", state), ("instance", instance), ("task", task)] {
                    query.extend(value.map(|value| (name, value)));
                }
                let answer = Daemon::find(&file)?.ask(reqwest::Method::GET, "/v5/deliveries", &query).await?;
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
                    daemon.ask(reqwest::Method::POST, &path, &[]).await.with_context(|| id.clone())?;
                    println!("{id} is pending again");
                }
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
