use super::*;

fn asked() -> Call<'static> {
    Call { host: "sense1", port: 445, credentials: Path::new("/etc/butler/windows.cred") }
}

fn host(code: &str) -> Fault {
    Fault { subject: Subject::Host, code: Some(code.to_owned()), text: format!("it said {code}") }
}

fn service(code: &str) -> Fault {
    Fault { subject: Subject::Service, ..host(code) }
}

fn text_of(trouble: &Trouble) -> String {
    match trouble {
        Trouble::Host(text) | Trouble::Logon(text) => text.clone(),
        Trouble::Service(failure) => failure.to_string(),
    }
}

#[test]
fn a_service_that_is_not_there_is_missing() {
    for code in ["WERR_SERVICE_DOES_NOT_EXIST", "WERR_NO_SUCH_SERVICE", "0x00000424"] {
        assert_eq!(asked().explain(&service(code)), Trouble::Service(Failure::Missing), "{code}");
    }
    for code in ["WERR_ACCESS_DENIED", "WERR_INVALID_NAME"] {
        let trouble = asked().explain(&service(code));
        assert!(matches!(&trouble, Trouble::Service(Failure::Service(text)) if text.contains(code)), "{trouble:?}");
    }
}

#[test]
fn each_trouble_says_what_to_look_at() {
    for (code, word) in [
        ("NT_STATUS_LOGON_FAILURE", "/etc/butler/windows.cred"),
        ("NT_STATUS_ACCOUNT_LOCKED_OUT", "see to the account"),
        ("WERR_ACCESS_DENIED", "administrator"),
        ("NT_STATUS_ACCESS_DENIED", "administrator"),
        ("NT_STATUS_NTLM_BLOCKED", "Kerberos"),
        ("NT_STATUS_CONNECTION_REFUSED", "TCP port 445"),
        ("NT_STATUS_IO_TIMEOUT", "firewall"),
        ("NT_STATUS_SOMETHING_NEW", "it said"),
    ] {
        let text = text_of(&asked().explain(&host(code)));
        assert!(text.contains("sense1") && text.contains(code) && text.contains(word), "{text}");
    }
    let silent = text_of(&asked().silent(Duration::from_secs(10)));
    assert!(
        silent.contains("sense1 does not answer at TCP port 445 within 10s") && silent.contains("firewall"),
        "{silent}"
    );
    let unnamed =
        Fault { subject: Subject::Host, code: None, text: "Unable to find a suitable server for domain W".to_owned() };
    assert!(text_of(&asked().explain(&unnamed)).contains("DNS"));
    let mute = Fault { text: String::new(), ..unnamed };
    assert!(text_of(&asked().explain(&mute)).contains("did not say why"));
}

/// More refused logons lock the account: only these are tried again later.
#[test]
fn refused_logons_are_told_apart() {
    for code in ["NT_STATUS_LOGON_FAILURE", "NT_STATUS_WRONG_PASSWORD", "NT_STATUS_NO_SUCH_USER"] {
        assert!(matches!(asked().explain(&host(code)), Trouble::Logon(_)), "{code}");
    }
    for code in ["NT_STATUS_ACCOUNT_DISABLED", "NT_STATUS_ACCESS_DENIED", "NT_STATUS_CONNECTION_REFUSED"] {
        assert!(matches!(asked().explain(&host(code)), Trouble::Host(_)), "{code}");
    }
}
