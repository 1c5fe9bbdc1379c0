use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::tests::{Once as _, block_on, printed, script};

fn read(name: &str) -> Vec<Block> {
    blocks(&String::from_utf8(printed(name)).unwrap())
}

#[test]
fn units_are_told_in_the_words_of_windows() {
    let blocks = read("systemd_252");
    assert_eq!(blocks.len(), 6);
    let found: Vec<_> = blocks.iter().map(|block| found(&block["Id"], block)).collect();
    assert_eq!(
        found[0],
        Ok(Found {
            state: State::Running,
            display_name: Some("OpenBSD Secure Shell server".to_owned()),
            start_type: Some("Automatic"),
            exe_path: Some("/usr/sbin/sshd -D $SSHD_OPTS".to_owned()),
            dependencies: Some(vec![]),
            exit_code: None,
            service_exit_code: None,
        })
    );
    assert_eq!(
        found[1],
        Ok(Found {
            state: State::Stopped,
            display_name: Some("Index für Übersichten".to_owned()),
            start_type: Some("Manual"),
            exe_path: Some("/opt/index/bin/index --title a = b ; c".to_owned()),
            dependencies: Some(vec!["postgresql@15-main.service".to_owned(), "acme-license.service".to_owned()]),
            exit_code: None,
            service_exit_code: None,
        })
    );
    assert!(matches!(&found[2], Err(Failure::Service(text)) if text.contains("no unit `nowhere.service`")));
    let masked = found[3].as_ref().unwrap();
    assert_eq!((masked.state, masked.start_type), (State::Stopped, Some("Disabled")));
    let looping = found[4].as_ref().unwrap();
    assert_eq!((looping.state, looping.exe_path.as_deref()), (State::Stopped, Some("/opt/acme/loop")));
    assert_eq!(looping.exit_code, Some(1), "the one before was ended by a signal");
    assert!(matches!(&found[5], Err(Failure::Service(text)) if text.contains("bad unit file setting")));

    let old = super::found("sshd.service", &read("systemd_219")[0]).unwrap();
    assert_eq!((old.state, old.start_type), (State::Stopped, Some("Automatic")));
}

#[test]
fn every_state_of_systemd_has_one_of_windows() {
    for (active, sub, freezer, expected) in [
        ("active", "running", "running", Some(State::Running)),
        ("active", "exited", "", Some(State::Running)),
        ("reloading", "reload", "", Some(State::Running)),
        ("refreshing", "refresh", "", Some(State::Running)),
        ("active", "running", "freezing", Some(State::PausePending)),
        ("active", "running", "frozen", Some(State::Paused)),
        ("active", "running", "thawing", Some(State::ContinuePending)),
        ("activating", "start-pre", "running", Some(State::StartPending)),
        ("activating", "auto-restart", "running", Some(State::Stopped)),
        ("deactivating", "stop-sigterm", "running", Some(State::StopPending)),
        ("inactive", "dead", "running", Some(State::Stopped)),
        ("failed", "failed", "running", Some(State::Stopped)),
        ("", "", "", None),
    ] {
        assert_eq!(state(active, sub, freezer), expected, "{active} {sub} {freezer}");
    }
}

#[test]
fn units_have_names_of_units() {
    assert_eq!(unit("ssh").unwrap(), "ssh.service");
    assert_eq!(unit("postgresql@15-main.service").unwrap(), "postgresql@15-main.service");
    assert_eq!(unit(r"dev-disk\x2d1").unwrap(), r"dev-disk\x2d1.service");
    for name in ["", ".service", "-x", "--all", "a b", "a;b", "a\nb", "Größe", "a/b", "*", &"a".repeat(250)] {
        assert!(unit(name).unwrap_err().contains("no name of a service"), "{name}");
    }
}

/// Real processes, in place of a `systemctl`.
#[test]
fn all_units_are_asked_for_in_one_call() {
    let folder = tempfile::tempdir().unwrap();
    let recorded = folder.path().join("recorded");
    std::fs::write(&recorded, printed("systemd_252")).unwrap();
    let calls = folder.path().join("calls");
    let body = format!("echo \"$@\" >> {}; cat {}", calls.display(), recorded.display());
    let program = script(folder.path(), "systemctl", &body);
    let systemd = Systemd::new(program, Limits::new(Duration::from_secs(20), 1));
    let names = ["ssh", "acme-index", "nowhere", "cups.service", "acme-loop", "broken"].map(str::to_owned);
    let found = block_on(systemd.once("", &names)).unwrap();
    assert_eq!(found.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, true, false, true, true, false]);
    let calls = std::fs::read_to_string(calls).unwrap();
    let end = "-- ssh.service acme-index.service nowhere.service cups.service acme-loop.service broken.service\n";
    assert!(calls.starts_with("--no-pager show --property=Id,") && calls.ends_with(end), "{calls}");

    let error = block_on(systemd.once("", &names[..2])).unwrap_err();
    assert!(error.to_string().contains("tells of 6 units, but was asked for 2"), "{error}");
    let failing = "echo \"System has not been booted with systemd as init system (PID 1). Can't operate.\" >&2; exit 1";
    let systemd = Systemd::new(script(folder.path(), "failing", failing), Limits::new(Duration::from_secs(20), 1));
    let error = block_on(systemd.once("", &names)).unwrap_err().to_string();
    assert!(error.contains("not been booted with systemd") && error.contains("only where systemd runs"), "{error}");
    let systemd = Systemd::new("/nowhere/systemctl".to_owned(), Limits::new(Duration::from_secs(20), 1));
    let error = block_on(systemd.once("", &names)).unwrap_err().to_string();
    assert!(error.contains("cannot be started") && error.contains("backend.systemd.program"), "{error}");
    let hanging = script(folder.path(), "hanging", "exec sleep 600");
    let systemd = Systemd::new(hanging, Limits::new(Duration::from_millis(200), 1));
    let error = block_on(systemd.once("", &names)).unwrap_err().to_string();
    assert!(error.contains("no answer within 200ms: systemd hangs"), "{error}");
}

proptest! {
    #[test]
    fn nothing_makes_it_panic(text in "([A-Za-z]{0,12}=?[ -~\u{e4}]{0,30}\r?\n?){0,12}") {
        for block in blocks(&text) {
            let _ = found("a.service", &block);
        }
    }

    #[test]
    fn commands_are_read_whole(line in "[ -~]{0,40}") {
        prop_assume!(!line.contains(" ; ignore_errors=") && !line.contains("argv[]="));
        let exec = format!("{{ path=/x ; argv[]={line} ; ignore_errors=no ; start_time=[n/a] }}");
        prop_assert_eq!(command(&exec), Some(line.trim().to_owned()));
    }

    #[test]
    fn a_unit_that_is_taken_is_no_option(name in any::<String>()) {
        if let Ok(unit) = unit(&name) {
            prop_assert!(!unit.starts_with('-') && unit.is_ascii() && unit.ends_with(".service") && !unit.contains(['/', ' ', '\n']));
        }
    }
}
