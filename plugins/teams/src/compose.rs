//! Makes the message for a delivery: facts, template, size, and the plain card where that does not work out.

use butler_plugin_api::message::{BuiltIn, Cut, Facts, TemplateError, Templates, cut, shorten};
use butler_plugin_api::{Delivery, Event, sample_delivery};
use serde_json::Value;

use crate::settings::{Envelope, MessageType};
use crate::{Teams, card};

/// The built-in cards, which are shipped as a start for own ones as well.
pub(crate) const CARDS: &[BuiltIn] = &[
    BuiltIn {
        kinds: &["message.posted"],
        name: "message.handlebars",
        source: include_str!("../../../config/templates/teams/message.handlebars"),
    },
    BuiltIn {
        kinds: &["*"],
        name: "event.handlebars",
        source: include_str!("../../../config/templates/teams/event.handlebars"),
    },
];
/// The built-in text of basic messages.
pub(crate) const BASIC: &[BuiltIn] =
    &[BuiltIn { kinds: &["*"], name: "built-in basic template", source: "{{summary}}" }];

/// Longest text of a basic message, in characters.
const LONGEST_BASIC: usize = 1000;

/// A message that is ready to be sent.
pub(crate) struct Message {
    pub(crate) json: String,
    /// It is the plain card.
    pub(crate) is_plain: bool,
    /// What is wrong with the template; the message is the plain card then.
    pub(crate) trouble: Option<String>,
}

impl Teams {
    /// Always makes a message, whatever the template and the facts are like.
    pub(crate) fn compose(&self, facts: &Facts, event: &Event) -> Message {
        match self.templated(facts, event, self.templates()) {
            Ok(Some(json)) => Message { json, is_plain: false, trouble: None },
            Ok(None) => {
                let why = format!(
                    "The full card is larger than maxSize ({} bytes), even when shortened.",
                    self.post.max_size
                );
                tracing::warn!(event.id = %event.id, "the card does not fit maxSize; a plain one is sent");
                Message { json: self.plain(facts, &why), is_plain: true, trouble: None }
            }
            Err(error) => {
                let why = format!("This is the plain card, since the configured one failed: {error}");
                Message { json: self.plain(facts, &why), is_plain: true, trouble: Some(error.to_string()) }
            }
        }
    }

    /// The templates of the settings.
    pub(crate) fn templates(&self) -> &Templates {
        match self.post.message_type {
            MessageType::Formatted => &self.post.cards,
            MessageType::Basic => &self.post.texts,
        }
    }

    /// Renders the templates of the settings for a sample.
    pub(crate) fn try_templates(&self) -> Result<(), TemplateError> {
        let sample = sample_delivery(butler_plugin_api::kind::RELOAD_TASK_FAILED);
        let facts = Facts::of(&sample, self.host.instance(), &self.post.presentation);
        self.templated(&facts, &sample.event, self.templates()).map(drop)
    }

    pub(crate) async fn facts(&self, delivery: &Delivery) -> Facts {
        match self.post.message_type {
            MessageType::Formatted => Facts::gather(delivery, &self.host, &self.post.presentation).await,
            MessageType::Basic => Facts::of(delivery, self.host.instance(), &self.post.presentation),
        }
    }

    /// None if the message does not fit even at its shortest.
    pub(crate) fn templated(
        &self,
        facts: &Facts,
        event: &Event,
        templates: &Templates,
    ) -> Result<Option<String>, TemplateError> {
        let fits = |json: String| Some(json).filter(|json| json.len() <= self.post.max_size);
        let is_legacy = self.post.envelope == Envelope::MessageCard;
        if self.post.message_type == MessageType::Basic {
            let context = facts.context(Cut::NONE);
            let text = cut(templates.of(&event.kind)?.text(&context)?.trim(), LONGEST_BASIC);
            let value = if is_legacy { card::legacy_basic(&text, &context) } else { card::basic(&text, &context) };
            return Ok(fits(self.finish(value, event, templates.is_built_in())));
        }
        if is_legacy && templates.is_built_in() {
            return shorten(facts.lines(), |cut| Ok(fits(self.finish(card::legacy(&facts.context(cut)), event, true))));
        }
        let template = templates.of(&event.kind)?;
        shorten(facts.lines(), |cut| {
            Ok(fits(self.finish(template.json(&facts.context(cut))?, event, templates.is_built_in())))
        })
    }

    /// Shorter and shorter, until it fits; the last one is small enough for every allowed `maxSize`.
    pub(crate) fn plain(&self, facts: &Facts, why: &str) -> String {
        let context = facts.context(Cut::last(facts.lines()));
        let mut json = String::new();
        for max in [1000, 300, 100, 40] {
            let mut card = match self.post.envelope {
                Envelope::MessageCard => card::legacy_plain(&context, why, max),
                _ => card::plain(&context, why, max),
            };
            card::defuse(&mut card);
            json = card::wrap(card, self.post.envelope).to_string();
            if json.len() <= self.post.max_size {
                break;
            }
        }
        json
    }

    fn finish(&self, mut value: Value, event: &Event, is_built_in: bool) -> String {
        let owner = event.data.app.as_ref().and_then(|app| app.owner.as_ref()).filter(|_| self.post.mention_owner);
        if let Some((owner, address)) = owner.and_then(|owner| Some((owner, owner.emails.first()?))) {
            card::mention(&mut value, &owner.name, address);
        }
        if is_built_in {
            card::defuse(&mut value);
        }
        card::wrap(value, self.post.envelope).to_string()
    }
}
