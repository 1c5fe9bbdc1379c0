//! Names of files and folders, made of texts of others, that mean the same on every platform and lead nowhere else.

use serde_json::{Map, Value};

/// Longest name in bytes. File systems take 255; the rest is for what tells files of the same name apart.
const LONGEST: usize = 180;
/// Deepest path.
const DEEPEST: usize = 16;
/// What the archive keeps for itself begins so.
pub(crate) const OWN: &str = ".butler-";

/// Names that Windows keeps for devices, with or without an extension. (Microsoft: Naming Files, Paths, and Namespaces.)
fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_uppercase();
    let numbered = |prefix| stem.strip_prefix(prefix).is_some_and(|rest| is_one_of(rest, "0123456789¹²³"));
    matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$") || numbered("COM") || numbered("LPT")
}

fn is_one_of(text: &str, chars: &str) -> bool {
    let mut letters = text.chars();
    letters.next().is_some_and(|letter| chars.contains(letter)) && letters.next().is_none()
}

/// Not seen, or showing a name as another than it is.
fn is_unseen(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// A text as the name of a file or folder.
pub(crate) fn clean(text: &str) -> String {
    let replaced = |c: char| match c {
        // As in the times of the usual names.
        ':' => '-',
        '<' | '>' | '"' | '|' | '?' | '*' | '/' | '\\' => '_',
        c if c.is_control() || is_unseen(c) => '_',
        c => c,
    };
    let name: String = text.chars().map(replaced).collect();
    let mut name = free(trimmed(&name).to_owned());
    if name.len() > LONGEST {
        // What is cut may mean a device again; it is one byte shorter than it may be.
        name = free(shortened(&name));
    }
    if name.is_empty() { "_".to_owned() } else { name }
}

/// A name that neither Windows nor the archive keeps for itself.
fn free(mut name: String) -> String {
    if is_device(&name) || name.get(..OWN.len()).is_some_and(|start| start.eq_ignore_ascii_case(OWN)) {
        name.insert(0, '_');
    }
    name
}

/// Windows ignores dots and blanks at the end; `.` and `..` go with them.
fn trimmed(name: &str) -> &str {
    name.trim_start().trim_end_matches(|c: char| c == '.' || c.is_whitespace())
}

/// With its extension, if it has one.
fn shortened(name: &str) -> String {
    let extension = name.rfind('.').map(|dot| &name[dot..]).filter(|extension| extension.len() <= 16).unwrap_or("");
    let mut end = LONGEST - 1 - extension.len();
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{extension}", trimmed(&name[..end]))
}

/// A text as a path below a folder, its steps parted by `/`. Empty steps are left out: they come of values that are not known.
pub(crate) fn clean_path(text: &str) -> Result<String, String> {
    let steps: Vec<String> = text.split('/').filter(|step| !step.trim().is_empty()).map(clean).collect();
    if steps.is_empty() {
        return Err("the template `path` makes nothing of this event".to_owned());
    }
    if steps.len() > DEEPEST {
        return Err(format!("the template `path` makes more than {DEEPEST} folders of this event"));
    }
    Ok(steps.join("/"))
}

/// Takes out of variables what would part folders: only the template itself may. Colons stay, since times have them.
pub(crate) fn one_step(variables: Value) -> Value {
    match variables {
        Value::String(text) => Value::String(flat(&text)),
        Value::Array(items) => Value::Array(items.into_iter().map(one_step).collect()),
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(name, value)| (flat(&name), one_step(value)));
            Value::Object(fields.collect::<Map<_, _>>())
        }
        other => other,
    }
}

fn flat(text: &str) -> String {
    text.replace(['/', '\\'], "-")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_what_every_platform_takes() {
        for (text, name) in [
            ("Sales nightly.log", "Sales nightly.log"),
            (r#"a<b>c:d"e/f\g|h?i*j"#, "a_b_c-d_e_f_g_h_i_j"),
            ("2026-03-04 06:06:07", "2026-03-04 06-06-07"),
            ("..", "_"),
            (" . . ", "_"),
            ("", "_"),
            ("name. . ", "name"),
            ("a\r\nb\0c\u{7f}", "a__b_c_"),
            ("CON", "_CON"),
            ("nul.log", "_nul.log"),
            ("Com1 .log", "_Com1 .log"),
            ("LPT².txt", "_LPT².txt"),
            ("COM10.log", "COM10.log"),
            ("console.log", "console.log"),
            ("C:", "C-"),
            ("gpj\u{202e}.log", "gpj_.log"),
            (".Butler-archive.index", "_.Butler-archive.index"),
            (".hidden", ".hidden"),
            ("Umsätze 💶", "Umsätze 💶"),
        ] {
            assert_eq!(clean(text), name, "{text:?}");
        }
        let long = clean(&format!("{}.log", "ä".repeat(400)));
        assert!(long.ends_with("ä.log") && long.len() <= LONGEST, "{}", long.len());
        assert_eq!(clean(&"x".repeat(400)).len(), LONGEST - 1);
        // A device just as long as a name may be, and one that is so when it has been cut.
        assert_eq!(clean(&format!("CON.{}", "x".repeat(LONGEST - 4))).len(), LONGEST - 1);
        assert_eq!(clean(&format!("CON{}x.log", " ".repeat(LONGEST))), "_CON.log");
    }

    #[test]
    fn values_bring_no_folders() {
        let context = one_step(json!({ "a": "../../etc", "b": [{ "c/d": "C:\\x" }], "n": 1.5 }));
        assert_eq!(context, json!({ "a": "..-..-etc", "b": [{ "c-d": "C:-x" }], "n": 1.5 }));
        assert_eq!(clean_path("/a//.. /b.log").unwrap(), "a/_/b.log");
        assert!(clean_path(" / / ").is_err());
        assert!(clean_path(&"a/".repeat(17)).is_err());
    }

    proptest! {
        #[test]
        fn any_text_becomes_a_sound_name(text in "(CON|nul|\\.|\\.\\.|\\.butler-|[ .:*\\\\/\r\n]){0,3}\\PC{0,300}[ .]{0,3}") {
            let name = clean(&text);
            prop_assert!(!name.is_empty() && name.len() <= LONGEST, "{name:?}");
            prop_assert!(!name.contains(['<', '>', ':', '"', '/', '\\', '|', '?', '*']), "{name:?}");
            prop_assert!(!name.chars().any(char::is_control), "{name:?}");
            prop_assert!(!name.ends_with(['.', ' ']) && name != ".." && name != ".", "{name:?}");
            prop_assert!(!is_device(&name) && !name.to_lowercase().starts_with(OWN), "{name:?}");
            prop_assert_eq!(clean(&name), name.clone(), "once is enough");
        }
    }
}
