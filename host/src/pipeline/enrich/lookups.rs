//! Who is asked for the facts of an event.

use std::time::Duration;

use butler_plugin_api::{Event, kind};

use super::LONGEST_WAIT;
use crate::cloud::SOURCE;
use crate::qlik::{Cloud, CloudError, Enriched, Lookups, QlikError};

/// An event of a tenant for which many wait already, or that is not asked at present, is tried again after this time.
const CROWDED: Duration = Duration::from_secs(3);

/// Who is asked.
#[derive(Clone, Copy)]
pub(super) enum Asked<'a> {
    /// Qlik Sense.
    Sense(&'a Lookups),
    /// A tenant of Qlik Cloud.
    Cloud(&'a Cloud),
}

impl<'a> Asked<'a> {
    /// Who is to be asked about an event, if there is anybody. What plugins emit is their own business.
    pub(super) fn about(event: &Event, sense: Option<&'a Lookups>, cloud: &'a Cloud) -> Option<Self> {
        if event.kind == kind::CLOUD_APP_RELOAD_FAILED && event.source == SOURCE {
            return Some(Self::Cloud(cloud));
        }
        sense.filter(|_| of_sense(event)).map(Self::Sense)
    }

    /// For how long an event that waits for facts leaves memory, if it does: one tenant that is away must not fill it with its
    /// events and so delay those of others. `long`: it has waited for some time.
    pub(super) fn puts_off(self, enriched: &Enriched, long: bool) -> Option<Duration> {
        match (self, &enriched.transient) {
            (Self::Sense(_), _) => None,
            (
                Self::Cloud(_),
                Some(
                    QlikError::Cloud(
                        CloudError::Crowded { .. } | CloudError::Limited { .. } | CloudError::Token { .. },
                    )
                    | QlikError::Gated { .. },
                ),
            ) => Some(CROWDED),
            (Self::Cloud(_), _) => long.then_some(LONGEST_WAIT),
        }
    }

    pub(super) async fn enrich(self, event: &Event, received: i64, want_log: bool, patience: Duration) -> Enriched {
        match self {
            Self::Sense(sense) => sense.enrich(&event.data, &event.kind, received, want_log, patience).await,
            Self::Cloud(cloud) => cloud.enrich(&event.data, &event.kind, want_log, patience).await,
        }
    }
}

/// Whether an event is of Qlik Sense, and told with what it knows.
pub(super) fn of_sense(event: &Event) -> bool {
    let told_by_us = event.source == "butler" || event.source.starts_with("instance:");
    event.subject().ends_with("-task") && !told_by_us || event.kind == kind::APP_RELOAD_FAILED
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::Config;

    #[test]
    fn an_event_of_a_tenant_that_is_not_asked_at_present_leaves_memory_at_once() {
        let config: Config = serde_json::from_value(json!({ "version": 1 })).unwrap();
        let cloud = Cloud::new(&config).unwrap();
        let tenant = || "acme".to_owned();
        let pause = |error: QlikError, long: bool| {
            Asked::Cloud(&cloud).puts_off(&Enriched { transient: Some(error), ..Enriched::default() }, long)
        };
        let unreachable = || CloudError::Unreachable { tenant: tenant(), reason: String::new() };
        for error in [
            QlikError::Gated { last_error: String::new(), retry_in: Duration::ZERO },
            CloudError::Limited { tenant: tenant(), wait: Duration::ZERO }.into(),
            CloudError::Token { tenant: tenant(), fresh: true }.into(),
            CloudError::Crowded { tenant: tenant() }.into(),
        ] {
            assert_eq!(pause(error.clone(), false), Some(CROWDED), "{error}");
        }
        assert_eq!(pause(unreachable().into(), false), None);
        assert_eq!(pause(unreachable().into(), true), Some(LONGEST_WAIT));
    }
}
