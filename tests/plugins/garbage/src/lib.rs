//! A plugin for the end-to-end tests that answers with the texts of its settings, whatever was asked.
//!
//! In its texts `HUGE` stands for 1 MB, `ENDLESS` for 70 MB. `BUTLER_E2E_MANIFEST` in the environment is its manifest, if it is there; with
//! `BUTLER_E2E_ENDPOINT` it has an endpoint.

use std::time::Duration;

use butler_plugin_api::abi::WireResponse;
use butler_plugin_api::abi::raw::RawPlugin;
use butler_plugin_api::{Endpoint, Manifest, Scope};
use serde_json::Value;

struct Garbage(Value);

impl Garbage {
    fn text(&self, entry: &str) -> Option<String> {
        Some(grown(self.0[entry].as_str()?))
    }
}

fn grown(text: &str) -> String {
    match text {
        "ENDLESS" => "x".repeat(70 << 20),
        text => text.replace("HUGE", &"x".repeat(1 << 20)),
    }
}

impl RawPlugin for Garbage {
    fn manifest() -> Result<String, String> {
        if let Ok(text) = std::env::var("BUTLER_E2E_MANIFEST") {
            return Ok(grown(&text));
        }
        let mut manifest =
            Manifest::new("garbage", "Makes no sense").default_events(&["reload-task.*"]).operation("check");
        manifest.deadline_seconds = 2;
        manifest.settings_schema = Value::Bool(true);
        if std::env::var_os("BUTLER_E2E_ENDPOINT").is_some() {
            manifest = manifest.endpoint(Endpoint::new("GET", "/v5/garbage", Scope::Read, "Answers garbage"));
        }
        serde_json::to_string(&manifest).map_err(|error| error.to_string())
    }

    fn create(_: &str, settings: &str) -> Result<Self, String> {
        Ok(Self(serde_json::from_str(settings).map_err(|error| error.to_string())?))
    }

    fn answer(&self, entry: &str, _: &str) -> Result<String, String> {
        // An instance with an error for an entry fails there.
        match self.text(&format!("{entry}Error")) {
            Some(error) => Err(error),
            None => Ok(self.text(entry).unwrap_or_default()),
        }
    }

    fn call(&self, _: &str) -> WireResponse {
        if self.0["block"] == true {
            loop {
                std::thread::sleep(Duration::from_mins(1));
            }
        }
        let header = self.text("header").unwrap_or_default();
        WireResponse {
            status: self.0["status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap_or(200),
            headers: vec![("x-told".to_owned(), header.clone()), (header, "a name".to_owned())],
            // What is no text stands before it.
            body: [&[0xff, 0xfe], self.text("body").unwrap_or_default().as_bytes()].concat(),
            options: self.text("options").unwrap_or_default(),
        }
    }
}

butler_plugin_api::export_raw!(Garbage);
