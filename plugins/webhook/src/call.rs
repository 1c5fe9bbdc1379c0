//! Makes the request for a delivery: address, headers and body, in the format of the settings or by templates.

use butler_plugin_api::message::{Cut, Facts, Format as Escapes, TemplateError, Templates, cut};
use butler_plugin_api::{Delivery, DeliveryError, Instance};
use url::Url;

use crate::cloud_event::{self, CloudEvent};
use crate::fields::{self, Names};
use crate::settings::{CONTENT_TYPE, EVENT_ID, Format, Hook, IDEMPOTENCY_KEY, Method, Mode};

/// Longest value that a template makes for a header or a query, in characters.
const LONGEST_VALUE: usize = 1000;

/// A request that is ready to be sent.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) method: &'static str,
    pub(crate) url: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Option<String>,
    /// What is wrong with a template; none of them was used then.
    pub(crate) trouble: Option<String>,
}

/// What templates have made.
#[derive(Default)]
struct Made {
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    body: Option<String>,
}

impl Hook {
    /// The request for a delivery at a time, in seconds since 1970. `body` takes the place of the template of the settings.
    pub(crate) fn call(
        &self,
        delivery: &Delivery,
        instance: &Instance,
        now: u64,
        body: Option<&Templates>,
    ) -> Result<Call, DeliveryError> {
        let (made, trouble) = match self.made(delivery, instance, body.or(self.templates.body.as_ref())) {
            Ok(made) => (made, None),
            Err(error) => (Made::default(), Some(error.to_string())),
        };
        // What a template cannot say is said in the fields.
        let format = if self.format == Format::None && trouble.is_some() { Format::Butler16 } else { self.format };
        let mut url: Url = self.url.clone();
        for (name, value) in &made.query {
            url.query_pairs_mut().append_pair(name, &cut(value, LONGEST_VALUE));
        }
        let mut headers = self.headers.clone();
        headers.extend(made.headers);
        let (content_type, body) = match made.body {
            Some(body) => ("application/json", Some(body)),
            None if self.method == Method::Get => {
                if format == Format::Butler16 {
                    fields::append_query(&mut url, &fields::butler16(delivery, Names::Query));
                }
                ("", None)
            }
            None => {
                if self.templates.body.is_some() {
                    // The type of the settings is that of the template, which has failed.
                    headers.retain(|(name, _)| !name.eq_ignore_ascii_case(CONTENT_TYPE));
                }
                built_in(delivery, instance, format, self.mode, &mut headers)
                    .map_err(|error| DeliveryError::reject(error.to_string()))?
            }
        };
        if body.is_some() && !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(CONTENT_TYPE)) {
            headers.push((CONTENT_TYPE.to_owned(), content_type.to_owned()));
        }
        headers.push((IDEMPOTENCY_KEY.to_owned(), delivery.delivery_id.clone()));
        headers.push((EVENT_ID.to_owned(), delivery.event.id.clone()));
        if let (Some(signer), Some(body)) = (&self.signer, &body) {
            headers.extend(signer.sign(&delivery.delivery_id, now, body.as_bytes()));
        }
        Ok(Call { method: self.method.name(), url: url.into(), headers, body, trouble })
    }

    fn made(&self, delivery: &Delivery, instance: &Instance, body: Option<&Templates>) -> Result<Made, TemplateError> {
        let templates = &self.templates;
        if body.is_none() && templates.headers.is_empty() && templates.query.is_empty() {
            return Ok(Made::default());
        }
        let context = Facts::of(delivery, instance, &self.presentation).context(Cut::NONE);
        let kind = &delivery.event.kind;
        let text = |templates: &Templates| templates.of(kind)?.text(&context);
        let mut made = Made::default();
        for (name, template) in &templates.query {
            made.query.push((name.clone(), text(template)?));
        }
        for (name, template) in &templates.headers {
            let value = header_value(&text(template)?);
            // An empty header says nothing.
            if !value.is_empty() {
                made.headers.push((name.clone(), value));
            }
        }
        if let Some(body) = body {
            let template = body.of(kind)?;
            made.body = Some(match templates.escapes {
                Some(Escapes::Json) => template.json_text(&context)?,
                Some(Escapes::Html) => template.text(&context)?.replace(has_no_place_in_xml, ""),
                _ => template.text(&context)?,
            });
        }
        Ok(made)
    }
}

/// Control characters but tab and ends of lines, and two that are none in Unicode: not even escaped. (XML 1.0, section 2.2.)
fn has_no_place_in_xml(c: char) -> bool {
    matches!(c, '\u{fffe}' | '\u{ffff}') || (c.is_control() && !matches!(c, '\t' | '\n' | '\r'))
}

/// A text as the value of a header: a line of limited length.
fn header_value(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    cut(line.trim(), LONGEST_VALUE)
}

/// Type and text of a body without templates. Adds headers that the format asks for.
fn built_in(
    delivery: &Delivery,
    instance: &Instance,
    format: Format,
    mode: Mode,
    headers: &mut Vec<(String, String)>,
) -> serde_json::Result<(&'static str, Option<String>)> {
    let (content_type, body) = match format {
        Format::None => return Ok(("", None)),
        Format::Butler16 => ("application/json", serde_json::to_string(&fields::butler16(delivery, Names::Json))?),
        Format::Event => ("application/json", serde_json::to_string(&delivery.event)?),
        Format::Cloudevents => {
            let event = CloudEvent::new(delivery, &instance.name);
            match mode {
                Mode::Structured => (cloud_event::STRUCTURED_TYPE, serde_json::to_string(&event)?),
                Mode::Binary => {
                    headers.extend(event.headers());
                    (cloud_event::DATA_TYPE, serde_json::to_string(event.data())?)
                }
            }
        }
    };
    Ok((content_type, Some(body)))
}
