use proptest::prelude::*;

use super::*;

const DETAILS: &str = "Configuration details:";

fn said(stdout: &[u8], stderr: &[u8]) -> Said {
    Said { code: Some(0), stdout: stdout.to_owned(), stderr: stderr.to_owned() }
}

fn found(stdout: &str) -> Found {
    read(&said(stdout.as_bytes(), b"")).unwrap()
}

fn fault_of(stderr: &str) -> Fault {
    read(&said(b"", stderr.as_bytes())).unwrap_err()
}

#[test]
fn services_of_samba_4_17() {
    let running = Found {
        state: State::Running,
        display_name: Some("Print Spooler".to_owned()),
        start_type: Some("Manual"),
        exe_path: Some("/usr/lib/x86_64-linux-gnu/samba/svcctl/smbd".to_owned()),
        dependencies: Some(Vec::new()),
        exit_code: None,
        service_exit_code: None,
    };
    assert_eq!(found(include_str!("../testdata/running.txt")), running);
    let stopped = found(include_str!("../testdata/stopped.txt"));
    assert_eq!((stopped.state, stopped.start_type), (State::Stopped, Some("Disabled")));
    assert_eq!(stopped.display_name.as_deref(), Some("Net Logon"));
}

/// As Windows fills the fields: a group without a name, names that slashes divide, a command line with `=`.
#[test]
fn a_service_of_windows() {
    let service = found(include_str!("../testdata/windows.txt"));
    assert_eq!((service.state, service.start_type), (State::Running, Some("Automatic")));
    assert_eq!(
        service.exe_path.as_deref(),
        Some(r#""C:\Program Files\Qlik\Sense\Engine\Engine.exe" --service --mode=x"#)
    );
    let names = ["QlikSenseServiceDispatcher", "QlikLoggingService"].map(str::to_owned).to_vec();
    assert_eq!(service.dependencies, Some(names));
    assert_eq!(service.display_name.as_deref(), Some("Qlik Sense Engine Service"));
}

#[test]
fn every_state_has_its_words() {
    let states = [
        ("stopped", State::Stopped),
        ("start pending", State::StartPending),
        ("stop pending", State::StopPending),
        ("running", State::Running),
        ("resume pending", State::ContinuePending),
        ("pause pending", State::PausePending),
        ("paused", State::Paused),
    ];
    for (words, state) in states {
        assert_eq!(found(&format!("A service is running. service is {words}.\n")).state, state, "{words}");
    }
    let fault = read(&said(b"Spooler service is Unknown State [9].\n", b"")).unwrap_err();
    assert_eq!(fault.subject, Subject::Service);
    assert!(fault.text.contains("Unknown State [9]"), "{}", fault.text);
}

#[test]
fn without_the_configuration_the_state_is_told() {
    let half = read(&said(b"Spooler service is paused.\n", b"Query config request failed.  [WERR_ACCESS_DENIED]\n"));
    let half = half.unwrap();
    assert_eq!(half.state, State::Paused);
    assert_eq!((half.start_type, half.dependencies, half.exe_path, half.display_name), (None, None, None, None));
}

#[test]
fn faults_are_of_the_service_or_of_the_host() {
    for (stderr, subject, code) in [
        (include_str!("../testdata/missing.txt"), Subject::Service, Some("WERR_SERVICE_DOES_NOT_EXIST")),
        (include_str!("../testdata/denied.txt"), Subject::Service, Some("WERR_ACCESS_DENIED")),
        ("Failed to open service.  [DOS code 0x00000424]\n", Subject::Service, Some("0x00000424")),
        ("Query status request failed.  [WERR_INVALID_HANDLE]\n", Subject::Service, Some("WERR_INVALID_HANDLE")),
        ("Failed to open service.  [NT_STATUS_IO_TIMEOUT]\n", Subject::Host, Some("NT_STATUS_IO_TIMEOUT")),
        ("Failed to open Service Control Manager. [WERR_ACCESS_DENIED]\n", Subject::Host, Some("WERR_ACCESS_DENIED")),
        (include_str!("../testdata/logon.txt"), Subject::Host, Some("NT_STATUS_LOGON_FAILURE")),
        (include_str!("../testdata/refused.txt"), Subject::Host, Some("NT_STATUS_CONNECTION_REFUSED")),
        (include_str!("../testdata/no-address.txt"), Subject::Host, None),
        ("Could not initialise lsa pipe\n", Subject::Host, None),
        ("", Subject::Host, None),
    ] {
        let fault = fault_of(stderr);
        assert_eq!((fault.subject, fault.code.as_deref()), (subject, code), "{stderr}");
    }
}

#[test]
fn what_it_said_is_one_line_and_short() {
    let fault = fault_of("Could not connect to server sense1\r\n\n  Connection\u{7} failed: NT_STATUS_LOGON_FAILURE\n");
    assert_eq!(fault.text, "Could not connect to server sense1; Connection failed: NT_STATUS_LOGON_FAILURE");
    let long = fault_of(&"ü".repeat(LONGEST + 1)).text;
    assert_eq!(long.chars().count(), LONGEST + 1);
    assert!(long.ends_with('…'));
    assert_eq!(fault_of(&"ü".repeat(LONGEST)).text.chars().count(), LONGEST);
}

fn value() -> impl Strategy<Value = String> {
    // Not trimmed values would come back shorter.
    "[^\\p{C}\\s]([^\\p{C}\\p{Z}]| ){0,20}[^\\p{C}\\s]"
}

fn names() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec("\\+?[A-Za-z0-9_.$-]{1,12}( [A-Za-z0-9]{1,5})?", 0..5)
}

proptest! {
    #[test]
    fn what_is_printed_is_read(
        (name, exe, display) in (value(), value(), value()),
        dependencies in names(),
        (start_type, group) in (0_u32..5, value()),
        end in prop::sample::select(vec!["\n", "\r\n"]),
    ) {
        let mut lines = vec![
            format!("{name} service is stop pending."),
            DETAILS.to_owned(),
            format!("\tStart Type           = 0x{start_type:x}"),
            format!("\tLoad Order Group     = {group}"),
            format!("\tExecutable Path      = {exe}"),
            format!("\tDisplay Name         = {display}"),
        ];
        if !dependencies.is_empty() {
            lines.push(format!("\tDependencies         = {}/", dependencies.join("/")));
        }
        let found = found(&lines.join(end));
        let words = ["Boot", "System", "Automatic", "Manual", "Disabled"];
        prop_assert_eq!(found.start_type, Some(words[start_type as usize]));
        prop_assert_eq!(found.state, State::StopPending);
        prop_assert_eq!(found.exe_path, Some(exe));
        prop_assert_eq!(found.display_name, Some(display));
        prop_assert_eq!(found.dependencies, Some(dependencies));
    }

    #[test]
    fn anything_may_be_said(stdout in prop::collection::vec(any::<u8>(), 0..200), stderr in ".{0,200}") {
        let _ = read(&said(&stdout, stderr.as_bytes()));
    }

    #[test]
    fn faults_are_told_in_one_line_of_limited_length(stderr in "(.|\n){0,400}") {
        let text = fault_of(&stderr).text;
        prop_assert!(!text.contains(|letter: char| letter.is_control()));
        prop_assert!(text.chars().count() <= LONGEST + 1);
    }
}
