//! What is published where: entries of the settings, and the topics of Butler 16 behind them.

use butler_plugin_api::kind;
use butler_plugin_api::message::{Format, Template};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::client::Qos;
use crate::topic;

/// The variable with the node, in topics of messages of which there is one for each.
pub(crate) const ACTIVE_NODE: &str = "activeNode";
/// Most messages of one event.
const MOST_PARTS: usize = 16;

/// What is published about some kinds of events.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Entry {
    /// Kinds of events; `*` stands for any text.
    #[schemars(length(min = 1))]
    events: Vec<String>,
    /// The messages, in this order. Empty: these kinds are not published.
    #[schemars(length(max = 16))]
    publish: Vec<PartSettings>,
}

/// A message.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PartSettings {
    /// Topic; may hold variables of the event: `qlik/failed/{{taskName}}`. In their values `/`, `+`, `#` and control
    /// characters become `_`.
    #[schemars(length(min = 1))]
    topic: String,
    /// `event`: the whole event as JSON. `butler16`: the form of Butler 16. `name`: the name of the task (app, service, node)
    /// alone. `serviceState`: the form of Butler 16 for states of services. For `active-users.counted`: `userCount`, the number of
    /// users; `userIds`, their ids without directories as a JSON array; `userCountByNode`, a message with the number for
    /// each node, which is `{{activeNode}}` in the topic. Absent: `event`.
    #[serde(default)]
    payload: Option<PayloadForm>,
    /// In place of `payload`: a text of your own, which may hold variables of the event.
    #[serde(default)]
    text: Option<String>,
    /// Quality of service: 0, 1 or 2. Absent: `qos` of the instance.
    #[serde(default)]
    qos: Option<QosLevel>,
    /// Whether the broker keeps the message for later subscribers. Absent: `retain` of the instance.
    #[serde(default)]
    retain: Option<bool>,
}

/// What a message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum PayloadForm {
    Event,
    Butler16,
    Name,
    ServiceState,
    UserCount,
    UserIds,
    UserCountByNode,
}

/// Quality of service: 0, 1 or 2.
#[derive(Debug, Clone, Copy, Deserialize, Serialize, JsonSchema)]
pub(super) struct QosLevel(#[schemars(range(max = 2))] u8);

impl Default for QosLevel {
    fn default() -> Self {
        Self(1)
    }
}

pub(super) fn checked_qos(level: QosLevel, setting: &str) -> Result<Qos, String> {
    match level.0 {
        0 => Ok(Qos::AtMostOnce),
        1 => Ok(Qos::AtLeastOnce),
        2 => Ok(Qos::ExactlyOnce),
        other => Err(format!("`{setting}` is {other}: there are 0, 1 and 2")),
    }
}

/// One message about an event.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) topic: TopicOf,
    pub(crate) content: Content,
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
}

/// Where a message goes.
#[derive(Debug)]
pub(crate) enum TopicOf {
    /// Always there.
    Literal(String),
    /// `starts_with_dollar`: so does the template, so it is meant.
    Template { template: Box<Template>, starts_with_dollar: bool },
    /// Below this: host and name of the service.
    Service(String),
    /// Below this: the node that the message is about, and `count`.
    Node(String),
    /// Below this: subject and outcome of the kind.
    Kind(String),
    /// Where the event says; otherwise here.
    Posted(String),
}

/// What a message says.
#[derive(Debug)]
pub(crate) enum Content {
    Event,
    Butler16,
    Name,
    ServiceState,
    UserCount,
    UserIds,
    /// A message for each node.
    UserCountByNode,
    Text(String),
    Template(Box<Template>),
}

/// What is published about each kind of event.
#[derive(Debug)]
pub(crate) struct Routes {
    /// The first that has the kind decides; the last has all.
    entries: Vec<(Vec<String>, Vec<Part>)>,
    /// Where messages go whose topic cannot be made.
    pub(crate) other: TopicOf,
}

impl Routes {
    pub(super) fn new(entries: Vec<Entry>, root: &str, qos: Qos, retain: bool) -> Result<Self, String> {
        let mut checked = Vec::new();
        for (at, Entry { events, publish }) in entries.into_iter().enumerate() {
            if let Some(fault) = events.iter().find_map(|events| kind::pattern_fault(events)) {
                return Err(format!("`topics[{at}].events`: {fault}"));
            }
            if events.is_empty() || publish.len() > MOST_PARTS {
                return Err(format!(
                    "`topics[{at}]` needs at least one of `events`, and at most {MOST_PARTS} messages"
                ));
            }
            let mut parts = Vec::new();
            for (number, part) in publish.into_iter().enumerate() {
                parts.push(part.check(&format!("topics[{at}].publish[{number}]"), qos, retain)?);
            }
            if let Some(number) = parts.iter().position(Part::is_of_users)
                && let Some(other) = other_than_users(&events, &checked)
            {
                return Err(format!(
                    "`topics[{at}].publish[{number}].payload`: only `{}` has users to tell of, but the entry is for `{other}` too; \
                     give it an entry of its own, before this one",
                    kind::ACTIVE_USERS_COUNTED
                ));
            }
            checked.push((events, parts));
        }
        checked.extend(built_in(root, qos, retain));
        Ok(Self { entries: checked, other: TopicOf::Kind(format!("{root}/event")) })
    }

    /// The messages about a kind of event.
    pub(crate) fn parts(&self, kind: &str) -> &[Part] {
        let fits = |(events, _): &&(Vec<String>, Vec<Part>)| events.iter().any(|pattern| kind::matches(pattern, kind));
        self.entries.iter().find(fits).map(|(_, parts)| parts.as_slice()).unwrap_or_default()
    }

    /// Whether any message goes out with QoS 2.
    pub(crate) fn has_exactly_once(&self) -> bool {
        self.entries.iter().flat_map(|(_, parts)| parts).any(|part| part.qos == Qos::ExactlyOnce)
    }

    /// All messages that are made by templates, each with a kind that it is for.
    pub(crate) fn kinds_with_templates(&self) -> impl Iterator<Item = &'static str> {
        kind::ALL.iter().copied().filter(|kind| self.parts(kind).iter().any(Part::has_template))
    }
}

/// A kind without active users for which an entry decides, or a pattern of such kinds. `before`: the entries before it.
fn other_than_users<'a>(events: &'a [String], before: &[(Vec<String>, Vec<Part>)]) -> Option<&'a str> {
    let has = |events: &[String], kind: &str| events.iter().any(|pattern| kind::matches(pattern, kind));
    let is_other = |kind: &&str| {
        *kind != kind::ACTIVE_USERS_COUNTED && has(events, kind) && !before.iter().any(|(events, _)| has(events, kind))
    };
    let pattern = events.iter().map(String::as_str).find(|pattern| !kind::matches(pattern, kind::ACTIVE_USERS_COUNTED));
    pattern.or_else(|| kind::ALL.iter().copied().find(is_other))
}

impl Part {
    /// Whether it tells of active users, and of nothing else.
    fn is_of_users(&self) -> bool {
        matches!(self.content, Content::UserCount | Content::UserIds | Content::UserCountByNode)
    }

    pub(crate) fn has_template(&self) -> bool {
        matches!(self.topic, TopicOf::Template { .. }) || matches!(self.content, Content::Template(_))
    }
}

impl PartSettings {
    fn check(self, setting: &str, qos: Qos, retain: bool) -> Result<Part, String> {
        let has_node = self.topic.split("{{").skip(1).any(|rest| {
            let variable = rest.split("}}").next().unwrap_or_default();
            variable.contains(ACTIVE_NODE)
        });
        if matches!(self.payload, Some(PayloadForm::UserCountByNode)) && !has_node {
            return Err(format!(
                "`{setting}.topic`: `userCountByNode` is a message for each node, so its topic needs the node: `{{{{{ACTIVE_NODE}}}}}`"
            ));
        }
        let topic = match compile(&format!("{setting}.topic"), &self.topic)? {
            Some(template) => TopicOf::Template { template, starts_with_dollar: self.topic.starts_with('$') },
            None => match topic::fault(&self.topic) {
                Some(fault) => return Err(format!("`{setting}.topic`: {fault}")),
                None => TopicOf::Literal(self.topic),
            },
        };
        let content = match (self.payload, self.text) {
            (Some(_), Some(_)) => return Err(format!("`{setting}` has both `payload` and `text`: remove one of them")),
            (None, Some(text)) => match compile(&format!("{setting}.text"), &text)? {
                Some(template) => Content::Template(template),
                None => Content::Text(text),
            },
            (None | Some(PayloadForm::Event), None) => Content::Event,
            (Some(PayloadForm::Butler16), None) => Content::Butler16,
            (Some(PayloadForm::Name), None) => Content::Name,
            (Some(PayloadForm::ServiceState), None) => Content::ServiceState,
            (Some(PayloadForm::UserCount), None) => Content::UserCount,
            (Some(PayloadForm::UserIds), None) => Content::UserIds,
            (Some(PayloadForm::UserCountByNode), None) => Content::UserCountByNode,
        };
        let qos = self.qos.map_or(Ok(qos), |level| checked_qos(level, &format!("{setting}.qos")))?;
        Ok(Part { topic, content, qos, retain: self.retain.unwrap_or(retain) })
    }
}

/// `None` if there is nothing to fill in.
fn compile(setting: &str, text: &str) -> Result<Option<Box<Template>>, String> {
    if !text.contains("{{") {
        return Ok(None);
    }
    Template::new(setting, text, Format::Text)
        .map(|template| Some(Box::new(template)))
        .map_err(|error| error.to_string())
}

/// The topics of Butler 16, and of its versions 4 to 6 for sessions and active users; all other kinds have one of their own.
fn built_in(root: &str, qos: Qos, retain: bool) -> Vec<(Vec<String>, Vec<Part>)> {
    let below = |name: &str| format!("{root}/{name}");
    let literal = |name: &str| TopicOf::Literal(below(name));
    let service = |name: &str| TopicOf::Service(below(name));
    let part = |topic, content| Part { topic, content, qos, retain };
    let table = vec![
        (
            vec![kind::RELOAD_TASK_FAILED],
            vec![part(literal("task_failure"), Content::Name), part(literal("task_failure_full"), Content::Butler16)],
        ),
        (
            vec![kind::RELOAD_TASK_ABORTED],
            vec![part(literal("task_aborted"), Content::Name), part(literal("task_aborted_full"), Content::Butler16)],
        ),
        (
            vec![kind::SERVICE_STOPPED],
            vec![
                part(service("service_stopped"), Content::Butler16),
                part(service("service_status"), Content::ServiceState),
            ],
        ),
        (
            vec![kind::SERVICE_STARTED],
            vec![
                part(service("service_running"), Content::Butler16),
                part(service("service_status"), Content::ServiceState),
            ],
        ),
        (vec![kind::SERVICE_STATE], vec![part(service("service_status"), Content::ServiceState)]),
        (vec![kind::SERVER_LICENSE_STATUS], vec![part(literal("qliksense_server_license"), Content::Butler16)]),
        (
            vec![kind::SERVER_LICENSE_EXPIRING, kind::SERVER_LICENSE_EXPIRED],
            vec![part(literal("qliksense_server_license_expire"), Content::Butler16)],
        ),
        (
            vec![kind::UDP_LISTENING, kind::UDP_FAILED],
            vec![part(literal("butler/task_failure_server"), Content::Butler16)],
        ),
        (vec![kind::USER_SESSION_STARTED], vec![part(literal("session/start"), Content::Butler16)]),
        (vec![kind::USER_SESSION_STOPPED], vec![part(literal("session/stop"), Content::Butler16)]),
        (vec![kind::USER_CONNECTION_OPENED], vec![part(literal("connection/open"), Content::Butler16)]),
        (vec![kind::USER_CONNECTION_CLOSED], vec![part(literal("connection/close"), Content::Butler16)]),
        (
            vec![kind::ACTIVE_USERS_COUNTED],
            vec![
                part(TopicOf::Node(below("users/activeperserver")), Content::UserCountByNode),
                part(literal("users/active/count"), Content::UserCount),
                part(literal("users/active/usernames"), Content::UserIds),
            ],
        ),
        (vec![kind::MESSAGE_POSTED], vec![part(TopicOf::Posted(below("message")), Content::Butler16)]),
        (vec!["*"], vec![part(TopicOf::Kind(below("event")), Content::Event)]),
    ];
    let owned = |kinds: Vec<&str>| kinds.into_iter().map(str::to_owned).collect();
    table.into_iter().map(|(kinds, parts)| (owned(kinds), parts)).collect()
}
