//! Where things are sent: New Relic's own addresses are a region, others are named.

use butler_plugin_api::import::Import;
use serde_json::{Map, Value};
use url::Url;

use crate::relic::usual;
use crate::settings::Region;

/// An address of one of the APIs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    /// New Relic's own.
    Own(Region),
    Other(String),
}

/// The addresses of an instance; absent are those that it does not use.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    pub(super) event: Option<Address>,
    pub(super) log: Option<Address>,
    pub(super) metric: Option<Address>,
}

/// Where metrics also go in the EU: Butler 16's sample config has it.
const METRICS_OF_SAMPLE: &str = "https://insights-collector.eu01.nr-data.net/metric/v1";

/// The address at a path, of the API that has this name under `urls`.
pub(super) fn read(import: &mut Import, path: &str, api: &str) -> Option<Address> {
    let text = import.text(path)?;
    let url = Url::parse(&text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let Some(url) = url else {
        import.todo(path, "it is no address of http or https, and is left out: set `region` or `urls`");
        return None;
    };
    import.redirects(path, &url);
    let plain = url.as_str().trim_end_matches('/');
    // Others of New Relic's hosts are other systems, such as that of the US government: they are no region.
    let region = [Region::Us, Region::Eu].into_iter().find(|region| usual(*region, api) == plain);
    let region = region.or((api == "metric" && plain == METRICS_OF_SAMPLE).then_some(Region::Eu));
    Some(region.map_or(Address::Other(text), Address::Own))
}

impl Addresses {
    /// Whether one instance can have both.
    pub(super) fn can_be(&self, other: &Self) -> bool {
        let pairs = [(&self.event, &other.event), (&self.log, &other.log), (&self.metric, &other.metric)];
        pairs.into_iter().all(|(one, other)| one.is_none() || other.is_none() || one == other)
    }

    pub(super) fn join(&mut self, other: Self) {
        self.event = self.event.take().or(other.event);
        self.log = self.log.take().or(other.log);
        self.metric = self.metric.take().or(other.metric);
    }

    /// The settings `region`, that of the first address, and `urls`, for those that are elsewhere.
    pub(super) fn write(&self, settings: &mut Map<String, Value>) {
        let all = [("event", &self.event), ("log", &self.log), ("metric", &self.metric)];
        let region = all.iter().find_map(|(_, address)| match address {
            Some(Address::Own(region)) => Some(*region),
            _ => None,
        });
        let mut urls = Map::new();
        for (name, address) in all {
            let url = match address {
                Some(Address::Other(url)) => url.clone(),
                Some(Address::Own(own)) if Some(*own) != region => usual(*own, name).to_owned(),
                _ => continue,
            };
            urls.insert(name.to_owned(), url.into());
        }
        if let Some(region) = region {
            settings.insert("region".to_owned(), if region == Region::Eu { "eu" } else { "us" }.into());
        }
        if !urls.is_empty() {
            settings.insert("urls".to_owned(), urls.into());
        }
    }
}
