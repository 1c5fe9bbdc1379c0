//! From a document to a config that can be used, or to all that is wrong with it.
//!
//! Placeholders are put in first, then the whole is held against the host's schema, each instance's settings against its
//! plugin's, and what schemas cannot say is checked on what is sound so far. When a placeholder has no value, the
//! schemas let it pass, so that the other faults are still found.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use jsonschema::{JsonType, ValidationError, Validator};
use serde_json::{Map, Number, Value};

use super::document::Document;
use super::explain::Explainer;
use super::redact::Secrets;
use super::report::{Problem, Report, join, similar};
use super::rest::ServerTls;
use super::schema;
use super::secrets::{Resolved, Source};
use super::semantics::Semantics;
use super::types::{Config, Rule};

/// The host's schema with its validator, for a config without open placeholders.
static STRICT: LazyLock<(Value, Result<Validator, String>)> = LazyLock::new(|| with_validator(schema::host()));
/// The same, for one with open placeholders.
static RELAXED: LazyLock<(Value, Result<Validator, String>)> = LazyLock::new(|| with_validator(schema::host_relaxed()));

fn with_validator(schema: Value) -> (Value, Result<Validator, String>) {
    let validator = schema::validator(&schema);
    (schema, validator)
}

/// What is known of a plugin before its instances are started.
#[derive(Debug, Clone)]
pub struct PluginSchema {
    /// JSON Schema of its settings; null: any.
    pub settings_schema: Value,
}

/// What is wrong with a part of a rule of a route, or looks wrong.
#[derive(Debug, Clone)]
pub struct RuleRemark {
    /// JSON pointer within the rule, without the first slash: `where/task.name`, `throttle/per`.
    pub at: String,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub suggestion: Option<String>,
    /// Whether the config is refused for it; otherwise it may be meant so.
    pub is_fault: bool,
}

/// Checks of other parts of the host that belong to the config.
pub trait Checks {
    /// What is to be said of a rule of a route.
    fn rule(&self, rule: &Rule) -> Vec<RuleRemark>;

    /// Whether an entry of `rest.disabledEndpoints` means an endpoint; the error is what may be meant.
    fn endpoint(&self, entry: &str) -> Result<(), Option<String>>;

    /// Reads the certificate of the REST server; paths as they stand in the config. What an administrator should know of it,
    /// or why it cannot be used.
    fn server_tls(&self, tls: &ServerTls) -> Result<Option<String>, String>;
}

/// No checks.
impl Checks for () {
    fn rule(&self, _: &Rule) -> Vec<RuleRemark> {
        Vec::new()
    }

    fn endpoint(&self, _: &str) -> Result<(), Option<String>> {
        Ok(())
    }

    fn server_tls(&self, _: &ServerTls) -> Result<Option<String>, String> {
        Ok(None)
    }
}

/// A config without faults.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The values. Paths are absolute, placeholders put in.
    pub config: Config,
    /// What was put in for placeholders.
    pub secrets: Secrets,
    /// What an administrator should know, one line each.
    pub warnings: Vec<String>,
    /// The file, as it was named by the caller.
    pub path: PathBuf,
    /// The folder of the file, absolute.
    pub base_dir: PathBuf,
    /// The content of the file, placeholders not resolved.
    pub raw: Value,
}

impl Loaded {
    /// The content of the file for showing: with placeholders instead of what they stand for.
    pub fn redacted(&self) -> Value {
        let mut value = self.raw.clone();
        self.secrets.redact_json(&mut value);
        value
    }
}

impl Document {
    /// Checks everything and reports all faults at once.
    ///
    /// `plugins`: by name, those that could be opened. `unusable`: index in `plugins:` and reason of those that could not.
    pub fn validate(
        &self,
        plugins: &BTreeMap<String, PluginSchema>,
        unusable: Vec<(usize, String)>,
        checks: &dyn Checks,
    ) -> Result<Loaded, Report> {
        self.validate_with(plugins, unusable, checks, &Source::system(self.base_dir()))
    }

    /// The same, with placeholders from elsewhere.
    pub(super) fn validate_with(
        &self,
        plugins: &BTreeMap<String, PluginSchema>,
        unusable: Vec<(usize, String)>,
        checks: &dyn Checks,
        source: &Source<'_>,
    ) -> Result<Loaded, Report> {
        let mut resolved = source.resolve(self.raw());
        let mut problems = std::mem::take(&mut resolved.problems);
        let unusable: BTreeMap<usize, String> = unusable.into_iter().collect();

        self.check_host(&mut resolved, &mut problems);
        check_plugins(self.raw(), &mut resolved, plugins, &unusable, &mut problems);
        // What the schemas say of a value is said once, and so is that a placeholder has none.
        let mut semantics = Semantics::new(&resolved, &problems, checks);
        semantics.check();
        let known: HashSet<&str> = problems.iter().map(|problem| problem.pointer.as_str()).collect();
        semantics.problems.retain(|problem| !known.contains(problem.pointer.as_str()));
        let mut more = std::mem::take(&mut semantics.problems);
        problems.append(&mut more);
        let mut remarks = std::mem::take(&mut semantics.warnings);
        let known: HashSet<String> = problems.iter().map(|problem| problem.pointer.clone()).collect();
        problems.extend(unusable.into_iter().filter_map(|(index, why)| {
            let entry = join("/plugins", index);
            let told = ["use", "sha256"].iter().any(|field| known.contains(&join(&entry, field)));
            (!told).then(|| Problem::new(join(&entry, "use"), why))
        }));

        if problems.is_empty() {
            let read = serde_json::from_value::<Config>(resolved.value);
            // Schema and checks should leave nothing over. If they do, the text could quote a value.
            match read {
                Ok(mut config) => {
                    absolute_paths(&mut config, self.base_dir());
                    remarks.append(&mut resolved.remarks);
                    let warning =
                        |(pointer, text): &(String, String)| self.warning(pointer, &resolved.secrets.redact(text));
                    let warnings = remarks.iter().map(warning).collect();
                    return Ok(Loaded {
                        config,
                        secrets: resolved.secrets,
                        warnings,
                        path: self.path().to_owned(),
                        base_dir: self.base_dir().to_owned(),
                        raw: self.raw().clone(),
                    });
                }
                Err(error) if resolved.tainted.is_empty() => problems.push(Problem::new("", error.to_string())),
                Err(_) => problems.push(Problem::new("", "a value cannot be read")),
            }
        }
        for problem in &mut problems {
            problem.message = resolved.secrets.redact(&problem.message).into_owned();
            problem.suggestion = problem.suggestion.take().map(|text| resolved.secrets.redact(&text).into_owned());
        }
        Err(self.report(problems))
    }

    fn warning(&self, pointer: &str, text: &str) -> String {
        format!("line {}, {}: {text}", self.line(pointer), self.name_of(pointer))
    }

    fn check_host(&self, resolved: &mut Resolved, problems: &mut Vec<Problem>) {
        let (schema, validator) = if resolved.unresolved.is_empty() { &*STRICT } else { &*RELAXED };
        match validator {
            Ok(validator) => {
                let mut value = std::mem::take(&mut resolved.value);
                Part { schema, validator, prefix: "", quote: true }.check(&mut value, resolved, problems);
                resolved.value = value;
            }
            Err(error) => problems.push(Problem::new("", format!("the host's own schema is broken: {error}"))),
        }
        // The schema lets the host look `use` up before placeholders are put in.
        for (_, pointer, entry) in Self::plugin_entries(self.raw()) {
            let pointer = join(&pointer, "use");
            if entry.get("use").and_then(Value::as_str).is_some_and(|name| name.contains("${")) {
                problems.retain(|problem| problem.pointer != pointer);
                problems.push(Problem::new(pointer, "the name of a plugin must be written out, without placeholders"));
            }
        }
    }
}

/// Holds the settings of all instances against the schemas of their plugins.
fn check_plugins(
    raw: &Value,
    resolved: &mut Resolved,
    plugins: &BTreeMap<String, PluginSchema>,
    unusable: &BTreeMap<usize, String>,
    problems: &mut Vec<Problem>,
) {
    let strict = resolved.unresolved.is_empty();
    let mut compiled: HashMap<String, Result<(Value, Validator), ()>> = HashMap::new();
    for (index, pointer, entry) in Document::plugin_entries(raw) {
        let Some(name) = entry.get("use").and_then(Value::as_str) else { continue };
        let well_formed = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if unusable.contains_key(&index) || !well_formed {
            continue;
        }
        let at_use = join(&pointer, "use");
        let Some(plugin) = plugins.get(name) else {
            let problem = Problem::new(at_use, format!("there is no plugin `{name}`"));
            problems.push(match similar(name, plugins.keys().map(String::as_str)) {
                Some(right) => problem.suggest(format!("did you mean `{right}`?")),
                None => problem.suggest("put its file into one of `pluginDirs`"),
            });
            continue;
        };
        let compiled = compiled.entry(name.to_owned()).or_insert_with(|| {
            let own = schema::settings(&plugin.settings_schema);
            let built = schema::validator(&own).and_then(|validator| {
                if strict {
                    return Ok((own, validator));
                }
                let relaxed = schema::settings_relaxed(&plugin.settings_schema);
                schema::validator(&relaxed).map(|validator| (relaxed, validator))
            });
            built.map_err(|error| {
                let error: String = error.chars().take(300).collect();
                let message = format!("the plugin `{name}` brings a broken schema of its settings: {error}");
                problems.push(
                    Problem::new(at_use, message)
                        .suggest("this is a fault of the plugin and not of the config: tell its author"),
                );
            })
        });
        let Ok((schema, validator)) = compiled else { continue };
        let prefix = join(&pointer, "settings");
        let absent = resolved.value.pointer(&prefix).is_none();
        let mut settings = match resolved.value.pointer_mut(&prefix) {
            Some(settings) => settings.take(),
            None => Value::Object(Map::new()),
        };
        Part { schema, validator, prefix: &prefix, quote: false }.check(&mut settings, resolved, problems);
        if let (false, Some(place)) = (absent, resolved.value.pointer_mut(&prefix)) {
            *place = settings;
        }
    }
}

/// A part of the document with a schema of its own.
struct Part<'a> {
    schema: &'a Value,
    validator: &'a Validator,
    /// JSON pointer of the part.
    prefix: &'a str,
    quote: bool,
}

impl Part<'_> {
    /// Turns texts into numbers, `true` and `false` where a placeholder stands for one, and adds what is wrong.
    fn check(&self, value: &mut Value, resolved: &Resolved, problems: &mut Vec<Problem>) {
        // Each pass turns at least one text; a number in a form that is chosen by another takes a second pass.
        for pass in 0.. {
            let errors: Vec<ValidationError<'static>> =
                self.validator.iter_errors(value).map(ValidationError::to_owned).collect();
            let mut turned = BTreeMap::new();
            for error in &errors {
                self.turn(error, value, resolved, &mut turned);
            }
            if turned.is_empty() || pass >= 4 {
                let secret = |pointer: &str| resolved.tainted.contains_key(pointer);
                let explainer =
                    Explainer { schema: self.schema, prefix: self.prefix, quote: self.quote, secret: &secret };
                let mut found = Vec::new();
                for error in &errors {
                    explainer.explain(error, &mut found);
                }
                found.retain(|problem| !resolved.unresolved.contains(&problem.pointer));
                problems.append(&mut found);
                return;
            }
            for (pointer, new) in turned {
                if let Some(place) = value.pointer_mut(&pointer) {
                    *place = new;
                }
            }
        }
    }

    /// Collects the texts that should be something else and can be, by their pointer in the part.
    fn turn(
        &self,
        error: &ValidationError<'_>,
        value: &Value,
        resolved: &Resolved,
        turned: &mut BTreeMap<String, Value>,
    ) {
        let at = error.instance_path().as_str();
        match error.kind() {
            Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
                context.iter().flatten().for_each(|error| self.turn(error, value, resolved, turned));
            }
            Kind::Type { kind } => {
                let whole = resolved.tainted.get(&format!("{}{at}", self.prefix)) == Some(&true);
                let Some(text) = value.pointer(at).and_then(Value::as_str).filter(|_| whole) else { return };
                let wants = |one| match kind {
                    TypeKind::Single(only) => *only == one,
                    TypeKind::Multiple(set) => set.contains(one),
                };
                let new = if wants(JsonType::Integer) || wants(JsonType::Number) { number(text) } else { None };
                let new = new.filter(|new| new.is_i64() || new.is_u64() || wants(JsonType::Number));
                let new = new
                    .map(Value::Number)
                    .or_else(|| text.parse().ok().filter(|_| wants(JsonType::Boolean)).map(Value::Bool));
                if let Some(new) = new {
                    turned.insert(at.to_owned(), new);
                }
            }
            _ => {}
        }
    }
}

fn number(text: &str) -> Option<Number> {
    let whole = text.parse::<i64>().map(Number::from).or_else(|_| text.parse::<u64>().map(Number::from));
    whole.ok().or_else(|| text.parse().ok().and_then(Number::from_f64))
}

/// Makes the paths of the host's own settings absolute.
fn absolute_paths(config: &mut Config, base_dir: &Path) {
    for path in config.certificate_files_mut() {
        *path = base_dir.join(&*path);
    }
    let log = config.log.file.as_mut().map(|file| &mut file.path);
    for path in std::iter::once(&mut config.store.path).chain(&mut config.plugin_dirs).chain(log) {
        *path = base_dir.join(&*path);
    }
}

impl Config {
    /// The files of certificates and keys.
    pub fn certificate_files(&self) -> Vec<PathBuf> {
        self.clone().certificate_files_mut().map(std::mem::take).collect()
    }

    fn certificate_files_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let certificates = self.qlik.iter_mut().flat_map(|qlik| qlik.certificates.paths_mut());
        let profiles = self.tls.values_mut().flat_map(|tls| [&mut tls.ca, &mut tls.client, &mut tls.key]).flatten();
        let server = self.rest.tls.iter_mut().flat_map(|tls| [&mut tls.certificate, &mut tls.key]);
        certificates.chain(profiles).chain(server)
    }
}
