//! The endpoints: those of Butler 16, with its bodies, messages and statuses.

use butler_plugin_api::{Endpoint, Request, Response, Scope};
use schemars::{JsonSchema, schema_for};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::copy::Options;
use crate::operations::{self, Operation};
use crate::path::{Fault, Flavour, Location, is_unc, relative};
use crate::settings::{Approved, Spot};
use crate::trouble::{ENDING, Trouble};

const COPY: &str = "/v4/filecopy";
const MOVE: &str = "/v4/filemove";
const DELETE: &str = "/v4/filedelete";
const CREATE: &str = "/v4/createdir";
const CREATE_QVD: &str = "/v4/createdirqvd";
/// A caller waits as long as it likes, and large files take their time; six hours, in seconds.
const DEADLINE: u32 = 6 * 3600;

/// What is to be copied.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
struct CopyBody {
    /// File or directory, an absolute path.
    from_file: String,
    /// What the copy is to be called, an absolute path.
    to_file: String,
    /// Whether a file that is there may be replaced. If not, it stays, and the answer is the same.
    overwrite: bool,
    /// Whether the copy has the times of its source.
    preserve_timestamp: bool,
}

/// What is to be moved.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
struct MoveBody {
    /// File or directory, an absolute path.
    from_file: String,
    /// What it is to be called, an absolute path.
    to_file: String,
    /// Whether what is there may be replaced. If not, the move fails.
    overwrite: bool,
}

/// What is to be deleted.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
struct DeleteBody {
    /// File or directory, an absolute path. A directory is deleted with all that is in it.
    delete_file: String,
}

/// Which directory is to be created.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct DirectoryBody {
    /// The directory; those around it are created, too.
    #[schemars(with = "String")]
    directory: Option<String>,
}

/// The texts of an operation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Words {
    /// For metrics.
    pub(crate) operation: &'static str,
    /// What it is called where paths of the network are refused.
    unc: &'static str,
    /// That nothing approves it.
    denied: &'static str,
    /// That its source is not there.
    missing: &'static str,
    /// That it failed.
    failed: &'static str,
}

const COPY_WORDS: Words = Words {
    operation: "copy",
    unc: "file copy",
    denied: "No approved fromDir/toDir for file copy",
    missing: "fromFile does not exist",
    failed: "Failed copying file",
};
const MOVE_WORDS: Words = Words {
    operation: "move",
    unc: "file move",
    denied: "No approved fromDir/toDir for file move",
    missing: "fromFile does not exist",
    failed: "Failed moving file",
};
const DELETE_WORDS: Words = Words {
    operation: "delete",
    // Sic.
    unc: "file copy",
    denied: "No approved directory for file delete",
    missing: "Delete failed, file does not exist",
    failed: "Failed deleting file",
};
const CREATE_WORDS: Words = Words {
    operation: "createDir",
    unc: "create directory",
    denied: "No approved directory for creating directories",
    missing: "the directory cannot be found",
    failed: "Failed to create directory",
};
const CREATE_QVD_WORDS: Words =
    Words { operation: "createDirQVD", denied: "Directory must be within the QVD folder", ..CREATE_WORDS };

/// A request that can be carried out: what is to be done, and what is answered then.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) operation: Operation,
    pub(crate) words: Words,
    /// When it is done.
    pub(crate) answer: Response,
}

/// All endpoints.
pub(crate) fn all() -> Vec<Endpoint> {
    let error = json!({
        "type": "object",
        "properties": {
            "statusCode": { "type": "integer" },
            "error": { "type": "string" },
            "message": { "type": "string" },
        },
        "required": ["statusCode", "error", "message"],
    });
    let endpoint = |method: &str, path: &str, name: &str, summary: &str, body: &Value| {
        Endpoint::new(method, path, Scope::Files, summary)
            .named(name)
            .deadline(DEADLINE)
            .body(body.clone())
            .answer(400, "A path is missing or cannot be used, or its file does not exist", error.clone())
            .answer(403, "No directory of the settings approves it, or a link leads out of it", error.clone())
            .answer(500, "It was tried and failed; the message says why", error.clone())
            .answer(503, "Too many operations wait already", error.clone())
    };
    let (copy, moved) = (schema_for!(CopyBody).to_value(), schema_for!(MoveBody).to_value());
    let deleted = schema_for!(DeleteBody).to_value();
    let mut directory = schema_for!(DirectoryBody);
    // Its absence has a message of its own, and differs from an empty text.
    directory.remove("required");
    let directory = directory.to_value();
    let below_qvd = "Creates a directory below that for QVD files";
    vec![
        endpoint("PUT", COPY, "fileCopy", "Copies a file or a directory", &copy).answer(
            201,
            "Copied; or left alone, because the target exists",
            copy,
        ),
        endpoint("PUT", MOVE, "fileMove", "Moves a file or a directory", &moved).answer(201, "Moved", moved),
        endpoint("DELETE", DELETE, "fileDelete", "Deletes a file or a directory", &deleted).answer(
            204,
            "Deleted",
            Value::Null,
        ),
        endpoint("POST", CREATE, "createDir", "Creates a directory", &directory).answer(
            201,
            "It exists",
            directory.clone(),
        ),
        endpoint("POST", CREATE_QVD, "createDirQVD", below_qvd, &directory).answer(201, "It exists", directory),
    ]
}

/// Reads a request and finds what approves it; nothing is looked for on disk. Else the answer.
pub(crate) fn order(flavour: Flavour, approved: &Approved, request: &Request) -> Result<Order, Response> {
    match request.route.as_str() {
        COPY => {
            let mut body: CopyBody = read(request)?;
            let (from, to) = two_paths(flavour, COPY_WORDS, &body.from_file, &body.to_file)?;
            let options = Options { overwrite: body.overwrite, preserve_timestamp: body.preserve_timestamp };
            (body.from_file, body.to_file) = (from.to_string(), to.to_string());
            place(COPY_WORDS, operations::copy(&approved.copy, &from, &to, options), Response::json(201, &body))
        }
        MOVE => {
            let mut body: MoveBody = read(request)?;
            let (from, to) = two_paths(flavour, MOVE_WORDS, &body.from_file, &body.to_file)?;
            (body.from_file, body.to_file) = (from.to_string(), to.to_string());
            place(
                MOVE_WORDS,
                operations::moving(&approved.moving, &from, &to, body.overwrite),
                Response::json(201, &body),
            )
        }
        DELETE => {
            let body: DeleteBody = read(request)?;
            let path = path(flavour, DELETE_WORDS, "deleteFile", &body.delete_file)?;
            place(DELETE_WORDS, operations::deletion(&approved.delete, &path), Response::status(204))
        }
        CREATE => {
            let body: DirectoryBody = read(request)?;
            let Some(directory) = &body.directory else { return Err(nothing()) };
            // Without a meaning of its own here, a doubled slash is one too many.
            let text = if flavour == Flavour::Unix && is_unc(directory) {
                format!("/{}", directory.trim_start_matches(['/', '\\']))
            } else {
                directory.clone()
            };
            let path = Location::parse(flavour, &text).map_err(|fault| invalid("directory", directory, &fault))?;
            place(CREATE_WORDS, operations::creation(&approved.create, &path), Response::json(201, &body))
        }
        CREATE_QVD => {
            let body: DirectoryBody = read(request)?;
            let Some(directory) = &body.directory else { return Err(nothing()) };
            let Some(qvd) = approved.qvd.clone() else {
                return Err(Response::error(403, "there is no QVD folder: Butler's config names none (`qvdDir`)"));
            };
            let operation = match relative(flavour, directory) {
                Ok(steps) => Some(Operation::CreateFolder(Spot { directory: qvd, steps })),
                Err(Fault::Outside) => None,
                Err(fault) => return Err(invalid("directory", directory, &fault)),
            };
            place(CREATE_QVD_WORDS, operation, Response::json(201, &body))
        }
        route => Err(Response::error(404, &format!("the plugin file-ops does not serve {route}"))),
    }
}

/// What an endpoint is called in metrics.
pub(crate) fn operation(route: &str) -> Option<&'static str> {
    let words = match route {
        COPY => COPY_WORDS,
        MOVE => MOVE_WORDS,
        DELETE => DELETE_WORDS,
        CREATE => CREATE_WORDS,
        CREATE_QVD => CREATE_QVD_WORDS,
        _ => return None,
    };
    Some(words.operation)
}

fn place(words: Words, operation: Option<Operation>, answer: Response) -> Result<Order, Response> {
    match operation {
        Some(operation) => Ok(Order { operation, words, answer }),
        None => Err(Response::error(403, words.denied)),
    }
}

fn read<T: DeserializeOwned>(request: &Request) -> Result<T, Response> {
    serde_json::from_slice(&request.body)
        .map_err(|error| Response::error(400, &format!("the body is not as it should be: {error}")))
}

fn nothing() -> Response {
    Response::error(400, "Required parameter missing")
}

fn invalid(name: &str, text: &str, fault: &Fault) -> Response {
    let shown: String = text.chars().take(200).collect();
    Response::error(400, &format!("{name} {fault}: {shown}"))
}

fn two_paths(flavour: Flavour, words: Words, from: &str, to: &str) -> Result<(Location, Location), Response> {
    if from.is_empty() || to.is_empty() {
        return Err(nothing());
    }
    Ok((path(flavour, words, "fromFile", from)?, path(flavour, words, "toFile", to)?))
}

fn path(flavour: Flavour, words: Words, name: &str, text: &str) -> Result<Location, Response> {
    if text.is_empty() {
        return Err(nothing());
    }
    Location::parse(flavour, text).map_err(|fault| match fault {
        Fault::Unc => Response::error(
            400,
            &format!(
                "UNC paths not supported for {} operations when running Butler on non-Windows OS. Path: {text}",
                words.unc
            ),
        ),
        fault => invalid(name, text, &fault),
    })
}

impl Words {
    /// The answer when it is not.
    pub(crate) fn answer(&self, trouble: &Trouble) -> Response {
        match trouble {
            Trouble::Missing => Response::error(400, self.missing),
            Trouble::LeadsOut => Response::error(403, &format!("{}: a link leads out of it", self.denied)),
            Trouble::Refused(why) => Response::error(403, why),
            Trouble::Invalid(why) => Response::error(400, why),
            Trouble::Ending => Response::error(503, ENDING),
            Trouble::Failed(why) => Response::error(500, &format!("{}: {why}", self.failed)),
        }
    }
}
