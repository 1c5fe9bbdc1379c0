//! What the commands `butler check` and `butler render` ask.

use butler_plugin_api::{Delivery, OperationError};
use futures_util::future::join_all;
use serde_json::{Map, Value, json};

use crate::NewRelic;
use crate::api::{self, Api, Body};

impl NewRelic {
    /// Sends a list of nothing to each API that is used, by rules or by load scripts, for each account: nothing appears, and the key is looked at.
    pub(crate) async fn check(&self) -> Result<Value, OperationError> {
        let relic = &self.relic;
        let rules = [(Api::Event, &relic.events), (Api::Log, &relic.logs), (Api::Metric, &relic.metrics)];
        let used = rules.into_iter().filter(|(_, rules)| !rules.is_empty()).map(|(api, _)| api);
        let mut probes: Vec<_> = used
            .flat_map(|api| relic.accounts.iter().map(move |account| (api, account, relic.headers.as_slice())))
            .collect();
        for (api, post) in [(Api::Event, &relic.rest_event), (Api::Metric, &relic.rest_metric)] {
            for account in post.accounts.iter().map(|index| &relic.accounts[*index]) {
                if !probes.iter().any(|probe| probe.0 == api && probe.1 == account) {
                    probes.push((api, account, post.headers.as_slice()));
                }
            }
        }
        let body = Body::from("[]".to_owned());
        let sent = join_all(probes.iter().map(|(api, account, headers)| {
            api::send(&self.host, relic, (*api, account), headers, &body, api::TIMEOUT)
        }))
        .await;
        let (mut fine, mut faults) = (Vec::new(), Vec::new());
        for ((api, account, _), sent) in probes.iter().zip(sent) {
            let place = format!("account `{}`, {}", account.name, api.name());
            match sent {
                Ok(_) => fine.push(place),
                // About the request of nothing: the key was not the fault.
                Err(refusal) if matches!(refusal.status, Some(400 | 411 | 422)) => fine.push(place),
                Err(refusal) => faults.push(format!("{place}: {}", refusal.error)),
            }
        }
        if !faults.is_empty() {
            return Err(OperationError::Failed(faults.join("; ")));
        }
        Ok(Value::from(format!("New Relic does not refuse the keys ({}); nothing was sent", fine.join("; "))))
    }

    /// The requests for the delivery in the input.
    pub(crate) async fn render(&self, input: Value) -> Result<Value, OperationError> {
        let delivery: Delivery = serde_json::from_value(input)
            .map_err(|error| OperationError::Failed(format!("the input is no delivery: {error}")))?;
        let jobs = self.jobs(&delivery).await.map_err(|error| OperationError::Failed(error.to_string()))?;
        let mut requests = Vec::new();
        for job in &jobs {
            for account in job.accounts.iter().map(|index| &self.relic.accounts[*index]) {
                for body in &job.bodies {
                    let headers = api::headers(account, &self.relic.headers, body);
                    let headers: Map<String, Value> =
                        headers.into_iter().map(|(name, value)| (name, Value::from(value))).collect();
                    // As text, before it is compressed: as JSON it would lose the order of its attributes.
                    requests
                        .push(json!({ "method": "POST", "url": job.api.url(&self.relic, account), "headers": headers,
                                          "body": body.text }));
                }
            }
        }
        Ok(json!({ "requests": requests }))
    }
}
