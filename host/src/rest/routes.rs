//! The table of routes.
//!
//! Paths are compared segment by segment; a fixed segment wins over a parameter. Paths are case-sensitive, and a slash more
//! is another path. There are some dozens of routes: looking at each is fast enough.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::Method;
use butler_plugin_api::{Endpoint, Scope};
use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::answer::Failure;
use super::coerce::Shape;
use super::documentation::Documents;
use super::endpoints::Mount;
use super::own::{self, Declared, Own};
use super::switches::Switches;

/// Why the routes of the plugins cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// Two want the same.
    #[error("{first} and {second} both serve `{method} {path}`; take one of them out of `plugins:`")]
    Taken {
        /// Method.
        method: String,
        /// Path.
        path: String,
        /// Who was first: the instance, or Butler itself.
        first: String,
        /// Who came second.
        second: String,
    },
    /// A manifest declares what cannot be served.
    #[error("{owner} cannot serve its endpoint `{method} {path}`: {cause}; that is a fault of its plugin")]
    Invalid {
        /// The instance.
        owner: String,
        /// Method.
        method: String,
        /// Path.
        path: String,
        /// What is wrong.
        cause: String,
    },
}

/// Who answers.
pub(super) enum Target {
    Own(Own),
    Plugin(Box<Mount>),
}

pub(super) struct Route {
    method: Method,
    /// As declared.
    pub(super) endpoint: Endpoint,
    pub(super) segments: Vec<Segment>,
    /// `None`: for everybody.
    pub(super) scope: Option<Scope>,
    pub(super) body: Option<Shape>,
    /// The media type of a body that is not JSON.
    pub(super) raw: Option<&'static str>,
    pub(super) query: Option<Shape>,
    pub(super) target: Target,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Segment {
    Fixed(String),
    Parameter(String),
}

impl Segment {
    /// The name of a parameter.
    pub(super) fn parameter(&self) -> Option<&str> {
        match self {
            Self::Fixed(_) => None,
            Self::Parameter(name) => Some(name),
        }
    }
}

/// Path parameters by name, decoded.
pub(super) type Params = BTreeMap<String, String>;

/// All routes.
pub(super) struct Table {
    routes: Vec<Route>,
    /// What is off.
    pub(super) switches: Switches,
    /// The descriptions of them, once somebody has asked.
    pub(super) documents: Documents,
}

impl Table {
    /// The host's own routes.
    pub(super) fn own() -> Self {
        let routes = own::endpoints().into_iter().map(route).collect();
        Self { routes, switches: Switches::default(), documents: Documents::default() }
    }

    /// The host's own routes and those of plugins, without what is switched off.
    pub(super) fn with(mounts: Vec<Mount>, switches: Switches) -> Result<Self, RouteError> {
        let mut table = Self::own();
        for mount in mounts {
            table.mount(mount)?;
        }
        table.routes.retain(|route| !switches.turn_off(route));
        table.switches = switches;
        Ok(table)
    }

    /// The host's first, in the order of their declaration.
    pub(super) fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// The names of the endpoints, each once; some have none.
    pub(super) fn names(&self) -> Vec<&str> {
        let mut seen = BTreeSet::new();
        let names = self.routes.iter().map(|route| route.endpoint.name.as_str());
        names.filter(|name| !name.is_empty() && seen.insert(*name)).collect()
    }

    /// Adds an endpoint of a plugin. A shared one that another instance of the plugin serves already is passed over.
    pub(super) fn mount(&mut self, mount: Mount) -> Result<(), RouteError> {
        let route = declared(mount)?;
        let same = |other: &&Route| other.method == route.method && same_place(&other.segments, &route.segments);
        if let Some(other) = self.routes.iter().find(same) {
            if other.shares_with(&route) {
                return Ok(());
            }
            return Err(RouteError::Taken {
                method: route.method.to_string(),
                path: route.endpoint.path.clone(),
                first: other.owner(),
                second: route.owner(),
            });
        }
        self.routes.push(route);
        Ok(())
    }

    /// The route of a request, with the parameters of its path. `HEAD` is `GET` without the body.
    pub(super) fn find(&self, method: &Method, path: &str) -> Option<(&Route, Result<Params, Failure>)> {
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        let parts: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        let fits = |route: &&Route| {
            route.method == *method
                && route.segments.len() == parts.len()
                && route.segments.iter().zip(&parts).all(|(segment, part)| match segment {
                    Segment::Fixed(text) => text == part,
                    Segment::Parameter(_) => true,
                })
        };
        let is_parameter = |segment: &Segment| matches!(segment, Segment::Parameter(_));
        let fitting = self.routes.iter().filter(fits);
        let route = fitting
            .min_by(|one, other| one.segments.iter().map(is_parameter).cmp(other.segments.iter().map(is_parameter)))?;
        Some((route, params(route, &parts)))
    }
}

impl Route {
    /// The plugin that serves it; `None`: the host does.
    pub(super) fn plugin(&self) -> Option<&str> {
        match &self.target {
            Target::Own(_) => None,
            Target::Plugin(mount) => Some(&mount.plugin),
        }
    }

    fn owner(&self) -> String {
        match &self.target {
            Target::Own(_) => "Butler itself".to_owned(),
            Target::Plugin(mount) => owner(mount),
        }
    }

    /// Whether two instances of one plugin declare it, and either may serve it.
    fn shares_with(&self, other: &Self) -> bool {
        match (&self.target, &other.target) {
            (Target::Plugin(one), Target::Plugin(two)) => {
                one.plugin == two.plugin && self.endpoint.shared && other.endpoint.shared
            }
            _ => false,
        }
    }
}

fn owner(mount: &Mount) -> String {
    format!("the instance `{}`", mount.instance)
}

fn params(route: &Route, parts: &[&str]) -> Result<Params, Failure> {
    let mut params = Params::new();
    for (segment, part) in route.segments.iter().zip(parts) {
        if let Segment::Parameter(name) = segment {
            let malformed =
                || Failure::bad_request(format!("the part `{part}` of the path is not percent-encoded UTF-8"));
            if !is_percent_encoded(part) {
                return Err(malformed());
            }
            let text = percent_decode_str(part).decode_utf8().map_err(|_| malformed())?;
            params.insert(name.clone(), text.into_owned());
        }
    }
    Ok(params)
}

/// Whether each `%` begins an escape.
fn is_percent_encoded(text: &str) -> bool {
    text.split('%').skip(1).all(|after| {
        let digits = after.as_bytes();
        digits.len() >= 2 && digits[..2].iter().all(u8::is_ascii_hexdigit)
    })
}

pub(super) fn segments(path: &str) -> Vec<Segment> {
    let parts = path.strip_prefix('/').unwrap_or(path).split('/');
    parts
        .map(|part| match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
            Some(name) => Segment::Parameter(name.to_owned()),
            None => Segment::Fixed(part.to_owned()),
        })
        .collect()
}

/// Whether two paths serve the same requests.
pub(super) fn same_place(one: &[Segment], other: &[Segment]) -> bool {
    shape(one).eq(shape(other))
}

/// What two paths have in common that serve the same requests: names of parameters do not matter.
fn shape(segments: &[Segment]) -> impl Iterator<Item = Option<&str>> {
    segments.iter().map(|segment| match segment {
        Segment::Fixed(text) => Some(text.as_str()),
        Segment::Parameter(_) => None,
    })
}

/// The route of an endpoint of the host.
fn route(declared: Declared) -> Route {
    let Declared { endpoint, open, raw, own } = declared;
    let constant = "the endpoints of the host are constants, and each test of the table makes them all";
    Route {
        method: Method::from_bytes(endpoint.method.as_bytes()).expect(constant),
        segments: segments(&endpoint.path),
        scope: (!open).then_some(endpoint.scope),
        body: Shape::new(&endpoint.body).expect(constant),
        raw,
        query: Shape::new(&endpoint.query).expect(constant),
        endpoint,
        target: Target::Own(own),
    }
}

/// The route of an endpoint, if its manifest makes sense.
fn declared(mount: Mount) -> Result<Route, RouteError> {
    let endpoint = mount.endpoint.clone();
    let segments = segments(&endpoint.path);
    let invalid = |cause: String| RouteError::Invalid {
        owner: owner(&mount),
        method: endpoint.method.clone(),
        path: endpoint.path.clone(),
        cause,
    };
    if let Some(fault) = endpoint.fault() {
        return Err(invalid(fault));
    }
    let method = Method::from_bytes(endpoint.method.as_bytes()).map_err(|error| invalid(error.to_string()))?;
    let schema = |part: &str, schema: &Value| {
        Shape::new(schema).map_err(|cause| invalid(format!("the schema of its {part} is wrong: {cause}")))
    };
    let (body, query) = (schema("body", &endpoint.body)?, schema("query", &endpoint.query)?);
    Ok(Route {
        method,
        segments,
        scope: Some(endpoint.scope),
        body,
        raw: None,
        query,
        endpoint,
        target: Target::Plugin(Box::new(mount)),
    })
}

#[cfg(test)]
mod tests {
    use butler_plugin_api::Endpoint;

    use super::*;

    fn mount(instance: &str, method: &str, path: &str) -> Mount {
        Mount::fake(instance, Endpoint::new(method, path, Scope::Kv, ""), |_| unreachable!("not called"))
    }

    fn table(paths: &[(&str, &str)]) -> Table {
        let mut table = Table::own();
        for (method, path) in paths {
            table.mount(mount("one", method, path)).unwrap();
        }
        table
    }

    #[test]
    fn fixed_segments_win_and_parameters_are_decoded() {
        let table = table(&[
            ("PUT", "/v4/rooms/{roomId}/start"),
            ("PUT", "/v4/rooms/all/{verb}"),
            ("GET", "/v4/rooms/status"),
            ("DELETE", "/v4/rooms/{id}"),
            ("DELETE", "/v4/keyvalues/{ns}/{key}"),
        ]);
        let found = |method: Method, path: &str| {
            let (route, params) = table.find(&method, path)?;
            let params = params.unwrap().into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>();
            Some(format!("{} {}", route.endpoint.path, params.join(" ")))
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(found(Method::PUT, "/v4/rooms/7/start"), some("/v4/rooms/{roomId}/start roomId=7"));
        assert_eq!(found(Method::PUT, "/v4/rooms/all/start"), some("/v4/rooms/all/{verb} verb=start"));
        assert_eq!(found(Method::HEAD, "/v4/rooms/status"), some("/v4/rooms/status "));
        assert_eq!(found(Method::PUT, "/v4/rooms//start"), some("/v4/rooms/{roomId}/start roomId="));
        assert_eq!(
            found(Method::DELETE, "/v4/keyvalues/a%20b/x%2Fy%C3%A4"),
            some("/v4/keyvalues/{ns}/{key} key=x/yä ns=a b")
        );
        for (method, path) in [
            (Method::GET, "/v4/rooms/7"),
            (Method::GET, "/v4/butlerping/"),
            (Method::GET, "/V4/butlerping"),
            (Method::GET, "//v4/butlerping"),
            (Method::GET, "/"),
            (Method::OPTIONS, "/v4/butlerping"),
            (Method::PATCH, "/v4/butlerping"),
            (Method::POST, "/v4/butlerping"),
        ] {
            assert_eq!(found(method, path), None, "{path}");
        }
        for path in ["/v4/keyvalues/a/%zz", "/v4/keyvalues/a/%", "/v4/keyvalues/a/%ff", "/v4/keyvalues/a/%e"] {
            assert!(table.find(&Method::DELETE, path).unwrap().1.is_err(), "{path}");
        }
    }

    #[test]
    fn the_same_route_twice_names_both() {
        let mut table = table(&[("GET", "/v4/keyvalues/{namespace}")]);
        table.mount(mount("two", "DELETE", "/v4/keyvalues/{ns}")).unwrap();
        let error = table.mount(mount("two", "GET", "/v4/keyvalues/{ns}")).unwrap_err().to_string();
        assert_eq!(
            error,
            "the instance `one` and the instance `two` both serve `GET /v4/keyvalues/{ns}`; take one of them out of `plugins:`"
        );
        let error = table.mount(mount("two", "GET", "/metrics")).unwrap_err().to_string();
        assert!(error.starts_with("Butler itself and the instance `two` both serve `GET /metrics`"), "{error}");
    }

    #[test]
    fn a_shared_endpoint_is_served_by_the_first_instance_of_its_plugin() {
        let shared = |instance: &str, plugin: &str, shared: bool| {
            let mut mount = mount(instance, "PUT", "/v4/post");
            (mount.plugin, mount.endpoint.shared) = (plugin.to_owned(), shared);
            mount
        };
        let with = |mounts| Table::with(mounts, Switches::default());
        let table = with(vec![shared("one", "chat", true), shared("two", "chat", true)]).unwrap();
        assert_eq!(table.find(&Method::PUT, "/v4/post").unwrap().0.owner(), "the instance `one`");
        for second in [shared("two", "talk", true), shared("two", "chat", false)] {
            assert!(matches!(
                with(vec![shared("one", "chat", true), second]),
                Err(RouteError::Taken { first, .. }) if first == "the instance `one`"
            ));
        }
    }

    #[test]
    fn what_cannot_be_served_is_the_plugins_fault() {
        let bad = [
            ("get", "/a"),
            ("PATCH", "/a"),
            ("GET", "a"),
            ("GET", "/a//b"),
            ("GET", "/a/"),
            ("GET", "/{}"),
            ("GET", "/a{b}"),
            ("GET", "/{a}/{a}"),
            ("GET", "/a?b"),
            ("GET", "/ä"),
        ];
        for (method, path) in bad {
            let error = Table::own().mount(mount("one", method, path)).unwrap_err();
            assert!(matches!(error, RouteError::Invalid { .. }), "{method} {path}");
        }
        let mut wrong = mount("one", "GET", "/a");
        wrong.endpoint.query = serde_json::json!({ "type": "nonsense" });
        let error = Table::own().mount(wrong).unwrap_err().to_string();
        assert!(error.contains("the schema of its query is wrong") && error.contains("fault of its plugin"), "{error}");
    }
}
