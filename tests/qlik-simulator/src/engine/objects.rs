//! The objects that a session has, by their handles, and what their definitions must be.

use serde_json::{Value, json};

use super::contents::{AppContents, Kind, OBJECT_TYPES};
use super::rpc::Refusal;

/// An object of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Object {
    Global,
    Doc,
    /// A session object that holds a list.
    List(List),
    /// An object of the app.
    Generic(Kind, String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    Of(Kind),
    Media,
    Fields { system: bool },
}

impl Object {
    /// Its type, as the engine names it.
    pub(super) fn class(&self) -> &'static str {
        match self {
            Self::Global => "Global",
            Self::Doc => "Doc",
            Self::List(_) | Self::Generic(Kind::Object(_), _) => "GenericObject",
            Self::Generic(Kind::Dimension, _) => "GenericDimension",
            Self::Generic(Kind::Measure, _) => "GenericMeasure",
            Self::Generic(Kind::Bookmark | Kind::Snapshot, _) => "GenericBookmark",
            Self::Generic(Kind::Variable, _) => "GenericVariable",
        }
    }
}

/// The list that a definition asks for, and the id of the session object.
pub(super) fn define(definition: &Value) -> Result<(List, String), Refusal> {
    let info = &definition["qInfo"];
    let (Some(id), Some(_)) = (info["qId"].as_str().filter(|id| !id.is_empty()), info["qType"].as_str()) else {
        return Err(Refusal::invalid_params("qInfo"));
    };
    let has = |name: &str| definition.get(name).filter(|list| list.is_object());
    let kind = |list: &Value| list["qType"].as_str().unwrap_or_default().to_owned();
    let list = if let Some(list) = has("qAppObjectListDef") {
        let kind = kind(list);
        OBJECT_TYPES.into_iter().find(|known| *known == kind).map(|kind| List::Of(Kind::Object(kind)))
    } else if let Some(list) = has("qDimensionListDef") {
        (kind(list) == "dimension").then_some(List::Of(Kind::Dimension))
    } else if let Some(list) = has("qMeasureListDef") {
        (kind(list) == "measure").then_some(List::Of(Kind::Measure))
    } else if let Some(list) = has("qBookmarkListDef") {
        match kind(list).as_str() {
            "bookmark" => Some(List::Of(Kind::Bookmark)),
            "snapshot" => Some(List::Of(Kind::Snapshot)),
            _ => None,
        }
    } else if let Some(list) = has("qVariableListDef") {
        let wanted = kind(list) == "variable" && list["qShowReserved"] == true && list["qShowConfig"] == true;
        wanted.then_some(List::Of(Kind::Variable))
    } else if let Some(list) = has("qFieldListDef") {
        Some(List::Fields { system: list["qShowSystem"] == true && list["qShowHidden"] == true })
    } else {
        has("qMediaListDef").map(|_| List::Media)
    };
    list.map(|list| (list, id.to_owned())).ok_or_else(|| Refusal::invalid_params("definition"))
}

/// The layout of a list.
pub(super) fn layout(list: List, contents: &AppContents) -> Value {
    let (place, items) = match list {
        List::Of(kind) => {
            let place = match kind {
                Kind::Object(_) => "qAppObjectList",
                Kind::Dimension => "qDimensionList",
                Kind::Measure => "qMeasureList",
                Kind::Bookmark | Kind::Snapshot => "qBookmarkList",
                Kind::Variable => "qVariableList",
            };
            (place, contents.items(kind))
        }
        List::Media => ("qMediaList", contents.media_items()),
        List::Fields { system } => ("qFieldList", contents.field_items(system)),
    };
    json!({ "qInfo": { "qId": "list", "qType": "list" }, "qSelectionInfo": {}, place: { "qItems": items } })
}

/// The selections of a bookmark.
pub(super) fn selections(id: &str) -> Value {
    json!({
        "qInfo": { "qId": id, "qType": "bookmark" },
        "qBookmark": { "qStateData": [{ "qStateName": "$", "qFieldItems": [{ "qDef": { "qName": "Year" } }] }], "of": id },
    })
}
