//! The command line.

mod check;
mod client;
mod cloud;
mod deliveries;
mod doctor;
#[cfg(test)]
mod documents;
mod findings;
mod health;
mod init;
mod log_appender;
mod migrate;
mod new;
mod pin;
mod plugins;
mod progress;
mod reload;
mod render;
mod roads;
mod schedules;
mod schema;
mod service;
mod settings;
mod test_alert;
mod token;
mod udp_send;

use std::path::{Path, PathBuf};

use butler_plugin_api::kind;
use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand};

pub use udp_send::UdpSend;

use crate::config::Level;
use crate::daemon::{self, Alone, Failure};
use crate::observe;
use crate::service::Manager;

/// Butler, companion daemon of Qlik Sense Enterprise.
///
/// Hears of failed tasks, finds out the facts, and tells the plugins of the config.
#[derive(Debug, Parser)]
#[command(name = "butler", version, max_term_width = 110)]
struct Cli {
    /// Most detailed level of the log, instead of the config's: error, warn, info, debug or trace.
    #[arg(long, global = true, value_name = "LEVEL", value_parser = level)]
    log_level: Option<Level>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a first config, and what Qlik Sense needs to send to Butler: asks about six questions, or takes flags.
    Init(Box<init::Init>),
    /// Run the daemon until Ctrl-C or SIGTERM.
    Run(ConfigFile),
    /// Butler as a service: make, remove, start, stop, look.
    #[command(subcommand)]
    Service(service::Service),
    /// Check a config: everything in it, its plugins, their destinations, Qlik Sense and the user's rights there. Sends no alert,
    /// and needs neither a running daemon nor the daemon's machine.
    Check(ConfigFile),
    /// Look at the whole chain, link by link: all that `check` looks at, this machine (who may read secrets, the disk of the store)
    /// and the running daemon with what it has heard; by option, wait for a log appender and follow a sample to every instance.
    /// Exit code 1 when a link has failed, 2 for a config that cannot be used.
    Doctor(doctor::Doctor),
    /// Say whether the running daemon can do its work: exit code 0 if it is ready, 1 with the reason if not. For health checks
    /// of containers and for scripts.
    Health(health::Health),
    /// Show what an instance would send, and send nothing: to write templates.
    Render(render::Render),
    /// Send one alert, marked as a test, to the destination of an instance, and say what became of it. A sample goes there
    /// whatever the instance's routes are, a task (`--task`) only by them.
    TestAlert(test_alert::TestAlert),
    /// Have the running daemon read its config anew; as SIGHUP does, and says what became of it.
    Reload(ConfigFile),
    /// Write the JSON Schema of the config, with all plugins found.
    Schema(schema::Schema),
    /// Turn a config of Butler 16, or of a version before it, into one of this Butler, and report what became of each key.
    Migrate(migrate::Migrate),
    /// Plugins.
    #[command(subcommand)]
    Plugins(plugins::Plugins),
    /// Deliveries of the running daemon.
    #[command(subcommand)]
    Deliveries(deliveries::Deliveries),
    /// Schedules of the running daemon.
    #[command(subcommand)]
    Schedules(schedules::Schedules),
    /// Tokens for the REST API.
    #[command(subcommand)]
    Token(token::Token),
    /// Send a UDP message, or one that tells of an event as Qlik Sense would.
    UdpSend(UdpSend),
    /// Write the LocalLogConfig.xml by which a service of Qlik Sense sends to Butler.
    LogAppender(log_appender::LogAppender),
}

/// Which config file.
#[derive(Debug, Clone, Args)]
struct ConfigFile {
    /// Config file.
    #[arg(short, long, value_name = "FILE", env = "BUTLER_CONFIG")]
    config: PathBuf,
}

/// Which config file, where one helps but is not needed.
#[derive(Debug, Clone, Args)]
struct OptionalConfigFile {
    /// Config file.
    #[arg(short, long, value_name = "FILE", env = "BUTLER_CONFIG")]
    config: Option<PathBuf>,
}

/// Which instance is tried out, and of what kind the sample is.
#[derive(Debug, Clone, Args)]
struct Subject {
    /// Instance, by its name in the config.
    #[arg(long, value_name = "NAME")]
    instance: String,
    /// Kind of the sample event.
    #[arg(long, value_name = "KIND", default_value = kind::RELOAD_TASK_FAILED, value_parser = PossibleValuesParser::new(kind::ALL))]
    event: String,
}

fn level(text: &str) -> Result<Level, String> {
    serde_json::from_value(text.into()).map_err(|_| "write error, warn, info, debug or trace".to_owned())
}

/// Runs the command of the command line.
pub fn run() -> Result<(), Failure> {
    let cli = Cli::parse();
    match cli.command {
        Command::Init(init) => block_on(init.run(cli.log_level)),
        Command::Run(file) => run_daemon(&file.config, cli.log_level, &*crate::service::manager()),
        Command::Service(service) => service.run(cli.log_level),
        Command::Check(file) => block_on(check::run(&file.config, cli.log_level)),
        Command::Doctor(doctor) => block_on(doctor.run(cli.log_level)),
        Command::Health(health) => block_on(health.run()),
        Command::Render(render) => block_on(render.run(cli.log_level)),
        Command::TestAlert(alert) => block_on(alert.run(cli.log_level)),
        Command::Reload(file) => block_on(reload::run(&file)),
        Command::Schema(schema) => Ok(schema.run()?),
        Command::Migrate(migrate) => migrate.run(),
        Command::Plugins(plugins) => Ok(plugins.run()?),
        Command::Deliveries(deliveries) => block_on(deliveries.run()),
        Command::Schedules(schedules) => block_on(schedules.run()),
        Command::Token(token) => Ok(token.run()?),
        Command::UdpSend(send) => Ok(send.run()?),
        Command::LogAppender(appender) => Ok(appender.run()?),
    }
}

/// Starts one instance of a config by itself.
async fn try_out(file: &ConfigFile, instance: &str, log_level: Option<Level>) -> Result<Alone, Failure> {
    let setup = daemon::load(&file.config, log_level)?;
    observe::init_logging(log_level.unwrap_or(Level::Warn), setup.loaded.config.log.format);
    let lookups = daemon::lookups(&setup.loaded.config).unwrap_or_else(|error| {
        tracing::warn!("goes on without Qlik Sense: {error}");
        None
    });
    let start = Alone::start(&setup, instance, lookups);
    Ok(progress::waiting(&format!("the start of {instance}"), start).await?)
}

fn run_daemon(config: &Path, log_level: Option<Level>, manager: &dyn Manager) -> Result<(), Failure> {
    let setup = daemon::load(config, log_level)?;
    observe::init_daemon_logging(&setup.loaded.config.log);
    let result = block_on(daemon::run(setup, manager));
    if let Err(failure) = &result {
        observe::log_end(failure);
    }
    observe::flush_log();
    result
}

/// Runs a future on the main runtime. Two workers: Butler waits more than it computes.
fn block_on(future: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::Other(anyhow::Error::new(error).context("the system gives Butler no threads")))?;
    let result = runtime.block_on(future);
    // A name that is still being resolved must not hold up the end.
    runtime.shutdown_background();
    result
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
