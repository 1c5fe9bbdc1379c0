//! A stand-in for the repository service (QRS) and the engine (QIX) of Qlik Sense Enterprise on Windows.
//!
//! The simulator is a real HTTPS server on the loopback address: it demands a client certificate of its own authority,
//! the cross-site key and the `X-Qlik-User` header, and answers the calls that a companion program makes about tasks,
//! apps, users, execution results and script logs. The engine is a WebSocket server on a port of its own, with the same
//! certificates and the apps of the same site. Tests drive them through five handles:
//!
//! - [`Site`]: what the simulated Qlik Sense contains. Tasks can be added and "run" while the server is up.
//! - [`Faults`]: what goes wrong: delays, error statuses, resets, silence, nonsense, answers
//!   that are cut off, without end or of another form.
//! - [`Engine`]: what apps contain, how reloads go, what goes wrong there ([`EngineFault`]), and what has happened.
//! - [`Counts`]: what arrived: connections, handshakes, requests per [`Endpoint`].
//! - [`Certificates`]: who trusts whom, and the three files that Qlik's management console would export.
//!
//! ```
//! use qlik_simulator::{Endpoint, Fault, Options, QlikSimulator, Site, Task};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let simulator = QlikSimulator::start(Options::default()).await?;
//!
//! // A client needs the address and the three exported files.
//! let folder = std::env::temp_dir().join(format!("qlik-simulator-doc-{}", std::process::id()));
//! simulator.certificates().write_to(&folder)?;
//! println!("https://{}/qrs/about", simulator.addr());
//!
//! // A task that fails: QRS now has an execution result and a script log for it.
//! let task = simulator.site().add_task(Task::reload("Load orders", Site::SAMPLE_APP).tag("nightly"));
//! simulator.site().fail_task(&task, "6f1cba14-59d6-4a0f-9a3d-2f6f4b8f0a11")?;
//!
//! // The next two requests for tasks meet an overloaded server.
//! simulator.faults().add(Fault::status(503).on(Endpoint::TaskFull).first(2));
//!
//! assert_eq!(simulator.counts().requests_to(Endpoint::TaskFull), 0);
//! simulator.stop().await; // clients now see "connection refused"
//! simulator.restart().await?; // same port, same certificates, same site
//! # std::fs::remove_dir_all(folder)?;
//! # Ok(())
//! # }
//! ```
//!
//! For benchmarks, [`Options::cheap`] fills answers into texts prepared at start, and makes up any task, app, user or
//! execution result whose identifier is asked for, so that the simulator costs little and needs no preparation.
//!
//! A tenant of Qlik Cloud is simulated by [`CloudSimulator`].
//!
//! Where the behaviour of the real service is not documented, the simulator takes the stricter side.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

mod body;
mod certificates;
mod cloud;
mod control;
mod counts;
mod engine;
mod faults;
mod filter;
mod ids;
mod listener;
mod options;
mod qrs;
mod request_log;
mod simulator;
mod site;
mod socket;
mod system_info;

pub use certificates::{CertificateError, CertificateFiles, Certificates, Ends, WindowsFiles};
pub use cloud::{CloudCall, CloudFault, CloudSimulator, Envelope, FailedReload, Teller, sign};
pub use control::Control;
pub use counts::{Asked, Counts};
pub use engine::{AppContents, EndedSession, Engine, EngineFault, EngineReload, ReloadPlan, ReloadState, SeenCall};
pub use faults::{Fault, Faults};
pub use filter::{Filter, FilterError};
pub use options::Options;
pub use qrs::{Endpoint, UnknownEndpoint};
pub use request_log::SeenRequest;
pub use simulator::{QlikSimulator, StartError};
pub use site::{
    Access, AccessRelease, AccessType, AccessTypes, AccessUse, App, CustomPropertyDefinition, Detail, ExecutionIds,
    ExecutionResult, License, NO_REFERENCE, NO_TIME, Node, Run, Scheduler, SchedulerKind, ScriptLogs, Site, Status,
    Stream, Tag, Task, TaskKind, UnknownTask, UnknownUser, User,
};
