//! Links: those of the config, of the tenant of Qlik Cloud, and of the administrator, whose addresses are templates.

use serde_json::{Map, Value, json};

use crate::message::template::{Format, Template};
use crate::{CustomLink, Delivery, Instance};

/// Adds the variables of the original, and `links`: `{qmc, hub, app, custom, buttons}`, where `buttons` has all of them as
/// `{title, url, tooltip}`. The other variables are there already: addresses may hold them.
pub(super) fn add(base: &mut Map<String, Value>, delivery: &Delivery, instance: &Instance) {
    let links = &instance.links;
    let cloud = delivery.event.data.cloud.as_deref();
    // What happened in Qlik Cloud has nothing to do with the site that the config's links lead to.
    let (qmc, hub, app) = if let Some(cloud) = cloud {
        (cloud.qmc_url.clone(), cloud.hub_url.clone(), cloud.app_url.clone())
    } else {
        let app = delivery.event.data.app.as_ref().filter(|app| !app.id.is_empty());
        (links.qmc.clone(), links.hub.clone(), app.and_then(|app| links.app(&app.id)))
    };
    // Butler 16's documentation misspells two of them.
    let fixed = [
        ("qlikSenseQMC", &qmc),
        ("qliksSenseQMC", &qmc),
        ("qlikSenseHub", &hub),
        ("qliksSenseHub", &hub),
        ("appUrl", &app),
    ];
    for (name, url) in fixed {
        if let Some(url) = url {
            base.insert(name.to_owned(), url.clone().into());
        }
    }
    let context = Value::Object(std::mem::take(base));
    let custom: Vec<(&CustomLink, String)> =
        links.custom.iter().filter_map(|link| Some((link, address(link, &context)?))).collect();
    if let Value::Object(variables) = context {
        *base = variables;
    }
    let original = custom
        .iter()
        .map(|(link, url)| json!({ "id": link.id, "linkText": link.link_text, "comment": link.comment, "url": url }));
    base.insert("genericUrls".to_owned(), original.collect());

    let buttons = [("Open QMC", &qmc), ("Open hub", &hub), ("Open app", &app)];
    let buttons =
        buttons.into_iter().filter_map(|(title, url)| url.as_ref().map(|url| json!({ "title": title, "url": url })));
    let custom = custom
        .iter()
        .map(|(link, url)| json!({ "id": link.id, "title": link.link_text, "tooltip": link.comment, "url": url }));
    let buttons: Vec<Value> = buttons.chain(custom.clone()).collect();
    let custom: Vec<Value> = custom.collect();
    base.insert(
        "links".to_owned(),
        json!({ "qmc": qmc, "hub": hub, "app": app, "custom": custom, "buttons": buttons }),
    );
}

/// The address of a link for this event; none if nothing useful comes of its variables, since a button that leads nowhere
/// may cost the whole message.
fn address(link: &CustomLink, context: &Value) -> Option<String> {
    if !link.url.contains("{{") {
        return Some(link.url.clone());
    }
    let rendered = Template::new(&link.link_text, &link.url, Format::Url).and_then(|template| template.text(context));
    match rendered {
        Ok(url) => {
            let leads =
                url.parse::<url::Url>().is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
            leads.then_some(url)
        }
        Err(error) => {
            tracing::warn!("a custom link is left out: {error}");
            None
        }
    }
}
