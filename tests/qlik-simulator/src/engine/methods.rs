//! The methods of the engine's objects.

use serde_json::{Value, json};

use super::contents::{AppContents, Kind};
use super::objects::{self, List, Object};
use super::rpc::{Call, Kind as Param, Outcome, Refusal, check};
use super::session::Handles;
use super::{Engine, State};

/// What a call leads to.
pub(super) enum Step {
    /// An answer at once.
    Answer(Outcome),
    /// A reload begins; its answer comes later.
    Reload { mode: i64, partial: bool },
}

const TEXT: Param = Param::Text;

/// Methods without parameters, by class.
const PLAIN: [(&str, &[&str]); 7] = [
    ("Global", &["EngineVersion", "GetDocList", "GetActiveDoc"]),
    ("Doc", &["GetAppProperties", "GetScript", "GetLineage", "GetConnections"]),
    ("GenericObject", &["GetLayout", "GetProperties", "GetFullPropertyTree"]),
    ("GenericBookmark", &["GetLayout", "GetProperties"]),
    ("GenericDimension", &["GetLayout", "GetProperties"]),
    ("GenericMeasure", &["GetLayout", "GetProperties"]),
    ("GenericVariable", &["GetLayout", "GetProperties"]),
];

/// Parameters of a method of a class, and how many are needed; absent: there is no such method.
fn signature(class: &str, method: &str) -> Option<(&'static [Param], usize)> {
    if PLAIN.iter().any(|(of, methods)| *of == class && methods.contains(&method)) {
        return Some((&[], 0));
    }
    Some(match (class, method) {
        ("Global", "OpenDoc") => (&[TEXT, TEXT, TEXT, TEXT, Param::Flag], 1),
        ("Global", "GetProgress") => (&[Param::Number], 1),
        ("Doc", "CreateSessionObject") => (&[Param::Object], 1),
        ("Doc", "GetObject" | "GetDimension" | "GetMeasure" | "GetBookmark" | "GetVariableById" | "GetConnection") => {
            (&[TEXT], 1)
        }
        ("Doc", "DoReload") => (&[Param::Number, Param::Flag, Param::Flag], 0),
        ("Doc", "DoSave") => (&[TEXT], 0),
        _ => return None,
    })
}

impl Engine {
    /// Does what a call of a session asks for.
    pub(super) fn perform(&self, call: &Call, handles: &mut Handles) -> Step {
        match self.step(call, handles) {
            Ok(step) => step,
            Err(refusal) => Step::Answer(Err(refusal)),
        }
    }

    fn step(&self, call: &Call, handles: &mut Handles) -> Result<Step, Refusal> {
        let Some(object) = handles.get(call.handle).cloned() else {
            return Err(Refusal::new(-32_600, &call.handle.to_string(), "Invalid handle"));
        };
        let Some((kinds, needed)) = signature(object.class(), &call.method) else {
            return Err(Refusal::new(-32_601, &call.method, "Method not found"));
        };
        check(&call.params, kinds, needed)?;
        let text = |at: usize| call.params.get(at).and_then(Value::as_str).unwrap_or_default();
        let flag = |at: usize| call.params.get(at).and_then(Value::as_bool).unwrap_or_default();
        let answer = match (&object, call.method.as_str()) {
            (Object::Global, "EngineVersion") => json!({ "qVersion": { "qComponentVersion": "12.1477.0" } }),
            (Object::Global, "GetDocList") => self.doc_list(),
            (Object::Global, "OpenDoc") => self.open_doc(text(0), flag(4), handles)?,
            (Object::Global, "GetProgress") => {
                json!({ "qProgressData": handles.progress(call.params[0].as_u64().unwrap_or_default()) })
            }
            (Object::Global, _) => match &handles.app {
                Some(_) => json!({ "qReturn": returned("Doc", Some(1), "") }),
                None => return Err(Refusal::new(1007, "", "App invalid")),
            },
            (Object::Doc, "DoReload") => return self.begin_reload(call, handles),
            (Object::Doc, "DoSave") => self.save(handles)?,
            (_, method) => {
                // Handles of documents and their objects are there only while an app is open.
                let app = handles.app.clone().unwrap_or_default();
                let contents = self.lock().contents_of(&app);
                of_app(&object, method, call, &app, &contents, handles)?
            }
        };
        Ok(Step::Answer(Ok(answer)))
    }

    fn doc_list(&self) -> Value {
        let site = self.site().read();
        let denied = &self.lock().denied;
        let apps = site.apps.iter().filter(|app| !denied.contains(&app.id));
        let entry = |app: &crate::App| json!({ "qDocName": app.name, "qDocId": app.id, "qFileSize": app.file_size, "qMeta": { "published": app.stream_id.is_some() } });
        json!({ "qDocList": apps.map(entry).collect::<Vec<_>>() })
    }

    fn open_doc(&self, app: &str, without_data: bool, handles: &mut Handles) -> Outcome {
        let exists = self.site().app(app).is_some();
        let mut state = self.lock();
        if handles.app.is_some() {
            return Err(Refusal::new(1002, app, "App already open"));
        }
        if !exists {
            return Err(Refusal::new(1003, app, "App not found"));
        }
        if state.denied.contains(app) {
            return Err(Refusal::new(5, app, "Access denied"));
        }
        let otherwise = state.open.values().any(|session| {
            session.app.as_ref().is_some_and(|(other, without)| other == app && *without != without_data)
        });
        if otherwise || state.locked.contains(app) {
            return Err(Refusal::new(1009, app, "App already open in different mode"));
        }
        if let Some(session) = state.open.get_mut(&handles.session) {
            session.app = Some((app.to_owned(), without_data));
        }
        handles.app = Some(app.to_owned());
        handles.without_data = without_data;
        let handle = handles.add(Object::Doc);
        Ok(json!({ "qReturn": returned("Doc", Some(handle), app) }))
    }

    fn begin_reload(&self, call: &Call, handles: &Handles) -> Result<Step, Refusal> {
        let app = handles.app.clone().unwrap_or_default();
        if handles.without_data {
            return Err(Refusal::new(5, &app, "Access denied"));
        }
        let running = |state: &State| {
            state.reloads.iter().any(|reload| reload.app == app && reload.state == super::ReloadState::Running)
        };
        if running(&self.lock()) {
            return Err(Refusal::new(15, &app, "Request aborted"));
        }
        let mode = call.params.first().and_then(Value::as_i64).unwrap_or_default();
        if !(0..=2).contains(&mode) {
            return Err(Refusal::invalid_params("qMode"));
        }
        Ok(Step::Reload { mode, partial: call.params.get(1).and_then(Value::as_bool).unwrap_or_default() })
    }

    fn save(&self, handles: &mut Handles) -> Outcome {
        let mut state = self.lock();
        let app = handles.app.clone().unwrap_or_default();
        if state.locked.contains(&app) {
            return Err(Refusal::new(1005, &app, "App save failed"));
        }
        if let Some(reload) = handles.reload.as_ref().and_then(|running| state.reloads.get_mut(running.index))
            && reload.state == super::ReloadState::Succeeded
        {
            reload.state = super::ReloadState::Saved;
        }
        Ok(json!({}))
    }
}

/// Methods of an open app and of its objects.
fn of_app(
    object: &Object,
    method: &str,
    call: &Call,
    app: &str,
    contents: &AppContents,
    handles: &mut Handles,
) -> Outcome {
    const OBJECTS: [Kind; 4] =
        [Kind::Object("sheet"), Kind::Object("story"), Kind::Object("masterobject"), Kind::Object("appprops")];
    let id = call.params.first().and_then(Value::as_str).unwrap_or_default();
    let mut get = |kinds: &[Kind]| {
        let found = contents.find(id, kinds).map(|kind| Object::Generic(kind, id.to_owned()));
        let class = found.as_ref().map_or("", Object::class);
        json!({ "qReturn": returned(class, found.map(|object| handles.add(object)), id) })
    };
    Ok(match (object, method) {
        (Object::Doc, "GetAppProperties") => {
            json!({ "qProp": { "qTitle": app, "qLastReloadTime": "2025-03-09T14:05:07.310Z" } })
        }
        (Object::Doc, "GetScript") => json!({ "qScript": contents.script }),
        (Object::Doc, "GetLineage") if contents.lineage => {
            json!({ "qLineage": [{ "qDiscriminator": "lib://Data/orders.qvd;", "qStatement": "RESIDENT Orders;" }] })
        }
        (Object::Doc, "GetLineage") => return Err(Refusal::new(10, "", "Internal error")),
        (Object::Doc, "CreateSessionObject") => {
            let (list, id) = objects::define(&call.params[0])?;
            if !handles.ids.insert(id.clone()) {
                return Err(Refusal::new(3, &id, "Already exists"));
            }
            json!({ "qReturn": returned("GenericObject", Some(handles.add(Object::List(list))), &id) })
        }
        (Object::Doc, "GetObject") => get(&OBJECTS),
        (Object::Doc, "GetDimension") => get(&[Kind::Dimension]),
        (Object::Doc, "GetMeasure") => get(&[Kind::Measure]),
        (Object::Doc, "GetBookmark") => get(&[Kind::Bookmark, Kind::Snapshot]),
        (Object::Doc, "GetVariableById") => get(&[Kind::Variable]),
        (Object::Doc, "GetConnections") => json!({ "qConnections": contents.connection_items() }),
        (Object::Doc, "GetConnection") => match contents.connection(id) {
            Some(connection) => json!({ "qConnection": connection }),
            None => return Err(Refusal::new(2, id, "Not found")),
        },
        (Object::List(list), "GetLayout") => json!({ "qLayout": objects::layout(*list, contents) }),
        (Object::List(List::Of(_) | List::Media | List::Fields { .. }), _) => {
            return Err(Refusal::new(-32_601, method, "Method not found"));
        }
        (Object::Generic(_, id), "GetLayout") => json!({ "qLayout": objects::selections(id) }),
        (Object::Generic(kind, id), "GetFullPropertyTree") => json!({ "qPropEntry": contents.tree(*kind, id, app) }),
        (Object::Generic(kind, id), _) => json!({ "qProp": contents.properties(*kind, id, app) }),
        (Object::Global | Object::Doc, _) => return Err(Refusal::new(-32_601, method, "Method not found")),
    })
}

fn returned(class: &str, handle: Option<i64>, id: &str) -> Value {
    let class = handle.map(|_| class);
    json!({ "qType": class, "qHandle": handle, "qGenericType": class, "qGenericId": id })
}
