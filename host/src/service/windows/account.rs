//! The account that a service runs as.

use std::fmt;

/// An account, by its name in the form that services are made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account(String);

impl Account {
    /// The virtual account of a service: made by Windows with the service, for it alone; no administrator, and no password.
    pub(super) fn of_service(name: &str) -> Self {
        Self(format!(r"NT SERVICE\{name}"))
    }

    /// An account by the name that people give: without a domain it is one of this machine.
    pub(super) fn named(name: &str) -> Self {
        if is_system(name) || name.contains(['\\', '@']) { Self(name.to_owned()) } else { Self(format!(r".\{name}")) }
    }

    /// As services are made with it.
    pub(super) fn name(&self) -> &str {
        &self.0
    }

    /// Whether Windows asks for a password: not of its own accounts, and not of those whose passwords it keeps itself (`name$`).
    pub(super) fn needs_password(&self) -> bool {
        !self.is_own() && !self.0.ends_with('$')
    }

    /// Whether it is one of Windows' own, which may always run services.
    pub(super) fn is_own(&self) -> bool {
        let domain = self.0.split_once('\\').map(|(domain, _)| domain);
        let own = |domain: &str| ["NT SERVICE", "NT AUTHORITY"].iter().any(|own| own.eq_ignore_ascii_case(domain));
        is_system(&self.0) || domain.is_some_and(own)
    }

    /// As `icacls` knows it; `None` for the system, which may do all. Names of the two small ones are in the system's language.
    pub(super) fn in_access_lists(&self) -> Option<&str> {
        let (domain, user) = self.0.split_once('\\').unwrap_or(("", &self.0));
        if is_system(&self.0) {
            return None;
        }
        if domain.eq_ignore_ascii_case("NT AUTHORITY") {
            match &*user.to_ascii_lowercase().replace(' ', "") {
                "system" => return None,
                "localservice" => return Some("*S-1-5-19"),
                "networkservice" => return Some("*S-1-5-20"),
                _ => {}
            }
        }
        Some(if domain == "." { user } else { &self.0 })
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_system(name: &str) -> bool {
    name.eq_ignore_ascii_case("LocalSystem")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_told_apart_by_name() {
        for (given, name, password, list) in [
            ("svc", r".\svc", true, Some("svc")),
            (r"LAB\svc", r"LAB\svc", true, Some(r"LAB\svc")),
            ("svc@lab.local", "svc@lab.local", true, Some("svc@lab.local")),
            (r"LAB\butler$", r"LAB\butler$", false, Some(r"LAB\butler$")),
            ("LocalSystem", "LocalSystem", false, None),
            (r"NT AUTHORITY\SYSTEM", r"NT AUTHORITY\SYSTEM", false, None),
            (r"nt authority\NetworkService", r"nt authority\NetworkService", false, Some("*S-1-5-20")),
            (r"NT AUTHORITY\Local Service", r"NT AUTHORITY\Local Service", false, Some("*S-1-5-19")),
            (r"NT SERVICE\butler", r"NT SERVICE\butler", false, Some(r"NT SERVICE\butler")),
        ] {
            let account = Account::named(given);
            assert_eq!((account.name(), account.needs_password(), account.in_access_lists()), (name, password, list));
        }
        assert_eq!(Account::of_service("butler"), Account::named(r"NT SERVICE\butler"));
    }
}
