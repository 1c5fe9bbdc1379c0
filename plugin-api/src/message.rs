//! Messages for people: what they can show of an event, templates, and shortening to what the other side takes.
//!
//! A plugin makes a message in three steps. [`Facts`] lays out all that is known of a delivery as variables; a
//! [`Template`] out of [`Templates`] renders them; [`shorten`] does so again with fewer lines of the script log until the
//! destination takes the result. When the template fails, the plugin sends a plain form made in code: an alert is never
//! lost for the sake of its looks. [`Trouble`] tells the administrator.
//!
//! ```
//! use butler_plugin_api::message::{BuiltIn, Cut, Facts, Format, Presentation, Templates};
//! use butler_plugin_api::{Instance, sample_delivery};
//!
//! const BUILT_IN: &[BuiltIn] = &[BuiltIn { kinds: &["*"], name: "all", source: "{{heading}}\n{{scriptLogTail}}" }];
//!
//! let presentation = Presentation::new(Some("Europe/Berlin"), 10, 20).unwrap();
//! let templates = Templates::built_in(BUILT_IN, Format::Text);
//! let delivery = sample_delivery("reload-task.failed");
//! // In a plugin: `Facts::gather(&delivery, &host, &presentation).await`.
//! let facts = Facts::of(&delivery, &Instance::default(), &presentation);
//! let text = templates.of(&delivery.event.kind).unwrap().text(&facts.context(Cut::NONE)).unwrap();
//! assert!(text.starts_with("Reload task failed: Sales nightly\n"));
//! ```

mod facts;
mod fit;
mod numbers;
mod presentation;
mod template;
mod templates;
mod trouble;

pub use facts::Facts;
pub use fit::{Cut, cut, shorten};
pub use presentation::Presentation;
pub use template::{Format, Template, TemplateError};
pub use templates::{BuiltIn, Templates};
pub use trouble::Trouble;
