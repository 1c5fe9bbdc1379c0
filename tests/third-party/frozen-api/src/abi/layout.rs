//! Holds the layout of the boundary's types to what was frozen.
//!
//! `layout.snap` is the layout as abi_stable describes it: every type that crosses, with sizes, offsets, and signatures of
//! the functions in vtables, followed by sizes of what crosses by value. abi_stable's own check when a library is opened is
//! one-way, and would find a change only when somebody's plugin is refused.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt::Write;
use std::path::Path;

use abi_stable::StableAbi;
use abi_stable::library::LibHeader;
use abi_stable::prefix_type::PrefixTypeTrait;
use abi_stable::std_types::{RResult, RString, UTypeId};
use abi_stable::type_layout::tagging::TagTrait;
use abi_stable::type_layout::{TLData, TLField, TLFunction, TypeLayout};
use async_ffi::{FfiContext, FfiFuture, FfiPoll};

use super::types::{AbiLogRecord, AbiRequest, AbiResponse, HostBox, PluginBox, PluginModule, PluginModuleRef};
use crate::API_VERSION;

const SNAPSHOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/abi/layout.snap");

/// What must be raised for a change: the major version; before 1.0 the minor one.
fn frozen_part(version: &str) -> String {
    let mut numbers = version.split('.');
    match (numbers.next(), numbers.next()) {
        (Some("0"), Some(minor)) => format!("0.{minor}"),
        (Some(major), _) => major.to_owned(),
        (None, _) => String::new(),
    }
}

/// Names types and describes each once, in the order in which they are met.
#[derive(Default)]
struct Description {
    text: String,
    /// Different types have the same name here: their parameters are no part of it.
    labels: HashMap<UTypeId, String>,
    uses: HashMap<String, u32>,
    queue: VecDeque<&'static TypeLayout>,
}

/// The layout of the boundary as a text.
fn describe() -> String {
    let mut description = Description::default();
    description.label(PluginModuleRef::LAYOUT);
    while let Some(layout) = description.queue.pop_front() {
        description.add(layout);
    }
    let mut text = format!("butler-plugin-api {}\n{}", frozen_part(API_VERSION), description.text);
    text.push_str("\nby value\n");
    macro_rules! by_value {
        ($($ty:ty),+ $(,)?) => {
            $(let _ = writeln!(
                text,
                "  {}: {} bytes, aligned to {}",
                stringify!($ty), size_of::<$ty>(), align_of::<$ty>()
            );)+
        };
    }
    by_value!(
        AbiRequest,
        AbiResponse,
        AbiLogRecord,
        HostBox,
        PluginBox,
        PluginModuleRef,
        <PluginModule as PrefixTypeTrait>::PrefixFields,
        LibHeader,
        RString,
        RResult<RString, RString>,
        RResult<(), RString>,
        RResult<AbiResponse, RString>,
        RResult<PluginBox, RString>,
        FfiContext<'static>,
        FfiFuture<()>,
        FfiFuture<RString>,
        FfiFuture<AbiResponse>,
        FfiFuture<RResult<(), RString>>,
        FfiFuture<RResult<RString, RString>>,
        FfiFuture<RResult<AbiResponse, RString>>,
        FfiPoll<()>,
        FfiPoll<RString>,
        FfiPoll<AbiResponse>,
        FfiPoll<RResult<(), RString>>,
        FfiPoll<RResult<RString, RString>>,
        FfiPoll<RResult<AbiResponse, RString>>,
    );
    text
}

impl Description {
    /// The name of a type; at first sight it is noted to be described.
    fn label(&mut self, layout: &'static TypeLayout) -> String {
        if let Some(label) = self.labels.get(&layout.get_utypeid()) {
            return label.clone();
        }
        let name = words(&layout.full_type().to_string());
        let uses = self.uses.entry(name.clone()).or_default();
        *uses += 1;
        let label = if *uses == 1 { name } else { format!("{name}#{uses}") };
        self.labels.insert(layout.get_utypeid(), label.clone());
        self.queue.push_back(layout);
        label
    }

    fn add(&mut self, layout: &'static TypeLayout) {
        let (package, version) = layout.package_and_version();
        // This crate's own version is in the first line.
        let own = package == "butler-plugin-api";
        let version = if own { String::new() } else { format!(" {}", frozen_part(version.version.as_str())) };
        let kind = match layout.data() {
            TLData::Primitive(_) => "primitive".to_owned(),
            TLData::Opaque => "opaque".to_owned(),
            TLData::Union { .. } => format!("union, {:?}", layout.repr_attr()),
            TLData::Struct { .. } => format!("struct, {:?}", layout.repr_attr()),
            TLData::PrefixType(prefix) => {
                format!("prefix type, {} of {} fields in the prefix", prefix.first_suffix_field, prefix.fields.len())
            }
            TLData::Enum(variants) => format!(
                "enum, {:?}, variants {} with {:?} fields, discriminants {:?}",
                layout.repr_attr(),
                variants.variant_names.as_str().trim_end_matches(';').replace(';', ", "),
                variants.field_count.as_slice(),
                variants.discriminants
            ),
        };
        let (label, size, alignment) = (self.label(layout), layout.size(), layout.alignment());
        let _ = writeln!(
            self.text,
            "\n{label} ({package}{version}): {size} bytes, aligned to {alignment}, {kind}{}",
            if layout.is_nonzero() { ", never zero" } else { "" }
        );
        // Variants of enums and unions lie over each other.
        let sequential = !matches!(layout.data(), TLData::Union { .. } | TLData::Enum(_));
        let mut offset = 0_usize;
        for field in layout.get_fields().into_iter().flatten() {
            offset = offset.next_multiple_of(field.layout().alignment());
            let place = if sequential { format!("{offset:>4}") } else { " ".repeat(4) };
            offset += field.layout().size();
            self.field(&place, &field);
        }
        for field in layout.phantom_fields() {
            self.field("   -", &field);
        }
        if !layout.tag().is_null() {
            let _ = writeln!(self.text, "     tag {}", words(&layout.tag().to_string()));
        }
    }

    fn field(&mut self, place: &str, field: &TLField) {
        let functions: Vec<String> = field.function_range().iter().map(|function| self.signature(&function)).collect();
        let functions = functions.join(", ");
        let ty = match (field.is_function(), functions.is_empty()) {
            (true, _) => functions,
            (false, true) => self.label(field.layout()),
            (false, false) => format!("{} of {functions}", self.label(field.layout())),
        };
        let _ = writeln!(self.text, "{place} {}: {ty}", field.name());
    }

    fn signature(&mut self, function: &TLFunction) -> String {
        let parameters: Vec<String> = function.param_type_layouts.iter().map(|layout| self.label(layout())).collect();
        let answer = function.return_type_layout().map(|layout| format!(" -> {}", self.label(layout())));
        let qualifier = if function.fn_qualifs.is_unsafe() { "unsafe " } else { "" };
        let names = function.param_names.as_str().trim_end_matches(';').replace(';', ", ");
        let lifetimes = function.paramret_lifetime_indices;
        let lifetimes = if lifetimes.is_empty() { String::new() } else { format!(" {:?}", lifetimes.as_slice()) };
        format!("{qualifier}fn({}){}, named {names:?}{lifetimes}", parameters.join(", "), answer.unwrap_or_default())
    }
}

/// A text with single spaces.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The first lines that differ.
fn difference(old: &str, new: &str) -> String {
    let (old, new): (HashSet<&str>, HashSet<&str>) = (old.lines().collect(), new.lines().collect());
    let mut lines: Vec<String> = old.difference(&new).map(|line| format!("- {line}")).collect();
    lines.extend(new.difference(&old).map(|line| format!("+ {line}")));
    lines.sort_by(|a, b| a[1..].cmp(&b[1..]));
    lines.truncate(40);
    lines.join("\n")
}

#[test]
fn the_layout_of_the_boundary_does_not_change_without_a_new_major_version() {
    let (now, path) = (describe(), Path::new(SNAPSHOT));
    let frozen = std::fs::read_to_string(path).unwrap_or_default();
    if now == frozen {
        return;
    }
    let (before, version) = (frozen.lines().next().unwrap_or_default(), now.lines().next().unwrap_or_default());
    let may_be_written = before != version || API_VERSION.starts_with("0.");
    if may_be_written && std::env::var("BUTLER_LAYOUT").is_ok_and(|value| value == "write") {
        std::fs::write(path, &now).expect("the source folder can be written");
        return;
    }
    let remedy = if before == version && !may_be_written {
        "every plugin out there would be refused, or worse. Put the types back as they were: new abilities are new JSON \
         fields, service names and capabilities. If it must be, it is a new major version"
    } else if before == version {
        "before 1.0 that is allowed: BUTLER_LAYOUT=write cargo test -p butler-plugin-api layout, and commit layout.snap"
    } else {
        "the version is a new one, so that is allowed: BUTLER_LAYOUT=write cargo test -p butler-plugin-api layout, commit \
         layout.snap, and freeze a copy by tests/third-party/freeze.sh"
    };
    panic!(
        "the layout of the boundary is not that of plugin-api/src/abi/layout.snap:\n{}\n{remedy}",
        difference(&frozen, &now)
    );
}

#[test]
fn no_feature_changes_the_frozen_types() {
    let types = include_str!("types.rs");
    assert!(
        !types.contains("cfg"),
        "types.rs must be the same with every feature, in debug and release, on every system"
    );
}
