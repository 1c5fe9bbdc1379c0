//! Looks at a file before it is opened: opening a library runs its code.

use std::path::Path;

use abi_stable::library::ROOT_MODULE_LOADER_NAME;
use object::read::{NameOrOrdinal, ReadCache};
use object::{Architecture, BinaryFormat, FileKind, Object, ObjectKind};

/// Why a file is not a plugin that could be opened here.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] std::io::Error),
    /// Not a library at all, or a damaged one.
    #[error("is not a dynamic library, or is damaged: {0}")]
    NotALibrary(String),
    /// A library of another system or processor.
    #[error("was built for {found}, this system needs {needed}")]
    WrongPlatform {
        /// Format and architecture of the file.
        found: String,
        /// Those of this process.
        needed: String,
    },
    /// A library, but it does not export what a plugin exports.
    #[error("is a library but not a Butler plugin: it exports no plugin (`butler_plugin_api::export!` is missing)")]
    NotAPlugin,
}

/// Reads the headers of a file.
pub(super) fn inspect(path: &Path) -> Result<(), InspectError> {
    // Only what is looked at is read, not the whole of it.
    let data = ReadCache::new(std::fs::File::open(path)?);
    let (format, architecture) = native();
    let kind = FileKind::parse(&data).map_err(|error| InspectError::NotALibrary(error.to_string()))?;
    let parsed = object::File::parse(&data);
    // Its first bytes say enough, even if the rest is damaged or of a kind that is never opened here.
    if let Some(found) = format_of(kind).filter(|found| *found != format) {
        let found = parsed.map_or_else(|_| system(found).to_owned(), |file| describe(found, file.architecture()));
        return Err(InspectError::WrongPlatform { found, needed: describe(format, architecture) });
    }
    let file = parsed.map_err(|error| InspectError::NotALibrary(error.to_string()))?;
    if file.format() != format || file.architecture() != architecture {
        return Err(InspectError::WrongPlatform {
            found: describe(file.format(), file.architecture()),
            needed: describe(format, architecture),
        });
    }
    // PE files do not tell libraries from executables in `kind`.
    if file.kind() != ObjectKind::Dynamic && file.format() != BinaryFormat::Pe {
        return Err(InspectError::NotALibrary(format!("it is of kind {:?}", file.kind())));
    }
    let exports = file.exports().map_err(|error| InspectError::NotALibrary(error.to_string()))?;
    let name = ROOT_MODULE_LOADER_NAME.as_bytes();
    // Mach-O puts an underscore before each name.
    let mut found = false;
    for export in exports {
        let export = export.map_err(|error| InspectError::NotALibrary(error.to_string()))?;
        if let NameOrOrdinal::Name(exported) = export.name() {
            found |= exported == name || exported.strip_prefix(b"_") == Some(name);
        }
    }
    if found { Ok(()) } else { Err(InspectError::NotAPlugin) }
}

fn native() -> (BinaryFormat, Architecture) {
    let format = if cfg!(windows) {
        BinaryFormat::Pe
    } else if cfg!(target_vendor = "apple") {
        BinaryFormat::MachO
    } else {
        BinaryFormat::Elf
    };
    let architecture = if cfg!(target_arch = "x86_64") {
        Architecture::X86_64
    } else if cfg!(target_arch = "aarch64") {
        Architecture::Aarch64
    } else {
        Architecture::Unknown
    };
    (format, architecture)
}

fn format_of(kind: FileKind) -> Option<BinaryFormat> {
    match kind {
        FileKind::Elf32 | FileKind::Elf64 => Some(BinaryFormat::Elf),
        FileKind::Pe32 | FileKind::Pe64 => Some(BinaryFormat::Pe),
        FileKind::MachO32 | FileKind::MachO64 | FileKind::MachOFat32 | FileKind::MachOFat64 => {
            Some(BinaryFormat::MachO)
        }
        _ => None,
    }
}

fn system(format: BinaryFormat) -> &'static str {
    match format {
        BinaryFormat::Pe => "Windows",
        BinaryFormat::MachO => "macOS",
        BinaryFormat::Elf => "Linux",
        _ => "an unknown system",
    }
}

fn describe(format: BinaryFormat, architecture: Architecture) -> String {
    format!("{} on {architecture:?}", system(format))
}
