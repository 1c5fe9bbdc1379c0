//! A version of Qlik Sense in words, and as labels of a metric.

use butler_plugin_api::QlikVersion;

/// `Qlik Sense May 2024, version 14.187.4 (QlikSenseServer)`.
pub(crate) fn name(version: &QlikVersion) -> String {
    let product = text(version.product_name.as_ref()).unwrap_or("Qlik Sense");
    let deployment = text(version.deployment_type.as_ref()).map(|kind| format!(" ({kind})")).unwrap_or_default();
    format!("{product}{}{deployment}", release(version))
}

/// `Qlik Sense was changed from May 2024, version 14.187.4, to November 2024, version 14.212.13`.
pub(crate) fn change(from: &QlikVersion, to: &QlikVersion) -> String {
    let product = text(to.product_name.as_ref()).unwrap_or("Qlik Sense");
    let (before, after) = (release(from), release(to));
    if before == after {
        // The same release with other contents: a patch, or another kind of installation.
        let parts = [
            ("deployment type", &from.deployment_type, &to.deployment_type),
            ("content hash", &from.content_hash, &to.content_hash),
            ("product", &from.product_name, &to.product_name),
        ];
        let parts = parts.into_iter().filter(|(_, from, to)| from != to).map(|(name, from, to)| {
            let shown = |value: &Option<String>| text(value.as_ref()).unwrap_or("none").to_owned();
            format!("{name} {} became {}", shown(from), shown(to))
        });
        return format!("{product}{after} was changed: {}", parts.collect::<Vec<_>>().join(", "));
    }
    format!("{product} was changed from{before}, to{after}")
}

/// ` May 2024, version 14.187.4`.
fn release(version: &QlikVersion) -> String {
    let number = text(version.version.as_ref()).unwrap_or("unknown");
    match text(version.release_label.as_ref()) {
        Some(label) => format!(" {label}, version {number}"),
        None => format!(" version {number}"),
    }
}

pub(crate) fn labels(version: &QlikVersion) -> [(&str, &str); 4] {
    [
        ("version", &version.version),
        ("release", &version.release_label),
        ("product", &version.product_name),
        ("deployment", &version.deployment_type),
    ]
    .map(|(name, value)| (name, value.as_deref().unwrap_or_default()))
}

fn text(value: Option<&String>) -> Option<&str> {
    value.map(String::as_str).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn version(number: &str, label: &str, hash: &str) -> QlikVersion {
        let value = json!({ "version": number, "releaseLabel": label, "productName": "Qlik Sense", "contentHash": hash,
                            "deploymentType": "QlikSenseServer" });
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_version_and_a_change_have_words() {
        let (may, november) = (version("14.187.4", "May 2024", "8a"), version("14.212.13", "November 2024", "9b"));
        assert_eq!(name(&may), "Qlik Sense May 2024, version 14.187.4 (QlikSenseServer)");
        let expected = "Qlik Sense was changed from May 2024, version 14.187.4, to November 2024, version 14.212.13";
        assert_eq!(change(&may, &november), expected);
        let patched = version("14.187.4", "May 2024", "9b");
        let expected = "Qlik Sense May 2024, version 14.187.4 was changed: content hash 8a became 9b";
        assert_eq!(change(&may, &patched), expected);
        let plain =
            QlikVersion { version: Some("1".to_owned()), release_label: Some(String::new()), ..QlikVersion::default() };
        assert_eq!(name(&plain), "Qlik Sense version 1");
        assert_eq!(
            change(&plain, &QlikVersion::default()),
            "Qlik Sense was changed from version 1, to version unknown"
        );
    }
}
