//! Writes events as points to InfluxDB 1, 2 or 3.
//!
//! From an event to points: [`points`], with [`task`], [`site`] and [`general`] for the kinds, and [`script`] for script logs.
//! From a point to a line: [`line`], [`time`]. From lines to InfluxDB: [`batch`] joins those of several deliveries, [`write`]
//! finds out what became of each, [`server`] knows InfluxDB's addresses, and [`answer`] its answers.

mod answer;
mod batch;
mod general;
mod import;
mod line;
mod points;
mod script;
mod server;
mod settings;
mod site;
mod task;
mod time;
mod write;

use butler_plugin_api::butler16::LogLines;
use butler_plugin_api::{Delivery, DeliveryError, Health, Host, Manifest, OperationError, Plugin, StartError, kind};
use serde_json::Value;

use batch::Batcher;
use points::Maker;
use settings::{Checked, Settings};

/// Deliveries of one call, and calls at a time.
const BATCH: u32 = 1000;
const CALLS: u32 = 4;

struct Influxdb {
    maker: Maker,
    batcher: Batcher,
    host: Host,
}

impl Plugin for Influxdb {
    type Settings = Settings;

    fn manifest() -> Manifest {
        let also = [kind::SERVICE_STARTED, kind::ACCESS_LICENSE_RELEASED];
        let mut manifest = Manifest::new("influxdb", "Writes events as points to InfluxDB")
            .default_events(&[Manifest::ALERTS, &also].concat())
            .batch(BATCH)
            .concurrency(CALLS)
            .script_log()
            .operation("check")
            .operation("render")
            .operation("import");
        // To find out which of many points are refused takes many requests.
        manifest.deadline_seconds = 120;
        manifest
    }

    async fn start(settings: Settings, host: Host) -> Result<Self, StartError> {
        let Checked { server, maker, interval, points } = Checked::try_from(settings).map_err(StartError::Config)?;
        // InfluxDB is not asked for anything yet: Butler starts without it.
        let batcher = Batcher::new(host.clone(), server, interval, points, CALLS as usize);
        Ok(Self { maker, batcher, host })
    }

    async fn deliver(&self, delivery: &Delivery) -> Result<(), DeliveryError> {
        let mut results = self.deliver_batch(std::slice::from_ref(delivery)).await;
        results.pop().unwrap_or(Ok(()))
    }

    async fn deliver_batch(&self, deliveries: &[Delivery]) -> Vec<Result<(), DeliveryError>> {
        let mut tickets = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            let lines = self.lines(delivery).await;
            if lines.is_empty() {
                tracing::debug!(event = delivery.event.id, kind = delivery.event.kind, "nothing in it is a point");
                tickets.push(None);
            } else {
                tickets.push(Some(self.batcher.put(lines).await));
            }
        }
        let _waiting = self.batcher.call(deliveries.len() >= BATCH as usize);
        let mut results = Vec::with_capacity(tickets.len());
        for ticket in tickets {
            results.push(match ticket {
                Some(ticket) => ticket.outcome().await,
                None => Ok(()),
            });
        }
        results
    }

    async fn invoke(&self, operation: &str, input: Value) -> Result<Value, OperationError> {
        match operation {
            "check" => self.batcher.server().check(&self.host).await.map(Value::from).map_err(OperationError::Failed),
            "render" => {
                let delivery: Delivery = serde_json::from_value(input)
                    .map_err(|error| OperationError::Failed(format!("the input is no delivery: {error}")))?;
                Ok(Value::from(self.lines(&delivery).await.join("\n")))
            }
            other => Err(OperationError::Unsupported(other.to_owned())),
        }
    }

    fn import(old: Value) -> Result<Value, OperationError> {
        import::import(old)
    }

    async fn health(&self) -> Health {
        self.batcher.health()
    }
}

impl Influxdb {
    /// The lines of a delivery: the same, with the same times, however often it is repeated.
    async fn lines(&self, delivery: &Delivery) -> Vec<String> {
        let event = &delivery.event;
        let log = match (self.maker.script_log(event), &event.data.script_log) {
            (Some(wanted), Some(log)) => Some(LogLines::gather(log, &self.host, wanted.head, wanted.tail).await),
            _ => None,
        };
        let mut nanos = time::nanos(delivery);
        let mut lines = Vec::new();
        for point in self.maker.points(event, log.as_ref()) {
            lines.extend(point.line(nanos));
            nanos = nanos.map(|nanos| nanos.saturating_add(1));
        }
        lines
    }
}

butler_plugin_api::export!(Influxdb);

#[cfg(test)]
mod tests;
