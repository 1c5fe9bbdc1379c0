//! The command line of a service, as Windows keeps it.

/// What the command line of a service says that is one of Butler's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Started {
    /// The executable.
    pub(super) executable: String,
    /// Its config.
    pub(super) config: String,
}

/// The arguments after which the executable is a service of this name.
pub(super) fn arguments(name: &str, config: &str) -> Vec<String> {
    ["service", "run", "--config", config, "--name", name].map(str::to_owned).to_vec()
}

/// What a command line starts; `None` when it is not `butler service run`.
pub(super) fn parse(line: &str) -> Option<Started> {
    let arguments = split(line);
    let [executable, rest @ ..] = &*arguments else { return None };
    let ["service", "run", options @ ..] = &*rest.iter().map(String::as_str).collect::<Vec<_>>() else { return None };
    let config = options.iter().skip_while(|option| **option != "--config").nth(1)?;
    Some(Started { executable: executable.clone(), config: (*config).to_owned() })
}

/// The arguments of a command line by the rules of Windows: blanks part them, quotes keep them together, and backslashes mean
/// something only before a quote.
///
/// <https://learn.microsoft.com/en-us/cpp/c-language/parsing-c-command-line-arguments>
fn split(line: &str) -> Vec<String> {
    let mut arguments = Vec::new();
    let mut argument: Option<String> = None;
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' if !quoted => arguments.extend(argument.take()),
            '"' => {
                argument.get_or_insert_default();
                quoted = !quoted;
            }
            '\\' => {
                let mut count = 1;
                while chars.next_if_eq(&'\\').is_some() {
                    count += 1;
                }
                let text = argument.get_or_insert_default();
                if chars.peek() == Some(&'"') {
                    text.extend(std::iter::repeat_n('\\', count / 2));
                    if count % 2 == 1 {
                        chars.next();
                        text.push('"');
                    }
                } else {
                    text.extend(std::iter::repeat_n('\\', count));
                }
            }
            c => argument.get_or_insert_default().push(c),
        }
    }
    arguments.extend(argument);
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_are_split_as_windows_does() {
        for (line, expected) in [
            ("", &[][..]),
            (r"a  b	c", &["a", "b", "c"]),
            (r#""C:\Program Files\x.exe" -c "D:\a b\""#, &[r"C:\Program Files\x.exe", "-c", r#"D:\a b""#]),
            (r#"x "C:\a b\\" y"#, &["x", r"C:\a b\", "y"]),
            (r#"x "" \\server\share"#, &["x", "", r"\\server\share"]),
            (r#"a\\\"b c\\d"#, &[r#"a\"b"#, r"c\\d"]),
            (r#"a" "b"#, &["a b"]),
        ] {
            assert_eq!(split(line), expected, "{line}");
        }
    }

    #[test]
    fn services_of_butler_are_known_by_what_they_start() {
        let line =
            r#""C:\Program Files\Butler\butler.exe" service run --config "C:\Qlik alerts\butler.yaml" --name butler"#;
        let started = parse(line).unwrap();
        assert_eq!(started.executable, r"C:\Program Files\Butler\butler.exe");
        assert_eq!(started.config, r"C:\Qlik alerts\butler.yaml");
        for other in
            ["", r"C:\nssm.exe", r"C:\butler.exe run -c x", r"C:\butler.exe service run", "x service run --config"]
        {
            assert_eq!(parse(other), None, "{other}");
        }
        let arguments = arguments("butler", "x.yaml");
        assert_eq!(parse(&format!("butler.exe {}", arguments.join(" "))).unwrap().config, "x.yaml");
    }
}
