use proptest::prelude::*;

use super::*;

#[test]
fn lines_as_samba_reads_them() {
    for (text, of_domain) in [
        ("username=ann\npassword=pw", false),
        ("username = EXAMPLE\\ann\r\npassword =  p w = x \r\n", true),
        ("username=ann@example.com\npassword=pw", true),
        ("username=ann\npassword=pw\ndomain = EXAMPLE\r\n", true),
        ("# who asks\n\n  USERNAME=ann\n; her own\n\tPassword=p\\w@x\ndomain=\n", false),
    ] {
        assert_eq!(check_lines(text), Ok(of_domain), "{text}");
    }
}

#[test]
fn faults_are_told_without_what_is_secret() {
    for (text, part) in [
        ("", "no line `username=…`"),
        ("username=ann", "no line `password=…`"),
        ("username=ann\npassword= \t", "no line `password=…`"),
        ("username=\npassword=pw", "no line `username=…`"),
        ("username=ann\npasword=top-secret", "line 2 that is none of"),
        ("username=ann\npassword=pw\ntop-secret", "line 3 that is none of"),
        ("\u{feff}username=ann\npassword=pw", "byte order mark"),
    ] {
        let fault = check_lines(text).unwrap_err();
        assert!(fault.contains(part) && !fault.contains("secret"), "{text}: {fault}");
    }
}

#[test]
fn a_file_that_is_none_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("account");
    let fault = || check(&path).unwrap_err();
    assert!(fault().contains("cannot be read") && fault().contains("`username=…`"), "{}", fault());
    fs::create_dir(&path).unwrap();
    assert!(fault().contains("no text file"), "{}", fault());
    fs::remove_dir(&path).unwrap();
    let long = usize::try_from(LONGEST).unwrap() + 1;
    fs::write(&path, " ".repeat(long)).unwrap();
    assert!(fault().contains("no text file"), "{}", fault());
}

#[cfg(unix)]
#[test]
fn nobody_else_may_use_it() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("account");
    fs::write(&path, "username=ann\npassword=pw\n").unwrap();
    for (mode, is_fine) in [(0o600, true), (0o640, true), (0o400, true), (0o644, false), (0o602, false), (0o601, false)]
    {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let checked = check(&path);
        assert_eq!(checked.is_ok(), is_fine, "{mode:o}: {checked:?}");
        if let Err(fault) = checked {
            assert!(fault.contains(&format!("run `chmod o= {}`", path.display())), "{fault}");
        }
    }
}

proptest! {
    #[test]
    fn anything_may_stand_in_it_and_is_not_told(text in "(username|password|domain|[a-z]{0,4})?=?\n?(zzz[^\\p{C}]{0,20}\n?){0,4}") {
        if let Err(fault) = check_lines(&text) {
            prop_assert!(!fault.contains("zzz"), "{fault}");
        }
    }
}
