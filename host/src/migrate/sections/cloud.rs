//! `qlikSenseCloud`: the section `qlikCloud`. How its alerts look belongs to the plugins.

use serde_json::{Map, Value, json};

use super::{Sections, is_web_address};

const TENANT: &str = "qlikSenseCloud.event.mqtt.tenant";

impl Sections<'_> {
    pub(super) fn qlik_cloud(&mut self) {
        if !self.is_on("qlikSenseCloud") {
            return;
        }
        let at = |name: &str| format!("{TENANT}.{name}");
        self.old.no_effect(&at("authType"), "a JWT was all that there was; an API key does as well now");
        let url = self.old.text(&at("tenantUrl"));
        let address = url.as_deref().and_then(|url| url::Url::parse(url).ok()).filter(|url| url.scheme() == "https");
        let Some(address) = address.as_ref().and_then(|url| url.host_str()).map(|host| format!("https://{host}"))
        else {
            let text = "is no address of a tenant (`https://…`): without it nothing of Qlik Cloud is taken over";
            self.old.todo(&at("tenantUrl"), text);
            for name in ["id", "auth", "qlikSenseUrls", "comment"] {
                self.old.dropped(&at(name), "the tenant has no address");
            }
            return;
        };
        let mut tenant = Map::new();
        let host = self.old.text(&at("id")).unwrap_or_default();
        let id: String = host
            .split('.')
            .next()
            .unwrap_or_default()
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
            .collect();
        let id = if id.is_empty() { "tenant".to_owned() } else { id };
        let text = format!(
            "is the tenant's host name; here it must be its id (`tenantId` in {address}/api/v1/users/me). `{id}` stands in its place: \
             until it is put right, no event of the tenant is taken"
        );
        self.old.todo(&at("id"), &text);
        tenant.insert("id".to_owned(), id.into());
        tenant.insert("url".to_owned(), address.into());
        if let Some(comment) = self.old.text(&at("comment")) {
            tenant.insert("comment".to_owned(), comment.into());
        }
        let token = self.old.token(&at("auth.jwt.token")).unwrap_or_else(|| {
            self.old
                .todo(&at("auth.jwt.token"), "is missing: set the environment variable QLIK_CLOUD_TOKEN for Butler");
            "${env:QLIK_CLOUD_TOKEN}".to_owned()
        });
        tenant.insert("token".to_owned(), token.into());
        let mut links = Map::new();
        for name in ["qmc", "hub"] {
            self.link(&at(&format!("qlikSenseUrls.{name}")), name, &mut links);
        }
        if !links.is_empty() {
            tenant.insert("links".to_owned(), Value::Object(links));
        }
        let text = "events come by MQTT as before if that is configured. Better: a webhook of the tenant calls Butler itself (README, \
                    *With Qlik Cloud*)";
        self.old.differs("qlikSenseCloud.enable", text);
        self.config.insert("qlikCloud".to_owned(), json!({ "tenants": [tenant] }));
    }

    /// A link for messages.
    pub(super) fn link(&mut self, path: &str, name: &str, links: &mut Map<String, Value>) {
        match self.old.text(path) {
            Some(link) if is_web_address(&link) => {
                links.insert(name.to_owned(), link.into());
            }
            Some(_) => self.old.todo(path, "is no address such as `https://sense.example.com/hub`, and is left out"),
            None => {}
        }
    }
}
