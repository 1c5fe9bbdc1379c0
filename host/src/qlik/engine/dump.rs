//! What an app consists of (8.4), as one JSON object.
//!
//! The pieces go from the engine's answers into the dump as they are; only lists and identifiers are looked at. Within a
//! list a limited number of calls are under way at once.

use std::borrow::Cow;

use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::document::{Document, Entries};
use super::error::EngineError;
use super::session::{Reply, Session};
use crate::config::Secrets;

const NONE: [(); 0] = [];

/// Key in the dump and type of objects.
const OBJECTS: [(&str, &str); 4] =
    [("sheets", "sheet"), ("stories", "story"), ("masterobjects", "masterobject"), ("appprops", "appprops")];

/// An element of a list.
#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow, rename = "qInfo")]
    info: Info<'a>,
}

#[derive(Deserialize)]
struct Info<'a> {
    #[serde(borrow, rename = "qId")]
    id: Cow<'a, str>,
}

/// A list of the app: the definition of the session object that holds it, and where its items are.
struct List {
    definition: Value,
    place: &'static str,
}

impl List {
    /// Objects of a type.
    fn objects(kind: &str) -> Self {
        let id = format!("{kind}List");
        let definition = json!({
            "qAppObjectListDef": { "qType": kind, "qData": { "id": "/qInfo/qId" } },
            "qInfo": { "qId": id, "qType": id },
            "qMetaDef": {},
            "qExtendsId": "",
        });
        Self { definition, place: "qAppObjectList" }
    }

    /// Dimensions and the like. `id`: of the session object, which must have one of its own.
    fn library(definition: &str, kind: &str, id: &str, place: &'static str) -> Self {
        let definition = json!({
            definition: { "qType": kind, "qData": { "info": "/qDimInfos" }, "qMeta": {} },
            "qInfo": { "qId": id, "qType": id },
        });
        Self { definition, place }
    }

    /// With a definition of another form.
    fn other(name: &str, definition: &Value, id: &str, place: &'static str) -> Self {
        Self { definition: json!({ name: definition, "qInfo": { "qId": id, "qType": id } }), place }
    }
}

/// Opens an app without its data and writes down all that it consists of.
pub(super) async fn dump(
    session: &Session,
    app: &str,
    calls: usize,
    secrets: &Secrets,
) -> Result<Vec<u8>, EngineError> {
    let doc = session.open_doc(app, true).await?;
    let mut dump = Dump { app: App { session, doc }, calls, document: Document::new(secrets) };
    dump.plain("properties", "GetAppProperties", "qProp").await?;
    dump.plain("loadScript", "GetScript", "qScript").await?;
    if let Err(error) = dump.plain("lineage", "GetLineage", "qLineage").await {
        tracing::debug!(app, %error, "the dump of an app goes without its lineage");
    }
    for (key, kind) in OBJECTS {
        dump.each(key, &List::objects(kind), App::tree).await?;
    }
    let list = List::library("qDimensionListDef", "dimension", "DimensionList", "qDimensionList");
    dump.each("dimensions", &list, App::dimension).await?;
    let list = List::library("qMeasureListDef", "measure", "MeasureList", "qMeasureList");
    dump.each("measures", &list, App::measure).await?;
    let list = List::library("qBookmarkListDef", "bookmark", "BookmarkList", "qBookmarkList");
    dump.each("bookmarks", &list, App::bookmark).await?;
    let media = List::other("qMediaListDef", &json!({}), "mediaList", "qMediaList");
    dump.whole("embeddedmedia", &media, is_embedded).await?;
    let list = List::library("qBookmarkListDef", "snapshot", "SnapshotList", "qBookmarkList");
    dump.each("snapshots", &list, App::snapshot).await?;
    let fields = json!({ "qShowSystem": true, "qShowHidden": true, "qShowSrcTables": true, "qShowSemantic": true });
    dump.whole("fields", &List::other("qFieldListDef", &fields, "FieldList", "qFieldList"), |_| true).await?;
    dump.connections().await?;
    let variables = json!({
        "qType": "variable", "qShowReserved": true, "qShowConfig": true, "qData": { "info": "/qDimInfos" }, "qMeta": {},
    });
    let variables = List::other("qVariableListDef", &variables, "VariableList", "qVariableList");
    dump.each("variables", &variables, App::variable).await?;
    dump.document.entry("appId", &Value::from(app).to_string());
    Ok(dump.document.end())
}

/// Whether an element of the media list belongs to the app; the others belong to the server.
fn is_embedded(item: &str) -> bool {
    #[derive(Deserialize)]
    struct Media<'a> {
        #[serde(borrow, rename = "qUrlDef", default)]
        url: Cow<'a, str>,
    }
    serde_json::from_str::<Media>(item).is_ok_and(|media| media.url.starts_with("/media/"))
}

/// A part of an answer.
fn part(reply: &Reply, name: &str) -> Result<String, EngineError> {
    let entries: Entries = reply.read()?;
    entries.get(name).map(str::to_owned).ok_or_else(|| reply.odd(format!("it has no `{name}`")))
}

/// An open app.
#[derive(Clone, Copy)]
struct App<'s> {
    session: &'s Session,
    doc: i64,
}

impl App<'_> {
    async fn ask(self, handle: i64, method: &'static str, name: &str) -> Result<String, EngineError> {
        part(&self.session.call(handle, method, &NONE).await?, name)
    }

    async fn properties(self, getter: &'static str, item: &str) -> Result<(i64, String), EngineError> {
        let handle = self.session.object(self.doc, getter, &id(getter, item)?).await?;
        Ok((handle, self.ask(handle, "GetProperties", "qProp").await?))
    }

    async fn tree(self, item: String) -> Result<String, EngineError> {
        const GETTER: &str = "GetObject";
        let handle = self.session.object(self.doc, GETTER, &id(GETTER, &item)?).await?;
        self.ask(handle, "GetFullPropertyTree", "qPropEntry").await
    }

    async fn dimension(self, item: String) -> Result<String, EngineError> {
        Ok(self.properties("GetDimension", &item).await?.1)
    }

    async fn measure(self, item: String) -> Result<String, EngineError> {
        Ok(self.properties("GetMeasure", &item).await?.1)
    }

    async fn snapshot(self, item: String) -> Result<String, EngineError> {
        Ok(self.properties("GetBookmark", &item).await?.1)
    }

    /// Its selections are only in the layout: they become `qData.qBookMark`.
    async fn bookmark(self, item: String) -> Result<String, EngineError> {
        let (handle, properties) = self.properties("GetBookmark", &item).await?;
        let layout = self.session.call(handle, "GetLayout", &NONE).await?;
        let layout_entries = part(&layout, "qLayout")?;
        let odd = |error: serde_json::Error| layout.odd(error.to_string());
        let layout_entries: Entries = serde_json::from_str(&layout_entries).map_err(odd)?;
        let mut properties: Entries = serde_json::from_str(&properties).map_err(odd)?;
        let data = properties.get("qData").unwrap_or("{}").to_owned();
        // What is no object there holds nothing to keep.
        let mut data: Entries = serde_json::from_str(&data).unwrap_or_default();
        data.set("qBookMark", layout_entries.get("qBookmark").unwrap_or("null"));
        properties.set("qData", data.to_json());
        Ok(properties.to_json())
    }

    /// Three marks are only in the list.
    async fn variable(self, item: String) -> Result<String, EngineError> {
        const MARKS: [&str; 3] = ["qIsScriptCreated", "qIsReserved", "qIsConfig"];
        let (_, properties) = self.properties("GetVariableById", &item).await?;
        let marks: Entries = serde_json::from_str(&item).unwrap_or_default();
        let odd = |error: serde_json::Error| EngineError::Odd { method: "GetProperties", reason: error.to_string() };
        let mut properties: Entries = serde_json::from_str(&properties).map_err(odd)?;
        for name in MARKS {
            if marks.get(name) == Some("true") {
                properties.set(name, "true");
            }
        }
        Ok(properties.to_json())
    }
}

/// The identifier of an element of a list.
fn id(getter: &'static str, item: &str) -> Result<String, EngineError> {
    let odd = |error| EngineError::Odd { method: "GetLayout", reason: format!("an item for `{getter}`: {error}") };
    serde_json::from_str::<Item>(item).map(|item| item.info.id.into_owned()).map_err(odd)
}

/// A dump on its way.
struct Dump<'s> {
    app: App<'s>,
    calls: usize,
    document: Document<'s>,
}

impl<'s> Dump<'s> {
    /// An entry that is a part of one answer.
    async fn plain(&mut self, key: &str, method: &'static str, name: &str) -> Result<(), EngineError> {
        let json = self.app.ask(self.app.doc, method, name).await?;
        self.document.entry(key, &json);
        Ok(())
    }

    /// An entry with what `fetch` gets for each element of a list.
    async fn each<F>(&mut self, key: &str, list: &List, fetch: impl Fn(App<'s>, String) -> F) -> Result<(), EngineError>
    where
        F: Future<Output = Result<String, EngineError>>,
    {
        let layout = self.layout(list).await?;
        let items: Vec<String> = items(&layout, list.place)?.into_iter().map(str::to_owned).collect();
        drop(layout);
        self.fetched(key, items, fetch).await
    }

    async fn fetched<F>(
        &mut self,
        key: &str,
        items: Vec<String>,
        fetch: impl Fn(App<'s>, String) -> F,
    ) -> Result<(), EngineError>
    where
        F: Future<Output = Result<String, EngineError>>,
    {
        let app = self.app;
        self.document.begin_list(key);
        let mut pieces = stream::iter(items).map(|item| fetch(app, item)).buffered(self.calls);
        while let Some(piece) = pieces.try_next().await? {
            self.document.item(&piece);
        }
        self.document.end_list();
        Ok(())
    }

    /// An entry with those elements of a list themselves that pass.
    async fn whole(&mut self, key: &str, list: &List, passes: fn(&str) -> bool) -> Result<(), EngineError> {
        let layout = self.layout(list).await?;
        self.document.begin_list(key);
        for item in items(&layout, list.place)?.into_iter().filter(|item| passes(item)) {
            self.document.item(item);
        }
        self.document.end_list();
        Ok(())
    }

    async fn connections(&mut self) -> Result<(), EngineError> {
        const LIST: &str = "GetConnections";
        #[derive(Deserialize)]
        struct Connections<'a> {
            #[serde(borrow, rename = "qConnections")]
            list: Vec<Info<'a>>,
        }
        let reply = self.app.session.call(self.app.doc, LIST, &NONE).await?;
        let ids = reply.read::<Connections>()?.list.into_iter().map(|connection| connection.id.into_owned()).collect();
        let fetch = |app: App<'s>, id: String| async move {
            part(&app.session.call(app.doc, "GetConnection", &(id,)).await?, "qConnection")
        };
        self.fetched("dataconnections", ids, fetch).await
    }

    /// The layout of the session object of a list.
    async fn layout(&self, list: &List) -> Result<Reply, EngineError> {
        const METHOD: &str = "CreateSessionObject";
        let App { session, doc } = self.app;
        let handle = session.call(doc, METHOD, &(&list.definition,)).await?.handle(list.place)?;
        session.call(handle, "GetLayout", &NONE).await
    }
}

/// The elements of a list, by the place that they have in its layout.
fn items<'a>(layout: &'a Reply, place: &str) -> Result<Vec<&'a str>, EngineError> {
    #[derive(Deserialize)]
    struct Layout<'a> {
        #[serde(borrow, rename = "qLayout")]
        layout: std::collections::BTreeMap<Cow<'a, str>, &'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Items<'a> {
        #[serde(borrow, rename = "qItems", default)]
        items: Vec<&'a RawValue>,
    }
    let lists = layout.read::<Layout>()?.layout;
    let list = lists.get(place).ok_or_else(|| layout.odd(format!("it has no `{place}`")))?;
    let list: Items = serde_json::from_str(list.get()).map_err(|error| layout.odd(error.to_string()))?;
    Ok(list.items.into_iter().map(RawValue::get).collect())
}
