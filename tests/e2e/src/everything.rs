//! A daemon with every endpoint: a Qlik Sense, a tenant of Qlik Cloud, and the far end of each plugin that has endpoints.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use crate::butler::command;
use crate::{Answer, Butler, Mosquitto, NewRelic, Sense, Sink, Slack, Tenants, http, wait_for};

/// The daemon and all that it talks to.
pub struct Everything {
    /// The daemon.
    pub butler: Butler,
    /// Qlik Sense.
    pub sense: Sense,
    /// Slack.
    pub slack: Slack,
    /// The broker.
    pub broker: Mosquitto,
    /// New Relic.
    pub relic: NewRelic,
    /// The tenant.
    pub tenants: Tenants,
    /// Refuses what the instance `dead` posts.
    pub refusing: Sink,
    tokens: BTreeMap<String, String>,
}

impl Everything {
    /// Id of the tenant.
    pub const TENANT: &'static str = "acme";

    /// Starts all of it. `tokens`: names and scopes, separated by commas. `rest`: more lines of that section.
    ///
    /// # Panics
    /// When something does not start.
    pub async fn start(tokens: &[(&str, &str)], rest: &str) -> Self {
        let sense = Sense::start().await;
        let (broker, slack, relic) = (Mosquitto::start().await, Slack::start().await, NewRelic::start().await);
        let tenants = Tenants::start(&[Self::TENANT]).await;
        let refusing = Sink::start().await;
        refusing.always(Some(Answer::Status(400)));
        let authority = format!("{}.pem", Self::TENANT);
        std::fs::copy(tenants.folder().path().join(&authority), sense.folder().join(&authority))
            .expect("the folder can be written");

        let mut entries = String::new();
        let mut secrets = BTreeMap::new();
        for (name, scopes) in tokens {
            let made = command(&["token", "new", "--name", name, "--scopes", scopes]).await.stdout;
            let (_, entry) = made.split_once("tokens:\n").expect("an entry for the config");
            entries.push_str(entry.trim_end());
            entries.push('\n');
            let secret = made.split("Bearer ").nth(1).and_then(|rest| rest.split('`').next()).expect("a token");
            secrets.insert((*name).to_owned(), secret.to_owned());
        }
        let mut config = format!("rest:\n  listen: 127.0.0.1:0\n  maxPerMinute: 0\n  tokens:\n{entries}{rest}\n");
        config.push_str(&tenants.section(""));
        let _ = write!(
            config,
            "plugins:\n  - use: slack\n    settings: {{ webhookUrl: {} }}\n  - use: mqtt\n    settings: {{ url: \"{}\" }}\n  \
             - use: new-relic\n    settings: {{ {} }}\n  - use: webhook\n    name: dead\n    settings: {{ url: {} }}\n",
            slack.webhook(),
            broker.url(),
            relic.settings(),
            refusing.url("/")
        );
        let files = sense.folder().join("files");
        for folder in ["in", "out", "new", "qvd"] {
            std::fs::create_dir_all(files.join(folder)).expect("the folder can be written");
        }
        for name in ["a.txt", "move.txt"] {
            std::fs::write(files.join("in").join(name), name).expect("the folder can be written");
        }
        config.push_str(
            "  - use: active-users\n  - use: key-value\n  - use: file-ops\n    settings:\n      copy: [{ from: files/in, to: files/out }]\n      \
             move: [{ from: files/in, to: files/out }]\n      delete: [files/out]\n      createDir: [files/new]\n      \
             qvdDir: files/qvd\n",
        );
        let butler = sense.butler_under(&Tenants::environment(), &config).await;
        let everything = Self { butler, sense, slack, broker, relic, tenants, refusing, tokens: secrets };
        everything.wait_well().await;
        everything
    }

    /// A token by its name.
    ///
    /// # Panics
    /// When there is none of that name.
    pub fn token(&self, name: &str) -> &str {
        self.tokens.get(name).map_or_else(|| panic!("there is no token `{name}`"), String::as_str)
    }

    /// The folder of the file operations: `in`, `out`, `new` and `qvd` are approved.
    pub fn files(&self) -> PathBuf {
        self.sense.folder().join("files")
    }

    /// Waits until all instances run and are well, and connected.
    ///
    /// # Panics
    /// When they do not.
    pub async fn wait_well(&self) {
        wait_for("all instances to be well", || async {
            let (_, answer) = self.butler.get("/v5/plugins").await;
            let mut instances = answer["plugins"].as_array()?.iter();
            let well = instances.all(|it| it["condition"]["state"] == "running" && it["health"]["state"] == "good");
            well.then_some(())
        })
        .await;
        // It is well also while it has not yet been connected.
        wait_for("the connection to the broker", || async {
            let request = http().put(format!("{}/v4/mqttpublishmessage", self.butler.rest()));
            let request = request.bearer_auth(self.butler.token()).header("content-type", "application/json");
            let answer = request.body(r#"{"topic":"e2e/ready","message":""}"#).send().await.ok()?;
            matches!(answer.status().as_u16(), 201 | 404).then_some(())
        })
        .await;
    }
}
