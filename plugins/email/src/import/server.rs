//! The mail server.

use butler_plugin_api::import::Import;
use serde_json::{Map, Value, json};

pub(super) const SECTION: &str = "emailNotification.smtp";

/// The setting `smtp`; `None`, and remarked, without a server.
pub(super) fn smtp(import: &mut Import) -> Option<Value> {
    let key = |name: &str| format!("{SECTION}.{name}");
    let Some(host) = import.text(&key("host")) else {
        import.todo(SECTION, "it names no `host`, so that there is no mail server");
        return None;
    };
    let mut smtp = Map::new();
    smtp.insert("host".to_owned(), host.into());
    if let Some(port) = import.number(&key("port")) {
        if (1..=65_535).contains(&port) {
            smtp.insert("port".to_owned(), port.into());
        } else {
            import.todo(&key("port"), "it is no port, and is left out");
        }
    }
    // From the first byte; else, whatever `requireTLS` says, if the server offers it.
    let secure = import.flag(&key("secure"));
    smtp.insert("tls".to_owned(), if secure { "implicit" } else { "starttlsIfOffered" }.into());
    without_effect(import, secure);
    let verify = key("tls.rejectUnauthorized");
    // What is neither true nor false turns nothing off.
    if !import.flag(&verify) && import.value(&verify) == Some(Value::Bool(false)) {
        smtp.insert("verify".to_owned(), false.into());
        let why = "as before the server's certificate is not checked, so that anybody on the way can read mails and \
                   password: better say `verify: true`, with the server's authority in `ca` if it is your own";
        import.todo(&verify, why);
    }
    if let Some(auth) = login(import, secure) {
        smtp.insert("auth".to_owned(), auth);
    }
    Some(smtp.into())
}

/// What Butler 16 handed over where nobody read it.
fn without_effect(import: &mut Import, secure: bool) {
    let key = |name: &str| format!("{SECTION}.tls.{name}");
    let requires = import.flag(&key("requireTLS"));
    let why = if requires && !secure {
        "Butler 16 sent mails unencrypted all the same where the server offers no STARTTLS, and so does \
         `tls: starttlsIfOffered`. If `butler check` says that it does offer it, say `tls: starttls`"
    } else {
        "Butler 16 never used it"
    };
    import.no_effect(&key("requireTLS"), why);
    let ignores = import.flag(&key("ignoreTLS"));
    let why = if ignores && !secure {
        "Butler 16 encrypted all the same if the server offers it. What this key means is `tls: none`"
    } else {
        "Butler 16 never used it"
    };
    import.no_effect(&key("ignoreTLS"), why);
    if import.text(&key("serverName")).is_some() {
        let why = "Butler 16 never used it. If the certificate has this name and not that of `host`, say `serverName`";
        import.no_effect(&key("serverName"), why);
    }
}

fn login(import: &mut Import, secure: bool) -> Option<Value> {
    let path = format!("{SECTION}.auth");
    if !import.flag(&format!("{path}.enable")) {
        import.off(&path);
        return None;
    }
    let user = import.text(&format!("{path}.user"));
    let password = import.secret(&format!("{path}.password"));
    let (Some(user), Some(password)) = (user, password) else {
        import.todo(&path, "it lacks `user` or `password`: mails are sent without a login");
        return None;
    };
    let no_login = "a server that offers no login gets no mail now; Butler 16 sent without one. If it is such a server, take \
                    `auth` out";
    let no_tls = "no password goes over a connection that is not encrypted, as Butler 16 let it. If `butler check` says that \
                  this is so, say `allowPlainText: true`, or better, let the server offer STARTTLS";
    if secure {
        import.differs(&path, no_login);
    } else {
        // An internal relay often has neither: then no mail at all would go out.
        import.todo(&path, &format!("{no_login}. And {no_tls}"));
    }
    Some(json!({ "user": user, "password": password }))
}
