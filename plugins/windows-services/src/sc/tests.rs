use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::*;
use crate::tests::{Once as _, block_on, printed, script};

/// A folder with an `sc` that answers by files: `query.HOST`, `one.NAME`, `qc.NAME`, and `.code` beside them. What has no file is
/// missing. It writes its arguments to `calls`.
struct Fake {
    folder: tempfile::TempDir,
    program: String,
}

const FAKE: &str = r#"
cd "$(dirname "$0")"
printf '%s\n' "$*" >> calls
host=local
case "$1" in \\\\*) host="${1#\\\\}"; shift;; esac
case "$1 $2" in
  "query type=") file="query.$host";;
  query*) file="one.$2";;
  *) file="qc.$2";;
esac
[ -e "$file.hang" ] && exec sleep 600
[ -e "$file" ] || { cat missing; exit 36; }
cat "$file"
[ -e "$file.code" ] && exit "$(cat "$file.code")"
exit 0
"#;

impl Fake {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = script(folder.path(), "sc", FAKE);
        let fake = Self { folder, program };
        fake.put("missing", &printed("missing_de"));
        fake
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn put(&self, file: &str, content: &[u8]) {
        std::fs::write(self.path().join(file), content).unwrap();
    }

    fn sc(&self, call: Duration) -> Sc {
        Sc::new(self.program.clone(), Limits::new(call, 8))
    }

    fn calls(&self) -> Vec<String> {
        let file: PathBuf = self.path().join("calls");
        let calls = std::fs::read_to_string(&file).unwrap_or_default();
        let _ = std::fs::remove_file(file);
        let mut calls: Vec<String> = calls.lines().map(str::to_owned).collect();
        calls.sort();
        calls
    }
}

const PATIENCE: Duration = Duration::from_secs(20);

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

#[test]
fn a_host_is_asked_once_and_configurations_are_kept() {
    let fake = Fake::new();
    fake.put("query.srv1", &printed("query_all_de"));
    fake.put("qc.BITS", &printed("qc_de"));
    fake.put("one.Driver", &printed("query_one_en"));
    let sc = fake.sc(PATIENCE);
    // Names of Windows are the same in either case.
    let wanted = names(&["bits", "MSSQL$INSTANCE", "Nowhere", "Driver"]);
    let look = || block_on(sc.once("srv1", &wanted)).unwrap();
    let found = look();
    let bits = found[0].as_ref().unwrap();
    assert_eq!((bits.state, bits.exit_code, bits.service_exit_code), (State::Stopped, Some(1077), Some(0)));
    assert_eq!(bits.start_type, Some("Automatic (delayed start)"));
    assert_eq!(bits.display_name.as_deref(), Some("Acme-Ladedienst für Übersichten"));
    assert_eq!(bits.dependencies, Some(names(&["RpcSs", "http"])));
    let sql = found[1].as_ref().unwrap();
    assert_eq!(
        (sql.state, sql.start_type, &sql.dependencies),
        (State::StartPending, None, &None),
        "its state is known"
    );
    assert_eq!(sql.display_name.as_deref(), Some("SQL Server (INSTANCE): Größe"));
    assert_eq!(found[2], Err(Failure::Missing));
    assert_eq!(found[3].as_ref().unwrap().state, State::Stopped);
    let list = r"\\srv1 query type= service state= all bufsize= 262144";
    let (driver, nowhere) = (r"\\srv1 query Driver", r"\\srv1 query Nowhere");
    assert_eq!(
        fake.calls(),
        [
            r"\\srv1 qc AcmeIndexSvc 8192",
            r"\\srv1 qc BITS 8192",
            r"\\srv1 qc MSSQL$INSTANCE 8192",
            driver,
            nowhere,
            list
        ]
    );
    assert_eq!(look(), found);
    assert_eq!(fake.calls(), [driver, nowhere, list]);

    // A change of the state: its configuration is read, and no other.
    let text = printed("query_all_de");
    let at = text.windows(4).position(|part| part == b": 1 ").unwrap();
    let mut changed = text.clone();
    changed[at + 2] = b'4';
    fake.put("query.srv1", &changed);
    assert_eq!(look()[0].as_ref().unwrap().state, State::Running);
    assert_eq!(fake.calls(), [r"\\srv1 qc BITS 8192", driver, nowhere, list]);

    // A long time without a change.
    for _ in 0..=REFRESH {
        look();
    }
    assert_eq!(fake.calls().iter().filter(|call| call.ends_with("qc BITS 8192")).count(), 1);
}

#[test]
fn this_machine_is_asked_without_a_name() {
    let fake = Fake::new();
    fake.put("query.local", &printed("query_all_sv"));
    let found = block_on(fake.sc(PATIENCE).once("", &names(&["Spooler"]))).unwrap();
    assert_eq!(found[0].as_ref().unwrap().display_name.as_deref(), Some("Utskriftshanteraren"));
    assert_eq!(fake.calls(), ["qc Spooler 8192", "query type= service state= all bufsize= 262144"]);
}

#[test]
fn why_a_host_cannot_be_asked_is_told_with_what_to_do() {
    let fake = Fake::new();
    let sc = fake.sc(PATIENCE);
    // The exit code of a Windows error, as far as it fits into a byte.
    for (printed_as, code, parts) in [
        ("denied_de", "5", ["error 5 (Zugriff verweigert): ", "right to query services"]),
        ("unreachable_en", "186", ["error 1722 (The RPC server is unavailable): ", "firewall"]),
        ("unreachable_fr", "186", ["error 1722 (Le serveur RPC n’est pas disponible): ", "firewall"]),
        // The number on stdout, though the exit code says nothing, as old versions do.
        ("unreachable_en", "0", ["error 1722", "firewall"]),
        ("query_all_en", "87", ["error 87", ""]),
    ] {
        fake.put("query.srv1", &printed(printed_as));
        fake.put("query.srv1.code", code.as_bytes());
        let error = block_on(sc.once("srv1", &names(&["Spooler"]))).unwrap_err();
        let Failure::Host(text) = &error else { panic!("{error:?}") };
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
        assert_eq!(fake.calls().len(), 1, "nothing more is asked of it");
    }
    fake.put("query.srv1.code", b"234");
    let found = block_on(sc.once("srv1", &names(&["Spooler"]))).unwrap();
    assert_eq!(found[0].as_ref().unwrap().state, State::Running, "a list that is cut");
    fake.put("query.srv1.code", b"0");
    fake.put("query.srv1", b"usage: sc ...\r\n");
    let error = block_on(sc.once("srv1", &names(&["Spooler"]))).unwrap_err().to_string();
    assert!(error.contains("lists no services"), "{error}");
    let sc = Sc::new("/nowhere/sc.exe".to_owned(), Limits::new(PATIENCE, 1));
    let error = block_on(sc.once("srv1", &names(&["Spooler"]))).unwrap_err().to_string();
    assert!(error.contains("cannot be started") && error.contains("choose another `backend`"), "{error}");
}

#[test]
fn what_hangs_is_not_waited_for_again_and_again() {
    let fake = Fake::new();
    fake.put("query.srv1.hang", b"");
    let sc = fake.sc(Duration::from_millis(700));
    let error = block_on(sc.once("srv1", &names(&["Spooler", "BITS"]))).unwrap_err().to_string();
    assert!(error.contains("no answer within 700ms: the host hangs"), "{error}");

    fake.calls();

    // It stops answering after the list: the state is known all the same, and 40 configurations do not take 40 times as long.
    std::fs::remove_file(fake.path().join("query.srv1.hang")).unwrap();
    let one = String::from_utf8(printed("query_one_en")).unwrap();
    let wanted: Vec<String> = (0..40).map(|number| format!("S{number}")).collect();
    let list: String = wanted.iter().map(|name| one.replace("AcmeIndexSvc", name)).collect();
    fake.put("query.srv1", list.as_bytes());
    for name in &wanted {
        fake.put(&format!("qc.{name}.hang"), b"");
    }
    let sc = fake.sc(Duration::from_secs(5));
    let begun = Instant::now();
    let found = block_on(sc.once("srv1", &wanted)).unwrap();
    assert!(found.iter().all(|found| found.as_ref().is_ok_and(|found| found.state == State::Stopped)));
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert!(fake.calls().len() <= 1 + ONE_BY_ONE);
}

#[test]
fn programs_wait_for_their_turn() {
    let fake = Fake::new();
    fake.put("query.srv1", &printed("query_all_en"));
    fake.put("qc.BITS.hang", b"");
    let limits = Limits::new(Duration::from_secs(3), 1);
    let sc = Sc::new(fake.program.clone(), limits);
    // The second waits longer than one may run, and is not counted as late for it.
    let wanted = names(&["BITS"]);
    let (first, second) = block_on(async { futures_util::join!(sc.once("srv1", &wanted), sc.once("srv1", &wanted)) });
    assert!(first.is_ok() && second.is_ok(), "{first:?} {second:?}");
}
