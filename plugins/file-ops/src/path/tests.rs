use proptest::prelude::*;

use super::*;

fn parse(flavour: Flavour, text: &str) -> Result<String, Fault> {
    Location::parse(flavour, text).map(|path| path.to_string())
}

fn windows(text: &str) -> Result<String, Fault> {
    parse(Flavour::Windows, text)
}

fn unix(text: &str) -> Result<String, Fault> {
    parse(Flavour::Unix, text)
}

/// The names from an approved folder to a path.
fn below(flavour: Flavour, approved: &str, path: &str) -> Option<String> {
    let (approved, path) = (Location::parse(flavour, approved).unwrap(), Location::parse(flavour, path).unwrap());
    approved.below(&path).map(|steps| steps.join("/"))
}

#[test]
fn paths_are_tidied_by_their_text() {
    for (text, path) in [
        ("/in/a.txt", "/in/a.txt"),
        ("/", "/"),
        ("/../..", "/"),
        ("/in//./a\\b/", "/in/a/b"),
        ("\\in\\a", "/in/a"),
        ("/out/../etc/a.txt", "/etc/a.txt"),
        ("/in/%2e%2e/a#b", "/in/%2e%2e/a#b"),
        ("/in/CON:x. ", "/in/CON:x. "),
        ("//", "/"),
        ("//in", "/in"),
    ] {
        assert_eq!(unix(text).as_deref(), Ok(path), "{text}");
    }
    for (text, path) in [
        ("E:/Data/a.qvd", "E:/Data/a.qvd"),
        (r"e:\data\\a", "e:/data/a"),
        ("C:/../x", "C:/x"),
        (r"\\server\share\a\..\b", "//server/share/b"),
        ("//server/share", "//server/share/"),
        (r"\\server\share\..\..\other", "//server/share/other"),
        ("///server/share/x", "//server/share/x"),
        (r"C:\a\NUL\..\b", "C:/a/b"),
        (r"C:\icon\com10\console.txt", "C:/icon/com10/console.txt"),
    ] {
        assert_eq!(windows(text).as_deref(), Ok(path), "{text}");
    }
    let path = |text: &str| Location::parse(Flavour::Windows, text).unwrap().to_path();
    assert_eq!(path("C:/a/b"), PathBuf::from(r"C:\a\b"));
    assert_eq!(path("//server/share/a"), PathBuf::from(r"\\server\share\a"));
}

#[test]
fn what_is_no_absolute_path_of_a_file_is_refused() {
    let long = "x".repeat(256);
    for (text, fault) in [
        ("", Fault::Relative),
        ("in/a", Fault::Relative),
        ("../a", Fault::Relative),
        ("C:/a", Fault::Relative),
        (r"\\server\share\a", Fault::Unc),
        ("//server/share", Fault::Unc),
        (r"/\server/share", Fault::Unc),
        ("/in/a\0.txt", Fault::Nul),
        (&format!("/in/{long}"), Fault::TooLong),
        (&"/abcdefghi".repeat(500), Fault::TooLong),
    ] {
        assert_eq!(unix(text), Err(fault), "{text}");
    }
    for (text, fault) in [
        ("", Fault::Relative),
        ("a", Fault::Relative),
        ("C:", Fault::Relative),
        ("C:a", Fault::Relative),
        (r"\a\b", Fault::Relative),
        ("/a/b", Fault::Relative),
        ("5:/a", Fault::Relative),
        (r"\\server", Fault::Relative),
        (r"\\server\", Fault::Relative),
        (r"\\?\C:\a", Fault::Device),
        (r"\\.\PhysicalDrive0", Fault::Device),
        ("//./pipe/x", Fault::Device),
        (r"\??\C:\a", Fault::Device),
        (r"\\server\..\x", Fault::Name("..".to_owned())),
        ("C:/a\0", Fault::Nul),
        (&format!("C:/{long}"), Fault::TooLong),
    ] {
        assert_eq!(windows(text), Err(fault), "{text}");
    }
    for name in [
        "CON",
        "nul",
        "Aux.txt",
        "com1",
        "LPT9.tar.gz",
        "COM¹",
        "CONIN$",
        "NUL .txt",
        "a.",
        "a ",
        "a:stream",
        "a::$DATA",
        "a|b",
        "a?",
        "a*",
        "a<b",
        "a\"b",
        "a\u{1}b",
        "prn.",
    ] {
        assert_eq!(windows(&format!("C:/x/{name}/y")), Err(Fault::Name(name.to_owned())), "{name}");
        assert!(relative(Flavour::Windows, name).is_err(), "{name}");
        assert_eq!(unix(&format!("/x/{name}/y")).as_deref(), Ok(format!("/x/{name}/y").as_str()));
    }
    // A raised digit is one character, not one byte.
    assert!(windows(&format!("C:/{}", "ä".repeat(255))).is_ok());
    assert_eq!(unix(&format!("/{}", "ä".repeat(255))), Err(Fault::TooLong));
}

#[test]
fn at_or_below_is_by_whole_names() {
    let unix = |approved, path| below(Flavour::Unix, approved, path);
    assert_eq!(unix("/data", "/data/x/y").as_deref(), Some("x/y"));
    assert_eq!(unix("/data", "/data").as_deref(), Some(""));
    assert_eq!(unix("/", "/etc/passwd").as_deref(), Some("etc/passwd"));
    for path in ["/database", "/dat", "/Data/x", "/x/data/y", "/data/../etc"] {
        assert_eq!(unix("/data", path), None, "{path}");
    }
    let windows = |approved, path| below(Flavour::Windows, approved, path);
    assert_eq!(windows(r"E:\Data", "e:/DATA/Ä/x").as_deref(), Some("Ä/x"));
    assert_eq!(windows("E:/Ära", "E:/äRA/x").as_deref(), Some("x"));
    assert_eq!(windows(r"\\Server\Share\q", "//SERVER/share/Q/x").as_deref(), Some("x"));
    for (approved, path) in [
        ("E:/Data", "F:/Data/x"),
        ("E:/Data", "//e/Data/x"),
        ("//server/share", "//server/other/x"),
        ("//server/share/q", "//server/share/x"),
        ("E:/Straße", "E:/STRASSE/x"),
    ] {
        assert_eq!(windows(approved, path), None, "{path}");
    }
}

#[test]
fn a_path_below_a_folder_stays_there() {
    let read = |text| relative(Flavour::Unix, text).map(|steps| steps.join("/"));
    for (text, path) in [
        ("2031/q1", "2031/q1"),
        ("", ""),
        (".", ""),
        ("/etc", "etc"),
        (r"a\..\b", "b"),
        ("a/../..", "!"),
        ("../x", "!"),
        (r"..\x", "!"),
        ("a/../../a", "!"),
    ] {
        match read(text) {
            Ok(steps) => assert_eq!(steps, path, "{text}"),
            Err(fault) => assert_eq!((fault, path), (Fault::Outside, "!"), "{text}"),
        }
    }
    assert_eq!(read("a\0b"), Err(Fault::Nul));
    assert_eq!(relative(Flavour::Windows, r"C:\x"), Err(Fault::Name("C:".to_owned())));
}

#[test]
fn paths_of_the_network_are_known_on_sight() {
    for text in [r"\\server\share", "//server/share/x", r"\/server\share", "///a/b"] {
        assert!(is_unc(text), "{text}");
    }
    for text in ["/server/share", "//server", "//server/", "//", "", r"C:\\server\share", "///a"] {
        assert!(!is_unc(text), "{text}");
    }
}

fn texts() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just("..".to_owned()),
        Just(".".to_owned()),
        Just(String::new()),
        Just("C:".to_owned()),
        Just("?".to_owned()),
        Just("NUL.txt".to_owned()),
        "[a-cA-C:. ]{0,4}",
        "\\PC{0,3}",
        any::<char>().prop_map(String::from),
    ];
    let separator = prop_oneof![Just("/"), Just("\\"), Just("//"), Just(r"\\")];
    proptest::collection::vec((separator, part), 0..8)
        .prop_map(|parts| parts.into_iter().flat_map(|(separator, part)| [separator.to_owned(), part]).collect())
}

proptest! {
    #[test]
    fn what_is_read_has_only_plain_names(text in texts(), drive in any::<bool>(), windows in any::<bool>()) {
        let flavour = if windows { Flavour::Windows } else { Flavour::Unix };
        let text = if drive { format!("C:{text}") } else { text };
        if let Ok(path) = Location::parse(flavour, &text) {
            for step in &path.steps {
                prop_assert!(!matches!(step.as_str(), "" | "." | ".."), "{path:?}");
                prop_assert!(!step.contains(['/', '\\', '\0']), "{path:?}");
                if windows {
                    prop_assert!(!step.contains(':') && !step.ends_with(['.', ' ']), "{path:?}");
                }
            }
            // Written and read again it is the same.
            prop_assert_eq!(Location::parse(flavour, &path.to_string()), Ok(path));
        }
    }

    #[test]
    fn below_is_what_is_joined(text in texts(), more in texts(), windows in any::<bool>()) {
        let flavour = if windows { Flavour::Windows } else { Flavour::Unix };
        let start = if windows { "E:" } else { "/x" };
        let Ok(folder) = Location::parse(flavour, &format!("{start}{text}")) else { return Ok(()) };
        let Ok(steps) = relative(flavour, &more) else { return Ok(()) };
        let joined = folder.join(&steps);
        prop_assert_eq!(folder.below(&joined), Some(steps.as_slice()));
        let steps = steps.join("/");
        prop_assert!(!steps.split('/').any(|step| step == ".."), "{}", steps);
    }
}
