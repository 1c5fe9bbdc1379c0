//! The nodes of a site, as QRS lists them (`servernodeconfiguration`).

use serde_json::Value;

use super::error::QlikError;
use super::repository::Repository;

/// A node: a machine with services of Qlik Sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Host name.
    pub host: String,
    /// Whether it is the central node.
    pub central: bool,
    /// Whether it runs the scheduler; as long as nobody says otherwise it may.
    pub scheduler: bool,
}

impl Node {
    /// From an entry of the list; absent if it names no host.
    fn read(entry: &Value) -> Option<Self> {
        let host = entry["hostName"].as_str().map(str::trim).filter(|host| !host.is_empty())?;
        Some(Self {
            host: host.to_owned(),
            central: entry["isCentral"].as_bool().unwrap_or_default(),
            scheduler: entry["schedulerEnabled"].as_bool().unwrap_or(true),
        })
    }
}

impl Repository {
    /// All nodes that the user may read, the central one first; none if it may read none.
    pub async fn nodes(&self) -> Result<Vec<Node>, QlikError> {
        const PATH: &str = "servernodeconfiguration/full";
        let answer = self.get_json(PATH, &[]).await?;
        let entries = answer.as_array().ok_or_else(|| QlikError::odd(PATH, "a list", &answer))?;
        let mut nodes: Vec<Node> = entries.iter().filter_map(Node::read).collect();
        nodes.sort_by_key(|node| !node.central);
        Ok(nodes)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_is_what_has_a_host() {
        let node = |entry| Node::read(&entry);
        let read = node(json!({ "hostName": " s2.lab ", "isCentral": false, "schedulerEnabled": false })).unwrap();
        assert_eq!((read.host.as_str(), read.central, read.scheduler), ("s2.lab", false, false));
        assert!(node(json!({ "hostName": "s1" })).unwrap().scheduler);
        assert_eq!([node(json!({ "name": "x" })), node(json!({ "hostName": "" })), node(json!(7))], [None, None, None]);
    }
}
