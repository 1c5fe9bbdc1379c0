//! Butler as a service of Windows: Wine's service control manager makes, starts, asks and stops it.

use std::net::UdpSocket;
use std::process::Output as Raw;
use std::sync::Arc;

use e2e::{Answer, Output, Sink, Wine, failure, fields, wait_for};
use serde_json::Value;
use tempfile::TempDir;

use super::{hook, text, wine};

const SERVICES: &str = r"HKLM\System\CurrentControlSet\Services";
const SOURCES: &str = r"HKLM\System\CurrentControlSet\Services\EventLog\Application";
const PARAM_CHANGE: &str = "6";

/// A service that is to be, in a folder with blanks and letters beyond ASCII. It is removed when it is dropped.
struct Service {
    wine: Wine,
    folder: Arc<TempDir>,
    name: &'static str,
}

impl Service {
    fn new(name: &'static str, config: &str) -> Self {
        let wine = wine();
        let folder = wine.folder_on_c("neue größe ");
        wine.prepare(&folder, config);
        Self { wine, folder, name }
    }

    /// `butler service …`.
    async fn command(&self, command: &str, more: &[&str]) -> Output {
        let arguments = [&["service", command, "--name", self.name], more].concat();
        self.wine.ask(&arguments).await
    }

    /// The same, which must work; what it prints.
    async fn works(&self, command: &str, more: &[&str]) -> String {
        let mut output = self.command(command, more).await;
        // Wine gives a process 10 s to become a service, and a loaded machine takes longer at times. What it did then is over.
        if command == "start" && output.stderr.contains("(error 1053)") {
            self.command("stop", &[]).await;
            output = self.command(command, more).await;
        }
        assert_eq!(output.code, 0, "service {command}: {output:?}");
        output.stdout
    }

    /// The same, which must fail; what it says.
    async fn fails(&self, command: &str, more: &[&str]) -> String {
        let output = self.command(command, more).await;
        assert_eq!(output.code, 1, "service {command}: {output:?}");
        output.stdout + &output.stderr
    }

    /// Installs it by a path that is relative to the folder that the command is given in.
    async fn installed(self) -> (Self, String) {
        let (wine, folder, name) = (self.wine.clone(), self.folder.clone(), self.name);
        let run = move || wine.run_in(folder.path(), &["service", "install", "-c", "butler.yaml", "--name", name], &[]);
        let output = tokio::task::spawn_blocking(run).await.unwrap();
        assert_eq!(output.code, 0, "{output:?}");
        (self, output.stdout)
    }

    fn config(&self) -> String {
        Wine::path(&self.folder.path().join("butler.yaml"))
    }

    fn run_file(&self) -> Option<Value> {
        serde_json::from_slice(&std::fs::read(self.folder.path().join("butler.db.run.json")).ok()?).ok()
    }

    /// What is in the log so far.
    fn log(&self) -> String {
        let files = std::fs::read_dir(self.folder.path().join("logs")).into_iter().flatten();
        files.map(|file| text(&file.unwrap().path())).collect()
    }

    async fn logs(&self, part: &str) {
        wait_for(&format!("`{part}` in the log"), || async { self.log().contains(part).then_some(()) }).await;
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.wine.run(&["service", "uninstall", "--name", self.name]);
    }
}

/// A program of Wine, or of the tests, run to its end.
async fn program(wine: &Wine, program: &str, arguments: &[&str]) -> Raw {
    let mut command = wine.command_of(program.as_ref());
    command.args(arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// What the registry has there; empty if there is nothing.
async fn registry(wine: &Wine, key: &str) -> String {
    let output = program(wine, "reg.exe", &["query", key]).await;
    // Wine's program complains on its standard output.
    if output.status.success() { String::from_utf8_lossy(&output.stdout).into_owned() } else { String::new() }
}

fn config(sink: &Sink) -> String {
    format!("log: {{ file: {{ path: logs/butler.log }} }}\nplugins:\n{}", hook(sink))
}

#[tokio::test]
async fn a_service_is_installed_runs_stops_and_is_removed() {
    let sink = Sink::start().await;
    let (service, said) = Service::new("test-life", &config(&sink)).installed().await;
    let at = Wine::path(service.folder.path());
    for part in [
        "installed  the service test-life\n".to_owned(),
        format!("config     {}\n", service.config()),
        "account    NT SERVICE\\test-life\n".to_owned(),
        format!("icacls \"{at}\" /grant \"NT SERVICE\\test-life:(OI)(CI)M\"\n"),
        // New, so nobody else's.
        format!(
            "icacls \"{at}\\logs\" /inheritance:r /grant:r \"*S-1-5-18:(OI)(CI)F\" \"*S-1-5-32-544:(OI)(CI)F\" \
             \"NT SERVICE\\test-life:(OI)(CI)M\"\n"
        ),
        "     Who may write the folder of executable or config may replace them: ".to_owned(),
        "     butler service start --name test-life\n".to_owned(),
    ] {
        assert!(said.replace('\r', "").contains(&part), "`{part}` is not in {said}");
    }
    let key = registry(&service.wine, &format!(r"{SERVICES}\test-life")).await;
    let executable = Wine::path(&service.wine.file("butler.exe"));
    for part in [
        r"NT SERVICE\test-life",
        "Butler for Qlik Sense (test-life)",
        "Tells of failed tasks of Qlik Sense",
        // Wine's program prints letters beyond ASCII in a code page.
        &format!("{executable} service run --config \"C:\\"),
        r#"\butler.yaml" --name test-life"#,
    ] {
        assert!(key.contains(part), "`{part}` is not in {key}");
    }
    let source = registry(&service.wine, &format!(r"{SOURCES}\test-life")).await;
    assert!(source.contains("EventMessageFile") && source.contains(&executable), "{source}");

    let status = service.fails("status", &[]).await;
    assert!(
        status.contains("state     stopped") && status.contains("`butler service start --name test-life`"),
        "{status}"
    );
    let started = service.works("start", &[]).await;
    assert!(started.contains("The service test-life runs, with "), "{started}");
    let run = service.run_file().expect("the store is beside the config");
    let status = service.works("status", &[]).await;
    for part in ["state     running", "account   NT SERVICE\\test-life", &format!("config    {}", service.config())] {
        assert!(status.contains(part), "`{part}` is not in {status}");
    }
    // A second start is none.
    service.works("start", &[]).await;
    assert_eq!(service.run_file().as_ref(), Some(&run));

    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(failure(&fields()).as_bytes(), run["udp"].as_str().unwrap()).unwrap();
    wait_for("the alert", || async { sink.successes().pop() }).await;

    let stopped = service.works("stop", &[]).await;
    assert!(stopped.contains("The service test-life is stopped."), "{stopped}");
    let log = service.log();
    assert!(log.contains("stopping signal=\"stop of the service\"") && log.contains("INFO stopped"), "{log}");
    assert!(service.run_file().is_none());
    assert!(service.works("stop", &[]).await.contains("did not run"));

    let removed = service.works("uninstall", &[]).await;
    assert!(removed.contains("The service test-life is stopped and removed."), "{removed}");
    assert_eq!(registry(&service.wine, &format!(r"{SERVICES}\test-life")).await, "");
    assert_eq!(registry(&service.wine, &format!(r"{SOURCES}\test-life")).await, "");
    assert!(service.folder.path().join("butler.db").exists());
    let gone = service.fails("start", &[]).await;
    assert!(
        gone.contains("there is no service test-life: `butler service install --name test-life` makes it"),
        "{gone}"
    );
}

#[tokio::test]
async fn a_running_service_is_removed_over_a_stop() {
    let sink = Sink::start().await;
    let (service, _) = Service::new("test-remove", &config(&sink)).installed().await;
    service.works("start", &[]).await;
    service.works("uninstall", &[]).await;
    assert!(service.log().contains("INFO stopped"), "{}", service.log());
}

#[tokio::test]
async fn a_service_reads_its_config_anew_when_it_is_told_that_parameters_have_changed() {
    let sink = Sink::start().await;
    let (service, _) = Service::new("test-reload", &config(&sink)).installed().await;
    service.works("start", &[]).await;
    service.wine.prepare(&service.folder, &format!("{}  - use: probe\n", config(&sink)));
    let program_file = service.wine.file("service.exe");
    let told = program(&service.wine, program_file.to_str().unwrap(), &["control", "test-reload", PARAM_CHANGE]).await;
    assert!(told.status.success(), "{told:?}");
    service.logs("started=\"probe\"").await;
    service.works("stop", &[]).await;
}

#[tokio::test]
async fn a_service_that_cannot_start_says_why() {
    let sink = Sink::start().await;
    let (service, _) = Service::new("test-faulty", &config(&sink)).installed().await;
    std::fs::write(service.folder.path().join("butler.yaml"), "version: 1\nnonsense: 1\n").unwrap();
    for said in [service.fails("start", &[]).await, service.fails("status", &[]).await] {
        assert!(said.contains("its config cannot work: `butler check`"), "{said}");
    }
    // What it consists of is not for people.
    let output = service.wine.ask(&["service", "run", "-c", &service.config()]).await;
    assert!(output.code == 1 && output.stderr.contains("`butler run -c "), "{output:?}");
    assert!(!service.folder.path().join("butler.db").exists());
}

#[tokio::test]
async fn a_service_whose_instance_refuses_its_settings_does_not_start() {
    let sink = Sink::start().await;
    let refused = format!("{}  - {{ use: probe, settings: {{ fault: config }} }}\n", config(&sink));
    let (service, _) = Service::new("test-refused", &refused).installed().await;
    for said in [service.fails("start", &[]).await, service.fails("status", &[]).await] {
        assert!(said.contains("its config cannot work: `butler check`"), "{said}");
    }
}

#[tokio::test]
async fn a_stop_while_the_service_starts_waits_until_it_can_be_stopped() {
    let sink = Sink::start().await;
    let never = Sink::start().await;
    never.always(Some(Answer::Hang));
    let settings = format!("{{ fault: waitInStart, url: '{}' }}", never.url("/"));
    let slow = format!("{}  - {{ use: probe, settings: {settings} }}\n", config(&sink));
    let (service, _) = Service::new("test-slow", &slow).installed().await;
    let wine = service.wine.clone();
    let start = tokio::task::spawn_blocking(move || wine.run(&["service", "start", "--name", "test-slow"]));
    wait_for("the start to be under way", || async {
        service.fails("status", &[]).await.contains("state     starting").then_some(())
    })
    .await;
    let stopped = service.works("stop", &[]).await;
    assert!(stopped.contains("is stopped."), "{stopped}");
    assert!(service.log().contains("is ready"), "{}", service.log());
    let start = start.await.unwrap();
    // It has seen the service run, or only that it was stopped again.
    assert!(start.code == 0 || start.stderr.contains("it was stopped again"), "{start:?}");
}

#[tokio::test]
async fn services_of_others_are_left_alone_and_ones_own_are_set_up_anew() {
    let sink = Sink::start().await;
    let (service, _) = Service::new("test-again", &config(&sink)).installed().await;
    std::fs::rename(service.folder.path().join("butler.yaml"), service.folder.path().join("other.yaml")).unwrap();
    let other = Wine::path(&service.folder.path().join("other.yaml"));
    let said = service.works("install", &["-c", &other, "--user", r"NT AUTHORITY\LocalService"]).await;
    assert!(said.contains("changed    the service test-again") && said.contains("*S-1-5-19:(OI)(CI)RX"), "{said}");
    let status = service.fails("status", &[]).await;
    assert!(status.contains(&other) && status.contains(r"NT AUTHORITY\LocalService"), "{status}");
    // The account stays.
    let said = service.works("install", &["-c", &other]).await;
    assert!(said.contains(r"account    NT AUTHORITY\LocalService"), "{said}");

    let before = registry(&service.wine, &format!(r"{SERVICES}\Spooler")).await;
    assert!(before.contains("spoolsv.exe"), "{before}");
    for arguments in [&["install", "-c", &other][..], &["start"], &["stop"], &["uninstall"]] {
        let output = service.wine.ask(&[&["service"], arguments, &["--name", "Spooler"]].concat()).await;
        assert!(output.code == 1 && output.stderr.contains("is another program's"), "{output:?}");
    }
    assert_eq!(registry(&service.wine, &format!(r"{SERVICES}\Spooler")).await, before);
    let output = service.wine.ask(&["service", "install", "-c", &other, "--name", "test-2", "--user", "svc"]).await;
    assert!(output.code == 1 && output.stderr.contains("--password-file"), "{output:?}");
}

#[tokio::test]
async fn event_viewer_finds_texts_for_events_in_the_executable() {
    let wine = wine();
    let executable = Wine::path(&wine.file("butler.exe"));
    // Error, warning, information.
    for id in ["0xC0000001", "0x80000002", "0x40000003"] {
        let file = wine.file("service.exe");
        let output = program(&wine, file.to_str().unwrap(), &["message", &executable, id]).await;
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), "%1", "{output:?}");
    }
}
