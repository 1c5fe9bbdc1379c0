//! The measurements, each with a name.

mod accept;
mod boundary;
mod burst;
mod drain;
mod history;
mod key_value;
mod latency;
mod messages;
mod neighbour;
mod qlik;
mod slow;
mod start;

use clap::ValueEnum;

use crate::table::Row;

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Measurement {
    /// From the start of the process until it is ready, with three plugins.
    Start,
    /// 1,000 and 10,000 datagrams at once: loss, events/s, CPU, memory.
    Burst,
    /// CPU of a burst of 1,000 whose script logs are fetched and kept.
    ScriptLog,
    /// 50,000 datagrams/s for 10 s: loss, CPU, memory.
    Accept,
    /// From the datagram to the webhook's request, at 1 and 20 events/s.
    Latency,
    /// Latency beside an instance that keeps a processor busy for ever.
    Neighbour,
    /// Calls of Qlik Sense for an event.
    QlikCalls,
    /// 1,000 events of 50 tasks while a call of Qlik Sense takes 200 ms, and 2 s: loss, calls, time, memory.
    SlowQlik,
    /// Deliveries/s into a plugin, without a store.
    Boundary,
    /// Messages/s of teams, slack and email; memory with 10,000 mails that cannot be sent yet.
    Messages,
    /// A queue that waited for its destination: events/s by mqtt at QoS 1, points/s by influxdb; latency of another instance.
    Drain,
    /// Start and memory with a million events in the store.
    History,
    /// Latency while hundreds of thousands of old events are removed.
    Retention,
    /// Reads/s and durable writes/s of the key-value store over HTTP, by `wrk`.
    KeyValue,
}

impl Measurement {
    /// Its name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// What it measures.
    pub fn about(self) -> String {
        let value = self.to_possible_value();
        value.and_then(|value| value.get_help().map(ToString::to_string)).unwrap_or_default()
    }

    /// Measures.
    pub async fn run(self) -> anyhow::Result<Vec<Row>> {
        match self {
            Self::Start => start::measure().await,
            Self::Burst => burst::measure().await,
            Self::ScriptLog => burst::measure_script_log().await,
            Self::Accept => accept::measure().await,
            Self::Latency => latency::measure().await,
            Self::Neighbour => neighbour::measure().await,
            Self::QlikCalls => qlik::measure().await,
            Self::SlowQlik => slow::measure().await,
            Self::Boundary => boundary::measure().await,
            Self::Messages => messages::measure().await,
            Self::Drain => drain::measure().await,
            Self::History => history::measure().await,
            Self::Retention => history::measure_retention().await,
            Self::KeyValue => key_value::measure().await,
        }
    }
}
