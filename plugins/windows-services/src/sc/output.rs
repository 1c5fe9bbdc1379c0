//! What `sc.exe` prints, read by numbers and places: words and labels differ from language to language (`STATE`, `STATO`,
//! `ESTADO`; `FAILED`, `FEHLER`), numbers and their order do not.
//!
//! ```text
//! SERVICE_NAME: Spooler
//! DISPLAY_NAME: Druckwarteschlange
//!         TYPE               : 110  WIN32_OWN_PROCESS  (interactive)
//!         STATE              : 4  RUNNING
//!                                 (STOPPABLE, NOT_PAUSABLE, IGNORES_SHUTDOWN)
//!         WIN32_EXIT_CODE    : 0  (0x0)
//!         SERVICE_EXIT_CODE  : 0  (0x0)
//! ```
//!
//! A block begins with lines that are not indented: the key name and, in lists, the display name. The fields below it are
//! indented, `LABEL : value`; a line without a label has a further value of the field above it.

use crate::backend::State;

/// A service in a list, or alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: String,
    /// Only in lists.
    pub(super) display_name: Option<String>,
    pub(super) state: State,
    pub(super) exit_code: Option<i64>,
    pub(super) service_exit_code: Option<i64>,
}

/// The configuration of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Config {
    pub(super) start_type: &'static str,
    pub(super) exe_path: Option<String>,
    pub(super) display_name: Option<String>,
    pub(super) dependencies: Vec<String>,
}

/// An error of Windows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ScError {
    /// Its number (winerror.h).
    pub(super) number: i64,
    /// What Windows says to it, in the language of the machine; may be empty.
    pub(super) text: String,
}

/// Lines that belong together.
#[derive(Default)]
struct Block<'a> {
    /// Values of the lines that are not indented.
    heads: Vec<&'a str>,
    /// Values of each field; more than one for lists.
    fields: Vec<Vec<&'a str>>,
}

/// The services in the output of `query`; blocks that are none are left out.
pub(super) fn entries(text: &str) -> Vec<Entry> {
    blocks(text).iter().filter_map(entry).collect()
}

fn entry(block: &Block<'_>) -> Option<Entry> {
    // The type comes first, in hexadecimal digits; the configuration has a number there and behind it as well, but that of
    // a start type may be 0.
    block.number(0, 16)?;
    let state = State::from_number(u32::try_from(block.number(1, 10)?).ok()?)?;
    let name = block.heads.first().filter(|name| !name.is_empty())?;
    Some(Entry {
        name: (*name).to_owned(),
        display_name: block.heads.get(1).and_then(|name| some(name)),
        state,
        exit_code: block.number(2, 10),
        service_exit_code: block.number(3, 10),
    })
}

/// The configuration in the output of `qc`.
pub(super) fn config(text: &str) -> Option<Config> {
    blocks(text).iter().find_map(|block| {
        block.number(0, 16)?;
        let start = block.value(1)?;
        // `2   AUTO_START  (DELAYED)`: what stands in parentheses may be translated.
        let start_type = match (block.number(1, 10)?, start.contains('(')) {
            (0, _) => "Boot",
            (1, _) => "System",
            (2, false) => "Automatic",
            (2, true) => "Automatic (delayed start)",
            (3, _) => "Manual",
            (4, _) => "Disabled",
            _ => return None,
        };
        let dependencies = block.fields.get(7).map(Vec::as_slice).unwrap_or_default();
        Some(Config {
            start_type,
            exe_path: block.value(3).and_then(some),
            display_name: block.value(6).and_then(some),
            dependencies: dependencies.iter().filter_map(|name| some(name)).collect(),
        })
    })
}

/// The error that an output tells of: `[SC] OpenService FAILED 1060:`, and below it what that means.
pub(super) fn error(text: &str) -> Option<ScError> {
    let mut lines = text.lines().map(str::trim);
    let number = lines.find_map(|line| last_number(line.strip_prefix("[SC]")?))?;
    let text = lines.find(|line| !line.is_empty()).unwrap_or_default().to_owned();
    Some(ScError { number, text })
}

fn last_number(text: &str) -> Option<i64> {
    text.split(|c: char| !c.is_ascii_digit()).rfind(|digits| !digits.is_empty())?.parse().ok()
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

impl<'a> Block<'a> {
    fn value(&self, field: usize) -> Option<&'a str> {
        self.fields.get(field)?.first().copied()
    }

    /// The number that a field begins with.
    fn number(&self, field: usize, radix: u32) -> Option<i64> {
        i64::from_str_radix(self.value(field)?.split_whitespace().next()?, radix).ok()
    }
}

fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    for line in text.lines() {
        if line.trim().is_empty() {
            // What stands alone, such as that there would be more, begins no block.
            blocks.pop_if(|block| block.fields.is_empty());
            continue;
        }
        let indented = line.starts_with([' ', '\t']);
        // The flags below a state have no colon.
        let Some((label, value)) = line.split_once(':').map(|(label, value)| (label.trim(), value.trim())) else {
            continue;
        };
        match blocks.last_mut() {
            Some(block) if indented && label.is_empty() => {
                if let Some(field) = block.fields.last_mut() {
                    field.push(value);
                }
            }
            Some(block) if indented => block.fields.push(vec![value]),
            Some(block) if block.fields.is_empty() && !label.starts_with('[') => block.heads.push(value),
            _ if !indented && !label.starts_with('[') => blocks.push(Block { heads: vec![value], fields: Vec::new() }),
            _ => {}
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sc::code_page::decode;
    use crate::tests::printed;

    fn read(name: &str) -> String {
        decode(&printed(name))
    }

    fn stopped(name: &str, display_name: Option<&str>, exit_code: i64) -> Entry {
        Entry {
            name: name.to_owned(),
            display_name: display_name.map(str::to_owned),
            state: State::Stopped,
            exit_code: Some(exit_code),
            service_exit_code: Some(0),
        }
    }

    #[test]
    fn a_list_is_the_same_in_all_languages() {
        for (language, names) in [
            ("en", ["Print Spooler", "Background Intelligent Transfer Service", "SQL Server (INSTANCE): main"]),
            (
                "de",
                ["Druckwarteschlange", "Intelligenter Hintergrundübertragungsdienst", "SQL Server (INSTANCE): Größe"],
            ),
            ("sv", ["Utskriftshanteraren", "Tjänst för intelligent bakgrundsöverföring", "SQL Server (INSTANCE): å"]),
            (
                "it",
                ["Spooler di stampa", "Servizio trasferimento intelligente in background", "SQL Server (INSTANCE): è"],
            ),
        ] {
            let entries = entries(&read(&format!("query_all_{language}")));
            let named = |entry: &Entry| (entry.name.clone(), entry.state, entry.display_name.clone().unwrap());
            assert_eq!(
                entries.iter().map(named).collect::<Vec<_>>(),
                [
                    ("Spooler".to_owned(), State::Running, names[0].to_owned()),
                    ("BITS".to_owned(), State::Stopped, names[1].to_owned()),
                    ("MSSQL$INSTANCE".to_owned(), State::StartPending, names[2].to_owned()),
                ],
                "{language}"
            );
            assert_eq!(entries[1], stopped("BITS", Some(names[1]), 1077), "{language}");
        }
    }

    /// Check 17 of what Butler 16 made of it: a state that is neither is kept.
    #[test]
    fn every_state_is_its_own() {
        let text = read("query_one_en");
        for number in 1..=7 {
            let state = State::from_number(number).unwrap();
            let text = text.replace(": 1  STOPPED", &format!(": {number}  {}", state.name()));
            assert_eq!(entries(&text)[0].state, state);
            assert_eq!(state.number(), number);
        }
        assert_eq!(entries(&text), [stopped("AcmeIndexSvc", None, 1077)]);
        assert_eq!(entries(&text.replace(": 1  STOPPED", ": 8  STOPPED")), []);
    }

    #[test]
    fn its_own_exit_code_is_told() {
        let text = read("query_one_en").replace("1077  (0x435)", "1066  (0x42a)").replace(": 0  (0x0)", ": 42  (0x2a)");
        let entry = entries(&text).remove(0);
        assert_eq!((entry.exit_code, entry.service_exit_code), (Some(1066), Some(42)));
    }

    /// Check 18: a delayed start is told, and no dependencies are none.
    #[test]
    fn configurations_are_the_same_in_all_languages() {
        let own = |start_type, display_name: &str, dependencies: &[&str]| Config {
            start_type,
            exe_path: Some(r#""C:\Program Files\Acme\reload.exe" --service --url http://localhost:80"#.to_owned()),
            display_name: Some(display_name.to_owned()),
            dependencies: dependencies.iter().map(ToString::to_string).collect(),
        };
        let two = ["RpcSs", "http"];
        for (name, expected) in [
            ("qc_en", own("Automatic", "Acme Reload Service", &two)),
            ("qc_de", own("Automatic (delayed start)", "Acme-Ladedienst für Übersichten", &two)),
            ("qc_sv", own("Automatic (delayed start)", "Acmes omläsningstjänst", &[])),
            ("qc_it", own("Automatic", "Servizio Acme di più", &["RpcSs", "http", "+SCSI CDROM Class"])),
        ] {
            assert_eq!(config(&read(name)), Some(expected), "{name}");
        }
    }

    #[test]
    fn every_start_type_is_known() {
        let text = read("qc_en");
        for (number, word, expected) in [
            (0, "BOOT_START", Some("Boot")),
            (1, "SYSTEM_START", Some("System")),
            (2, "AUTO_START", Some("Automatic")),
            (2, "AUTO_START  (VERZ\u{d6}GERT)", Some("Automatic (delayed start)")),
            (3, "DEMAND_START", Some("Manual")),
            (4, "DISABLED", Some("Disabled")),
            (5, "LATER", None),
        ] {
            let text = text.replace("2   AUTO_START", &format!("{number}   {word}"));
            assert_eq!(config(&text).map(|config| config.start_type), expected);
        }
    }

    #[test]
    fn errors_are_known_by_their_numbers() {
        for (name, number, begin) in [
            ("missing_en", 1060, "The specified service does not exist"),
            ("missing_de", 1060, "Der angegebene Dienst ist kein installierter Dienst."),
            ("missing_sv", 1060, "Den angivna tjänsten finns inte"),
            ("denied_en", 5, "Access is denied."),
            ("denied_de", 5, "Zugriff verweigert"),
            ("unreachable_en", 1722, "The RPC server is unavailable."),
            ("unreachable_fr", 1722, "Le serveur RPC n’est pas disponible."),
        ] {
            let text = read(name);
            let error = error(&text).unwrap();
            assert!(error.number == number && error.text.starts_with(begin), "{name}: {error:?}");
            assert_eq!((entries(&text), config(&text)), (vec![], None), "{name}");
        }
        for name in ["qc_en", "qc_de", "query_all_en", "query_one_en"] {
            assert_eq!(error(&read(name)), None, "{name}");
        }
    }

    #[test]
    fn a_list_that_is_cut_is_read_as_far_as_it_goes() {
        let whole = read("query_all_de");
        assert_eq!(
            entries(&(whole.clone() + "\r\nEnum: more data, need 1822 bytes start resume at index 79\r\n")).len(),
            3
        );
        let more = "Enum: more data, need 1822 bytes start resume at index 79\r\n\r\n".to_owned() + &whole;
        assert_eq!(entries(&more)[0].name, "Spooler");
        let cut = &whole[..whole.find("MSSQL").unwrap() + 60];
        assert_eq!(entries(cut).len(), 2);
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let text = decode(&bytes);
            let _ = (entries(&text), config(&text), error(&text));
        }

        #[test]
        fn no_line_that_is_changed_makes_it_panic(at in 0usize..2000, with in "[ :\\[(\r\n0-9a-z\u{e4}]{0,6}") {
            for name in ["query_all_de", "qc_en", "missing_de"] {
                let mut text: Vec<char> = read(name).chars().collect();
                let at = at.min(text.len());
                text.splice(at..at, with.chars());
                let text: String = text.into_iter().collect();
                let _ = (entries(&text), config(&text), error(&text));
            }
        }

        /// Whatever the labels are called: places and numbers count.
        #[test]
        fn what_was_printed_is_read(
            services in proptest::collection::vec(
                ("[!-9;-~][ -~]{0,30}[!-~]", "[!-~\u{e4}]([ -~\u{f6}]{0,30}[!-~])?", 1u32..=7, 0u32..=u32::MAX, 0u32..=u32::MAX),
                0..6,
            ),
            labels in proptest::collection::vec("[A-Z\u{c4}\u{d6}_'.]{1,20}", 8),
            end in "\r\n|\n",
        ) {
            use std::fmt::Write as _;
            let mut text = String::new();
            for (name, display_name, state, code, own) in &services {
                let mut line = |line: String| text.push_str(&(line + &end));
                line(String::new());
                line(format!("{}: {name}", labels[0]));
                line(format!("{}: {display_name}", labels[1]));
                line(format!("        {:<19}: 110  WIN32_OWN_PROCESS  (interactive)", labels[2]));
                line(format!("        {:<19}: {state}  WORD ", labels[3]));
                line("                                (STOPPABLE, PAUSABLE, ACCEPTS_SHUTDOWN)".to_owned());
                line(format!("        {:<19}: {code}  (0x{code:x})", labels[4]));
                line(format!("        {:<19}: {own}  (0x{own:x})", labels[5]));
                line(format!("        {:<19}: 0x0", labels[6]));
                line(format!("        {:<19}: 0x0", labels[7]));
            }
            let _ = write!(text, "{end}");
            let expected: Vec<Entry> = services
                .into_iter()
                .map(|(name, display_name, state, code, own)| Entry {
                    name,
                    display_name: Some(display_name),
                    state: State::from_number(state).unwrap(),
                    exit_code: Some(code.into()),
                    service_exit_code: Some(own.into()),
                })
                .collect();
            prop_assert_eq!(entries(&text), expected);
        }
    }
}
