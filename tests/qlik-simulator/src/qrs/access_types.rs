//! Answers about access licences that were given to users.
//!
//! As in the repository service, a list has no `skip` and `take`: whoever wants a part of it says so by the filter, and
//! asks `count` before.

use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Endpoint, Qrs, Reply, Route, query::Query};
use crate::site::{Access, AccessType, Released};

/// What is asked of a type.
enum Call {
    List,
    Count,
    One,
}

fn call(endpoint: Endpoint) -> Option<(AccessType, Call)> {
    Some(match endpoint {
        Endpoint::ProfessionalAccessFull => (AccessType::Professional, Call::List),
        Endpoint::ProfessionalAccessCount => (AccessType::Professional, Call::Count),
        Endpoint::ProfessionalAccessById => (AccessType::Professional, Call::One),
        Endpoint::AnalyzerAccessFull => (AccessType::Analyzer, Call::List),
        Endpoint::AnalyzerAccessCount => (AccessType::Analyzer, Call::Count),
        Endpoint::AnalyzerAccessById => (AccessType::Analyzer, Call::One),
        _ => return None,
    })
}

impl Qrs {
    /// The answer, if the request is about access licences.
    pub(super) fn access_types(&self, method: &Method, route: &Route, query: &Query) -> Option<Reply> {
        let (access_type, call) = call(route.endpoint)?;
        Some(match call {
            Call::One if *method == Method::DELETE => match self.site.write().release_access(access_type, &route.id) {
                Released::Done => Reply::no_content(),
                Released::Unknown => Reply::not_found(),
                Released::Forbidden => Reply::text(StatusCode::FORBIDDEN, "Forbidden"),
            },
            Call::One => match self.site.access(access_type, &route.id) {
                Some(access) => Reply::json(access.json().to_string()),
                None => Reply::not_found(),
            },
            Call::List => self.those(access_type, query, |found| {
                let mut objects: Vec<Value> = found.map(|access| access.json().clone()).collect();
                query.sort(&mut objects);
                Value::from(objects)
            }),
            Call::Count => self.those(access_type, query, |found| json!({ "value": found.count() })),
        })
    }

    fn those(
        &self,
        access_type: AccessType,
        query: &Query,
        answer: impl FnOnce(&mut dyn Iterator<Item = &Access>) -> Value,
    ) -> Reply {
        let filter = match query.filter() {
            Ok(filter) => filter,
            Err(error) => return Reply::text(StatusCode::BAD_REQUEST, error.to_string()),
        };
        let state = self.site.read();
        let fits = |access: &&Access| filter.as_ref().is_none_or(|filter| filter.matches(access.json()));
        Reply::json(answer(&mut state.accesses.of(access_type).iter().filter(fits)).to_string())
    }
}
