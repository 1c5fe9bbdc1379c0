//! The messages about one event.

use butler_plugin_api::message::{Cut, Facts, Presentation};
use butler_plugin_api::{Delivery, DeliveryError, Event, Host};
use serde_json::{Value, json};

use crate::client::{Message, Properties};
use crate::metadata::Metadata;
use crate::payload::{self, Payload};
use crate::settings::{ACTIVE_NODE, Content, Part, Routes, TopicOf};
use crate::topic;

/// How much of a topic names a message in the progress of a delivery, and all of the names: hosts keep 16 KB.
const SHOWN: usize = 200;
const LONGEST_PROGRESS: usize = 15_000;

/// A message, and what names it in the progress of a delivery.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Planned {
    pub(crate) name: String,
    pub(crate) message: Message,
    pub(crate) properties: Properties,
}

/// What the messages are made with.
pub(crate) struct Planner<'a> {
    pub(crate) host: &'a Host,
    pub(crate) routes: &'a Routes,
    pub(crate) presentation: &'a Presentation,
    /// Without it nobody is asked for the whole task and app.
    pub(crate) metadata: Option<&'a Metadata>,
}

/// The messages that are still to be published, and what is wrong with a template.
pub(crate) struct Plan {
    pub(crate) messages: Vec<Planned>,
    pub(crate) trouble: Option<String>,
    /// Why a topic cannot be, although its template works: the event lacks something.
    pub(crate) misplaced: Option<String>,
}

/// The variables of templates.
struct Variables {
    /// With texts as they are.
    plain: Value,
    /// With texts that each stand for one level of a topic.
    levels: Value,
    /// The same for topics of which there is one for each node, with the node. Lists of users and nodes are not there: each
    /// rendering takes a copy.
    of_node: Value,
}

impl Planner<'_> {
    /// Leaves out what the progress of the delivery says has arrived. The error is a reject: there is nowhere to publish.
    pub(crate) async fn plan(&self, delivery: &Delivery) -> Result<Plan, DeliveryError> {
        let event = &delivery.event;
        let parts = self.routes.parts(&event.kind);
        let has_template = parts.iter().any(Part::has_template);
        let mut variables = if has_template { Some(self.variables(delivery).await) } else { None };
        let mut plan = Plan { messages: Vec::new(), trouble: None, misplaced: None };
        let mut each = Vec::new();
        for (number, part) in parts.iter().enumerate() {
            for node in payload::occasions(&part.content, event) {
                each.push((number, part, node));
            }
        }
        for (number, part, node) in each {
            if let (Some(node), Some(variables)) = (node, variables.as_mut()) {
                variables.of_node[ACTIVE_NODE] = topic::level(node).into();
            }
            let topic = match topic_of(part, event, node, variables.as_ref()) {
                Err(why) => {
                    plan.trouble = Some(why);
                    kind_topic(&self.routes.other, event)
                }
                Ok(topic) => match (possible(part, &topic), &part.topic) {
                    (Ok(()), _) => topic,
                    // Whoever posted it asked for this topic and no other.
                    (Err(why), TopicOf::Posted(_)) => return Err(DeliveryError::reject(why)),
                    (Err(why), _) => {
                        plan.misplaced = Some(why);
                        kind_topic(&self.routes.other, event)
                    }
                },
            };
            let name = name(number, &topic);
            if has_arrived(delivery, &name) {
                continue;
            }
            let Payload { bytes, content_type } = match self.payload(part, event, node, variables.as_ref()).await {
                Ok(payload) => payload,
                Err(why) => {
                    plan.trouble = Some(why);
                    payload::event(event)
                }
            };
            let user = vec![("eventId", event.id.clone()), ("deliveryId", delivery.delivery_id.clone())];
            let properties = Properties { content_type: Some(content_type), user };
            let message = Message { topic, payload: bytes, qos: part.qos, retain: part.retain };
            plan.messages.push(Planned { name, message, properties });
        }
        Ok(plan)
    }

    async fn variables(&self, delivery: &Delivery) -> Variables {
        let plain = Facts::gather(delivery, self.host, self.presentation).await.context(Cut::NONE);
        let mut levels = plain.clone();
        topic::clean(&mut levels);
        let mut of_node = Value::Null;
        if delivery.event.data.active_users.is_some() {
            of_node = levels.clone();
            if let Some(users) = of_node["activeUsers"].as_object_mut() {
                users.retain(|name, _| name == "count");
            }
        }
        Variables { plain, levels, of_node }
    }

    async fn payload(
        &self,
        part: &Part,
        event: &Event,
        node: Option<&str>,
        variables: Option<&Variables>,
    ) -> Result<Payload, String> {
        Ok(match &part.content {
            Content::Event => payload::event(event),
            Content::Butler16 => payload::butler16(event, self.metadata).await,
            Content::Name => payload::name(event),
            Content::ServiceState => payload::service_state(event),
            Content::UserCount => payload::user_count(event),
            Content::UserIds => payload::user_ids(event),
            Content::UserCountByNode => payload::user_count_of(event, node.unwrap_or_default()),
            Content::Text(text) => Payload::text(text.as_str()),
            Content::Template(template) => {
                let context = variables.map_or(&Value::Null, |variables| &variables.plain);
                Payload::text(template.text(context).map_err(|error| error.to_string())?)
            }
        })
    }
}

/// Why nothing can be published there.
fn possible(part: &Part, topic: &str) -> Result<(), String> {
    if let Some(fault) = topic::fault(topic) {
        return Err(fault);
    }
    let is_meant = !matches!(part.topic, TopicOf::Template { starts_with_dollar: false, .. } | TopicOf::Posted(_));
    if topic.starts_with('$') && !is_meant {
        let topic = topic::shown(topic);
        return Err(format!(
            "the topic `{topic}` begins with `$`, which is the broker's own; begin the template with another text"
        ));
    }
    Ok(())
}

/// The error tells of a template that does not work. `node`: the one that the message is about, where there is one for each.
fn topic_of(part: &Part, event: &Event, node: Option<&str>, variables: Option<&Variables>) -> Result<String, String> {
    Ok(match &part.topic {
        TopicOf::Literal(topic) => topic.clone(),
        TopicOf::Template { template, .. } => {
            let context = variables.map_or(&Value::Null, |it| if node.is_some() { &it.of_node } else { &it.levels });
            template.text(context).map_err(|error| error.to_string())?
        }
        TopicOf::Node(base) => format!("{base}/{}/count", topic::level(node.unwrap_or_default())),
        TopicOf::Service(base) => {
            let service = event.data.service.as_deref();
            let host = service.and_then(|service| service.host.as_deref()).or(event.data.node.as_deref());
            let name = service.and_then(|service| service.name.as_deref());
            format!("{base}/{}/{}", topic::level(host.unwrap_or_default()), topic::level(name.unwrap_or_default()))
        }
        TopicOf::Posted(other) => {
            let topic = event.data.posted.as_ref().and_then(|posted| posted.topic.as_ref());
            topic.filter(|topic| !topic.is_empty()).unwrap_or(other).clone()
        }
        kind @ TopicOf::Kind(_) => kind_topic(kind, event),
    })
}

fn kind_topic(topic: &TopicOf, event: &Event) -> String {
    let TopicOf::Kind(base) = topic else { return String::new() };
    let (subject, outcome) = (topic::level(event.subject()), topic::level(event.outcome()));
    if event.outcome().is_empty() { format!("{base}/{subject}") } else { format!("{base}/{subject}/{outcome}") }
}

fn name(number: usize, topic: &str) -> String {
    let topic: String = topic.chars().take(SHOWN).collect();
    format!("{number}:{topic}")
}

fn has_arrived(delivery: &Delivery, name: &str) -> bool {
    arrived(delivery).any(|arrived| arrived == name)
}

/// Names of the messages that have arrived in former attempts.
pub(crate) fn arrived(delivery: &Delivery) -> impl Iterator<Item = &str> {
    let names = delivery.progress.as_ref().and_then(|progress| progress["published"].as_array());
    names.into_iter().flatten().filter_map(Value::as_str)
}

/// The progress that says so. Of too many messages the last are left out: those are published again.
pub(crate) fn progress<'a>(names: impl Iterator<Item = &'a str>) -> Value {
    let mut bytes = 0;
    let fits = |name: &&str| {
        bytes += json!(name).to_string().len() + 1;
        bytes <= LONGEST_PROGRESS
    };
    json!({ "published": names.take_while(fits).collect::<Vec<_>>() })
}
