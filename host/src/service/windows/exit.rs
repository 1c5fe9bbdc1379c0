//! How a service ended, in words.

/// What stands in a status instead of an error code when the service has a code of its own.
const SPECIFIC: u32 = 1066;

/// Codes of Windows, and what they mean to whoever has set up the service. The texts of the system say less.
const KNOWN: [(u32, &str); 8] = [
    (2, "its executable is not there: install it again from where it is"),
    (3, "the folder of its executable is not there: install it again from where it is"),
    (5, "its account may not run the executable: give it the rights that `butler service install` lists"),
    (1053, "it did not answer in time"),
    (
        1069,
        "its account could not log on: the password is wrong or expired, or the account lacks the right \"Log on as a service\" \
         (secpol.msc, Local Policies, User Rights Assignment)",
    ),
    (1057, "there is no such account"),
    (1067, "its process ended unexpectedly"),
    (1077, "it was not started since the machine was"),
];

/// What the exit code of a service means; `None` when it was asked to end, and did. `text` is what the system says of a code.
pub(super) fn meaning(code: Code, text: impl FnOnce(u32) -> String) -> Option<String> {
    match code {
        Code::System(0) => None,
        Code::Own(2) => {
            Some("its config cannot work: `butler check` with that config says why, and so does the event log".into())
        }
        Code::Own(1) => Some("Butler could not go on: the event log says why".into()),
        Code::Own(code) => Some(format!("it ended with exit code {code}: the event log may say why")),
        Code::System(code) => {
            let known = KNOWN.iter().find(|(known, _)| *known == code);
            Some(known.map_or_else(|| text(code), |(_, words)| format!("{words} (error {code})")))
        }
    }
}

/// An exit code of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    /// An error code of Windows; 0 is none.
    System(u32),
    /// Butler's own, as the process' exit code would be.
    Own(u32),
}

impl Code {
    /// That of a process.
    pub(super) fn of_process(code: i32) -> Self {
        u32::try_from(code).map_or(Self::Own(1), |code| if code == 0 { Self::System(0) } else { Self::Own(code) })
    }

    /// From both numbers of a status.
    pub(super) fn of_status(system: u32, own: u32) -> Self {
        if system == SPECIFIC { Self::Own(own) } else { Self::System(system) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_say_what_to_do() {
        let words = |code| meaning(code, |code| format!("text of {code}"));
        assert_eq!(words(Code::of_process(0)), None);
        assert!(words(Code::of_process(2)).unwrap().contains("butler check"));
        assert!(words(Code::of_status(1066, 1)).unwrap().contains("event log"));
        assert!(words(Code::of_process(7)).unwrap().contains("exit code 7"));
        assert!(words(Code::of_status(1069, 0)).unwrap().contains("Log on as a service"));
        assert!(words(Code::of_status(5, 0)).unwrap().contains("the rights that `butler service install` lists"));
        assert_eq!(words(Code::of_status(13, 2)).as_deref(), Some("text of 13"));
        assert_eq!(Code::of_process(-1), Code::Own(1));
    }
}
