//! Links for people, with variables of the event in those of the administrator's own.

use serde_json::Value;

use super::Semantics;
use crate::config::report::join;

impl Semantics<'_> {
    /// Addresses that messages link to.
    pub(super) fn links(&mut self) {
        for name in ["qmc", "hub", "appBaseUrl"] {
            self.link(join("/links", name));
        }
        let custom = self.value.pointer("/links/custom").and_then(Value::as_array).map_or(0, Vec::len);
        for index in 0..custom {
            let pointer = format!("/links/custom/{index}/url");
            if let Some(link) = self.section::<String>(&pointer)
                && let Some(words) = link_template_fault(&link)
            {
                let message = self.with_value(&pointer, words, &link);
                self.problem(pointer, message);
            }
        }
    }

    /// A link for people.
    pub(super) fn link(&mut self, pointer: String) {
        let Some(link) = self.section::<String>(&pointer) else { return };
        if !is_web_address(&link) {
            let words = "must be an address such as `https://sense.example.com/hub`";
            let message = self.with_value(&pointer, words, &link);
            self.problem(pointer, message);
        }
    }
}

/// An address that a browser opens. Others (`javascript:`, `file:`) would do something else to who clicks.
fn is_web_address(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
}

/// Whether what is within two braces names a variable: `taskName`, `app.name`, `{taskName` of three.
fn is_path(inner: &str) -> bool {
    let path = inner.strip_prefix('{').unwrap_or(inner).trim();
    !path.starts_with(|c: char| c.is_ascii_digit())
        && path.split('.').all(|part| {
            // An item of a list is `[0]` or `0`.
            let part = part.strip_prefix('[').and_then(|part| part.strip_suffix(']')).unwrap_or(part);
            !part.is_empty()
                && part.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-')
                && !matches!(part, "this" | "true" | "false" | "null" | "undefined" | "else")
        })
}

/// Why a text cannot be the address of a link once the variables of an event are put in: `{{taskName}}`.
fn link_template_fault(text: &str) -> Option<&'static str> {
    let mut address = String::new();
    let mut rest = text;
    while let Some((before, variable)) = rest.split_once("{{") {
        address.push_str(before);
        let closed = variable.split_once("}}").filter(|(name, _)| !name.contains("{{"));
        let Some((name, after)) = closed else {
            return Some("has `{{` without `}}`: a variable is written `{{taskName}}`");
        };
        if name.trim_matches(['{', ' ']).is_empty() {
            return Some("has `{{` without the name of a variable: write one such as `{{taskName}}`");
        }
        if name.starts_with('{') && !after.starts_with('}') {
            return Some("has `{{{` without `}}}`: a variable is written `{{taskName}}`");
        }
        if !is_path(name) {
            return Some(
                "takes only names of variables, such as `{{taskName}}` or `{{app.name}}`: no helper, no block, no `this`",
            );
        }
        // Sound as a part of a host's name, a port, a path and a query.
        address.push('1');
        rest = after.strip_prefix('}').filter(|_| name.starts_with('{')).unwrap_or(after);
    }
    if rest.contains("}}") {
        return Some("has `}}` without `{{`: a variable is written `{{taskName}}`");
    }
    address.push_str(rest);
    (!is_web_address(&address)).then_some(
        "must be an address such as `https://wiki.example.com/{{taskName}}`: it begins with `https://` or `http://`, \
         variables stand behind that",
    )
}
