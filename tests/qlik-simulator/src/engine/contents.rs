//! What apps contain. Everything follows from the numbers and the app's id, so it need not be kept.

use serde_json::{Value, json};

/// How many of each there are in an app, and how large they are.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is its name")]
pub struct AppContents {
    pub sheets: usize,
    pub stories: usize,
    pub master_objects: usize,
    pub dimensions: usize,
    pub measures: usize,
    pub bookmarks: usize,
    pub snapshots: usize,
    /// Files of the app; the list has one of the server as well.
    pub media: usize,
    pub fields: usize,
    /// Every third is made by the script, and one each is reserved and of the configuration.
    pub variables: usize,
    pub connections: usize,
    /// So many bytes more are in the properties of each object.
    pub padding: usize,
    pub script: String,
    /// Without it, `GetLineage` fails.
    pub lineage: bool,
}

impl Default for AppContents {
    fn default() -> Self {
        Self {
            sheets: 3,
            stories: 1,
            master_objects: 2,
            dimensions: 4,
            measures: 4,
            bookmarks: 2,
            snapshots: 2,
            media: 2,
            fields: 10,
            variables: 6,
            connections: 2,
            padding: 0,
            script: "///$tab Main\r\nSET ThousandSep=' ';\r\nOrders:\r\nLOAD * FROM [lib://Data/orders.qvd] (qvd);\r\n"
                .to_owned(),
            lineage: true,
        }
    }
}

/// Lists of an app, by the definition of a session object and the type in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Object(&'static str),
    Dimension,
    Measure,
    Bookmark,
    Snapshot,
    Variable,
}

pub(super) const OBJECT_TYPES: [&str; 4] = ["sheet", "story", "masterobject", "appprops"];

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Object(kind) => kind,
            Self::Dimension => "dimension",
            Self::Measure => "measure",
            Self::Bookmark => "bookmark",
            Self::Snapshot => "snapshot",
            Self::Variable => "variable",
        }
    }
}

impl AppContents {
    pub(super) fn count(&self, kind: Kind) -> usize {
        match kind {
            Kind::Object("sheet") => self.sheets,
            Kind::Object("story") => self.stories,
            Kind::Object("masterobject") => self.master_objects,
            Kind::Object(_) => 1,
            Kind::Dimension => self.dimensions,
            Kind::Measure => self.measures,
            Kind::Bookmark => self.bookmarks,
            Kind::Snapshot => self.snapshots,
            Kind::Variable => self.variables,
        }
    }

    /// The kind of an object, by its id, if the app has it.
    pub(super) fn find(&self, id: &str, kinds: &[Kind]) -> Option<Kind> {
        let (name, number) = id.split_once('-')?;
        let number: usize = number.parse().ok()?;
        kinds.iter().copied().find(|kind| kind.name() == name && number < self.count(*kind))
    }

    /// The items of a list.
    pub(super) fn items(&self, kind: Kind) -> Value {
        (0..self.count(kind))
            .map(|n| {
                let id = format!("{}-{n}", kind.name());
                let mut item = json!({
                    "qInfo": { "qId": id, "qType": kind.name() },
                    "qMeta": { "title": title(kind, n), "description": "", "privileges": ["read", "update"] },
                    "qData": { "id": id },
                });
                if kind == Kind::Variable {
                    item["qName"] = Value::from(format!("v{n}"));
                    item["qIsScriptCreated"] = Value::from(n % 3 == 0);
                    for (mark, at) in [("qIsReserved", 1), ("qIsConfig", 2)] {
                        if n == at {
                            item[mark] = Value::from(true);
                        }
                    }
                }
                item
            })
            .collect()
    }

    /// The properties of an object.
    pub(super) fn properties(&self, kind: Kind, id: &str, app: &str) -> Value {
        let mut properties = json!({
            "qInfo": { "qId": id, "qType": kind.name() },
            "qMetaDef": { "title": format!("{id} of {app}"), "description": "Überblick \"€\"" },
        });
        match kind {
            Kind::Dimension => properties["qDim"] = json!({ "qGrouping": "N", "qFieldDefs": ["OrderId"] }),
            Kind::Measure => properties["qMeasure"] = json!({ "qLabel": id, "qDef": "Sum(Amount)" }),
            Kind::Bookmark | Kind::Snapshot => properties["qData"] = json!({ "sheetId": "sheet-0" }),
            Kind::Variable => {
                properties["qName"] = Value::from(id.replace("variable-", "v"));
                properties["qDefinition"] = Value::from("=1+1");
            }
            Kind::Object(_) => properties["cells"] = json!([{ "name": "chart", "col": 0, "row": 0 }]),
        }
        if self.padding > 0 {
            properties["padding"] = Value::from("x".repeat(self.padding));
        }
        properties
    }

    /// The properties of an object with those of its children.
    pub(super) fn tree(&self, kind: Kind, id: &str, app: &str) -> Value {
        let child = json!({ "qProperty": { "qInfo": { "qId": format!("{id}-chart"), "qType": "barchart" } }, "qChildren": [], "qEmbeddedSnapshotRef": null });
        json!({ "qProperty": self.properties(kind, id, app), "qChildren": [child], "qEmbeddedSnapshotRef": null })
    }

    pub(super) fn media_items(&self) -> Value {
        let of_server = json!({ "qUrlDef": "/content/Default/logo.png", "qUrl": "/content/Default/logo.png" });
        let of_app =
            (0..self.media).map(|n| json!({ "qUrlDef": format!("/media/{n}.png"), "qUrl": format!("/media/{n}.png") }));
        std::iter::once(of_server).chain(of_app).collect()
    }

    pub(super) fn field_items(&self, system: bool) -> Value {
        let of_system = json!({ "qName": "$Field", "qCardinal": 1, "qIsSystem": true, "qIsHidden": true });
        let of_app = (0..self.fields)
            .map(|n| json!({ "qName": format!("Field {n}"), "qCardinal": n, "qSrcTables": ["Orders"] }));
        system.then_some(of_system).into_iter().chain(of_app).collect()
    }

    pub(super) fn connection_items(&self) -> Value {
        (0..self.connections).map(connection).collect()
    }

    pub(super) fn connection(&self, id: &str) -> Option<Value> {
        let number: usize = id.strip_prefix("connection-")?.parse().ok()?;
        (number < self.connections).then(|| connection(number))
    }
}

fn title(kind: Kind, n: usize) -> String {
    format!("{} {n}", kind.name())
}

fn connection(n: usize) -> Value {
    json!({
        "qId": format!("connection-{n}"), "qName": format!("Data {n}"), "qConnectionString": format!("D:\\data\\{n}\\"),
        "qType": "folder", "qUserName": "",
    })
}
