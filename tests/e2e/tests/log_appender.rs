//! `butler log-appender`: the file by which Qlik Sense is made to send.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;

use e2e::{Output, run};
use tempfile::TempDir;

fn shipped(service: &str) -> String {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    std::fs::read_to_string(workspace.join(format!("config/log4net/{service}/LocalLogConfig.xml"))).unwrap()
}

fn write(service: &str, to: &str, merge: Option<&Path>) -> Output {
    let mut arguments = vec!["log-appender", "--service", service, "--to", to];
    arguments.extend(merge.map(|_| "--merge"));
    arguments.extend(merge.map(|path| path.to_str().unwrap()));
    run(&arguments)
}

#[test]
fn the_files_that_are_shipped_are_written() {
    for service in ["scheduler", "proxy", "engine"] {
        let output = write(service, "butler.example.com:9998", None);
        assert_eq!((output.code, output.stdout, output.stderr.as_str()), (0, shipped(service), ""), "{service}");
    }
}

#[test]
fn a_file_is_merged_and_merged_again() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("LocalLogConfig.xml");
    let others = "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?>\r\n<configuration>\r\n  <appender name=\"LogEvent\" type=\"x\"/>\r\n  <!-- ours -->\r\n</configuration>\r\n";
    std::fs::write(&path, others).unwrap();
    let first = write("proxy", "10.1.2.3:9997", Some(&path));
    assert_eq!((first.code, first.stderr.as_str()), (0, ""));
    assert!(first.stdout.starts_with("\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?>\r\n<configuration>\r\n  <appender name=\"LogEvent\" type=\"x\"/>"));
    assert!(first.stdout.contains("<!-- ours -->\r\n") && first.stdout.contains("\"10.1.2.3\""), "{}", first.stdout);
    std::fs::write(&path, &first.stdout).unwrap();
    assert_eq!(write("proxy", "10.1.2.3:9997", Some(&path)).stdout, first.stdout);
    let moved = write("proxy", "10.1.2.4:9997", Some(&path)).stdout;
    assert_eq!(moved, first.stdout.replace("10.1.2.3", "10.1.2.4"));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), first.stdout, "the file itself is only read");
}

#[test]
fn what_cannot_be_done_is_said_and_nothing_is_written() {
    let folder = TempDir::new().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    for (path, says) in [
        (file("empty.xml", b""), "the shell has emptied it"),
        (file("broken.xml", b"<configuration><appender></configuration>"), "not well-formed"),
        (file("other.xml", b"<web-app/>"), "name the LocalLogConfig.xml"),
        (file("long.xml", &vec![b' '; 3_000_000]), "more than 1 MB"),
        (folder.path().join("none.xml"), "cannot be read"),
    ] {
        let output = write("scheduler", "butler:9998", Some(&path));
        assert_eq!((output.code != 0, output.stdout.as_str()), (true, ""), "{output:?}");
        assert!(output.stderr.contains(says) && output.stderr.contains(path.to_str().unwrap()), "{output:?}");
    }
    for to in ["butler", "butler:x", "0.0.0.0:9998", "a b:1"] {
        let output = write("scheduler", to, None);
        assert_eq!((output.code, output.stdout.as_str()), (2, ""), "{output:?}");
        assert!(output.stderr.contains("--to <HOST:PORT>"), "{output:?}");
    }
    assert_eq!(write("printing", "butler:9998", None).code, 2);
}
