//! Making and removing a service.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use windows_service::service::{
    Service, ServiceAccess, ServiceAction, ServiceActionType, ServiceErrorControl, ServiceFailureActions,
    ServiceFailureResetPeriod, ServiceInfo, ServiceSidType, ServiceStartType, ServiceState, ServiceType,
};
use windows_service::service_manager::ServiceManagerAccess;

use super::account::Account;
use super::command_line::arguments;
use super::control::stopped;
use super::rights::{Needs, behind_mapped_drive, commands, may_replace};
use super::scm;
use crate::service::{Install, NAME};

/// A service that has failed is started again after so long; the last holds for all further times.
const RESTARTS: [Duration; 3] = [Duration::from_secs(10), Duration::from_secs(30), Duration::from_secs(60)];
/// After so long without a failure the first counts again.
const FORGET: Duration = Duration::from_hours(24);
/// When the machine shuts down, a service gets what its stop takes and this.
const SHUTDOWN_MORE: Duration = Duration::from_secs(15);
/// A service that is removed is gone within this time, unless somebody looks at it.
const GONE: Duration = Duration::from_secs(10);

/// Makes the service, or sets up anew one of Butler's; answers with what comes next.
pub fn install(install: &Install) -> anyhow::Result<String> {
    let Install { name, executable, config, account, setup, password, private } = install;
    let settings = &setup.loaded.config;
    let written = std::iter::once(&settings.store.path).chain(settings.log.file.as_ref().map(|file| &file.path));
    let folders: Vec<PathBuf> = written.clone().filter_map(|file| file.parent()).map(Path::to_owned).collect();
    let named = [executable, config].into_iter().chain(written).chain(&settings.plugin_dirs);
    for path in named.chain(&install.reads()) {
        refuse_mapped_drive(path)?;
    }
    let asked = account.as_deref().map(Account::named);
    let manager = scm::manager(ServiceManagerAccess::CONNECT | ServiceManagerAccess::CREATE_SERVICE)?;
    // To start a service is a right that its restarts take.
    let access =
        ServiceAccess::QUERY_CONFIG | ServiceAccess::CHANGE_CONFIG | ServiceAccess::QUERY_STATUS | ServiceAccess::START;
    let there = scm::find(&manager, name, access)?;
    // Of somebody else it is refused before anything is made.
    let ours = there.as_ref().map(|service| scm::ours(service, name)).transpose()?;
    let account = match (&ours, &asked) {
        (_, Some(asked)) => asked.clone(),
        (Some((config, _)), None) => {
            Account::named(&config.account_name.as_deref().unwrap_or_default().to_string_lossy())
        }
        (None, None) => Account::of_service(name),
    };
    let made: Vec<PathBuf> = folders.iter().filter(|folder| !folder.exists()).cloned().collect();
    if account.in_access_lists().is_some() {
        for folder in &made {
            // The account may not make it.
            std::fs::create_dir_all(folder)
                .with_context(|| format!("the folder {} cannot be made", folder.display()))?;
        }
    }
    let info = ServiceInfo {
        name: name.into(),
        display_name: display_name(name).into(),
        service_type: ServiceType::OWN_PROCESS,
        start_type: ServiceStartType::AutoStart,
        error_control: ServiceErrorControl::Normal,
        executable_path: executable.clone(),
        launch_arguments: arguments(name, utf8(config)?).into_iter().map(OsString::from).collect(),
        dependencies: Vec::new(),
        // Of a service that is there it stays as it is unless another one is asked for.
        account_name: (there.is_none() || asked.is_some()).then(|| account.name().into()),
        account_password: password.as_ref().map(OsString::from),
    };
    let mut text = String::new();
    let mut line = |line: &str| {
        // Writing to a text does not fail.
        let _ = writeln!(text, "{line}");
    };
    let service = match there {
        Some(service) => {
            service
                .change_config(&info)
                .map_err(scm::explained)
                .context(format!("the service {name} cannot be changed"))?;
            let runs = scm::status(&service)?.current_state != ServiceState::Stopped;
            line(&format!(
                "changed    the service {name}{}",
                if runs { "; it takes effect when it is started again" } else { "" }
            ));
            service
        }
        None => {
            let made = manager.create_service(&info, access);
            let made = made.map_err(scm::explained).with_context(|| format!("the service {name} cannot be made"))?;
            line(&format!("installed  the service {name}"));
            made
        }
    };
    line(&format!("config     {}", config.display()));
    line(&format!("account    {account}"));
    let shutdown = setup.loaded.config.shutdown_timeout.duration() + SHUTDOWN_MORE;
    for (what, error) in set_up(&service, config, shutdown) {
        line(&format!("not set    {what}: {:#}", scm::explained(error)));
    }
    if let Err(error) = winlog2::register(name) {
        line(&format!("not set    its source in the event log: {error}"));
    }

    let mut step = 0;
    let mut next = |title: &str, lines: &[String]| {
        step += 1;
        let _ = write!(text, "\n{step}. {title}\n");
        for line in lines {
            let _ = writeln!(text, "     {line}");
        }
    };
    let loaded = &setup.loaded;
    if let Some(account) = account.in_access_lists() {
        let program = executable.parent().unwrap_or(executable);
        let replaces = may_replace(&folders, program, &loaded.base_dir);
        let needs = Needs {
            program,
            config: &loaded.base_dir,
            plugins: loaded.config.plugin_dirs.clone(),
            written: folders,
            made: &made,
            read: install.reads(),
            private,
        };
        let mut lines = commands(needs, account);
        if replaces {
            lines.push(
                "Who may write the folder of executable or config may replace them: better give store and log one of their own"
                    .to_owned(),
            );
        }
        next("Give the account its rights, and the same for what plugins write:", &lines);
    }
    if !account.is_own() {
        let how = "secpol.msc, Local Policies, User Rights Assignment: add the account, unless a group policy has it"
            .to_owned();
        next("Let the account \"Log on as a service\":", &[how]);
    }
    let variables = install.environment();
    if !variables.is_empty() {
        let names = variables.into_iter().collect::<Vec<_>>().join(", ");
        let how = format!("{names}: put them as `${{file:PATH}}`, for everybody can read the variables of the system");
        next(
            "A service sees the variables of the system only, and the config takes some from the environment:",
            &[how],
        );
    }
    let option = if name == NAME { String::new() } else { format!(" --name {name}") };
    next(
        "Start it, now and whenever its executable was replaced (stop it before):",
        &[format!("butler service start{option}")],
    );
    if loaded.config.log.file.is_none() {
        let how = "a service has no standard error. Without it only warnings and errors are kept, in the event log"
            .to_owned();
        next("Have a log in files, by `log: { file: { path: logs/butler.log } }` in the config:", &[how]);
    }
    Ok(text)
}

/// What is set after a service is made; what is not taken, with why.
fn set_up(service: &Service, config: &Path, shutdown: Duration) -> Vec<(&'static str, windows_service::Error)> {
    let restart = |delay| ServiceAction { action_type: ServiceActionType::Restart, delay };
    let restarts = ServiceFailureActions {
        reset_period: ServiceFailureResetPeriod::After(FORGET),
        reboot_msg: None,
        command: None,
        actions: Some(RESTARTS.map(restart).to_vec()),
    };
    let description = format!("Tells of failed tasks of Qlik Sense, by {}", config.display());
    [
        ("its description", service.set_description(description)),
        ("its delayed start", service.set_delayed_auto_start(true)),
        ("that it is started again after a failure", service.update_failure_actions(restarts)),
        ("the same after an end with an error", service.set_failure_actions_on_non_crash_failures(true)),
        ("its own identity in access lists", service.set_config_service_sid_info(ServiceSidType::Unrestricted)),
        ("its time to stop when the machine shuts down", service.set_preshutdown_timeout(shutdown)),
    ]
    .into_iter()
    .filter_map(|(what, set)| Some((what, set.err()?)))
    .collect()
}

/// Stops and removes the service.
pub fn uninstall(name: &str) -> anyhow::Result<String> {
    let access = ServiceAccess::STOP | ServiceAccess::QUERY_STATUS | ServiceAccess::DELETE;
    let (service, ..) = scm::open(name, access)?;
    stopped(&service).with_context(|| format!("the service {name} does not stop, and stays"))?;
    service.delete().map_err(scm::explained).with_context(|| format!("the service {name} cannot be removed"))?;
    // It is there as long as somebody holds it.
    drop(service);
    let source = winlog2::deregister(name).err().map(|error| format!(" Its source in the event log stays: {error}"));
    let until = Instant::now() + GONE;
    let manager = scm::manager(ServiceManagerAccess::CONNECT)?;
    while scm::find(&manager, name, ServiceAccess::QUERY_STATUS)?.is_some() {
        if Instant::now() > until {
            bail!("the service {name} is gone as soon as the windows that show services are closed");
        }
        sleep(scm::LOOK);
    }
    let source = source.unwrap_or_default();
    Ok(format!("The service {name} is stopped and removed. Config, store and log are where they were.{source}"))
}

/// No two services may have the same.
fn display_name(name: &str) -> String {
    if name == NAME { "Butler for Qlik Sense".to_owned() } else { format!("Butler for Qlik Sense ({name})") }
}

/// What is not there yet is on the drive of the folder that it will be made in.
fn refuse_mapped_drive(path: &Path) -> anyhow::Result<()> {
    let mut above = path.ancestors();
    let there = above.find_map(|there| Some((there, std::fs::canonicalize(there).ok()?)));
    let (there, canonical) = there.with_context(|| format!("{} is not there", path.display()))?;
    if let Some(server) = behind_mapped_drive(&there.to_string_lossy(), &canonical.to_string_lossy()) {
        let rest = path.strip_prefix(there).unwrap_or(Path::new(""));
        let server: PathBuf = Path::new(&server).components().chain(rest.components()).collect();
        bail!("{} is on a drive that services do not see: name it {}", path.display(), server.display());
    }
    Ok(())
}

fn utf8(path: &Path) -> anyhow::Result<&str> {
    path.to_str().with_context(|| format!("the path {} is no Unicode: choose another one", path.display()))
}
