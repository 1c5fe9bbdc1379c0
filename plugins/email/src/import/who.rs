//! Who gets a mail.

use butler_plugin_api::import::{Block, Import};
use serde_json::{Map, Value, json};

use crate::address;

const UNKNOWN_OPENS: &str =
    "while Qlik Sense cannot be asked, `recipients` do get the mail; Butler 16 sent them none then";

/// The fixed recipients, and what they depend on.
pub(super) fn recipients(import: &mut Import, block: &Block) -> (Vec<String>, Option<Value>) {
    let key = block.key("recipients");
    let mut recipients = Vec::new();
    for item in 0..import.len(&key) {
        recipients.extend(address(import, &format!("{key}[{item}]")));
    }
    let of_cloud = block.per == "app";
    let path = block.key(if of_cloud { "alertEnableByTag" } else { "alertEnableByCustomProperty" });
    let names: &[(&str, &str)] =
        if of_cloud { &[("tag", "tag")] } else { &[("property", "customPropertyName"), ("value", "enabledValue")] };
    if !import.flag(&format!("{path}.enable")) {
        import.off(&path);
        return (recipients, None);
    }
    let gate: Map<String, Value> = names
        .iter()
        .filter_map(|(name, key)| Some(((*name).to_owned(), import.text(&format!("{path}.{key}"))?.into())))
        .collect();
    if gate.len() < names.len() {
        let why = "it does not say which tasks or apps it means, so that `recipients` got no mail: they are left out";
        import.todo(&path, why);
        return (Vec::new(), None);
    }
    if recipients.is_empty() {
        import.no_effect(&path, "there are no `recipients`, which alone it is about");
        return (recipients, None);
    }
    import.differs(&path, UNKNOWN_OPENS);
    (recipients, Some(gate.into()))
}

/// Which owners of apps get mails.
pub(super) fn owner(import: &mut Import, block: &Block) -> Option<Value> {
    let path = block.key("appOwnerAlert");
    if !import.flag(&format!("{path}.enable")) {
        import.off(&path);
        return None;
    }
    let [included, excluded] = ["includeOwner", "excludeOwner"].map(|list| format!("{path}.{list}.user"));
    let mut owner = Map::new();
    let has_lists = import.len(&included) + import.len(&excluded) > 0;
    if block.per == "app" && has_lists {
        import.differs(&path, "Butler 16 never found an owner in these lists, whatever stood there; now they count");
    }
    if import.flag(&format!("{path}.includeOwner.includeAll")) {
        if import.len(&included) > 0 {
            import.no_effect(&included, "`includeAll` is on");
        }
        owner.insert("include".to_owned(), "all".into());
    } else {
        let users = users(import, &included);
        if users.is_empty() {
            import.dropped(&path, "no owner is in the list `includeOwner.user`, so that none gets a mail");
            return None;
        }
        owner.insert("include".to_owned(), users.into());
    }
    let users = users(import, &excluded);
    owner.extend(Some(users).filter(|list| !list.is_empty()).map(|list| ("exclude".to_owned(), list.into())));
    Some(owner.into())
}

/// `{ directory, userId }`; of Qlik Cloud an address, or `{ email }`.
fn users(import: &mut Import, list: &str) -> Vec<Value> {
    let mut users = Vec::new();
    for item in 0..import.len(list) {
        let item = format!("{list}[{item}]");
        let [directory, id, email] = ["directory", "userId", "email"].map(|name| format!("{item}.{name}"));
        if import.has(&email) {
            users.extend(address(import, &email).map(Value::from));
        } else if !import.has(&directory) && !import.has(&id) {
            users.extend(address(import, &item).map(Value::from));
        } else if let (Some(directory), Some(id)) = (import.text(&directory), import.text(&id)) {
            users.push(json!({ "directory": directory, "userId": id }));
        } else {
            import.todo(&item, "it needs both `directory` and `userId`, and is left out");
        }
    }
    users
}

/// A bare address. Butler 16 sent no mail to anything else either.
fn address(import: &mut Import, path: &str) -> Option<String> {
    let text = import.text(path)?;
    if let Err(why) = address::recipient(&text) {
        import.todo(path, &format!("`{text}` is left out: {why}. Butler 16 sent no mail to it either"));
        return None;
    }
    Some(text)
}
