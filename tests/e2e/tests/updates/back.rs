//! The way back to an older Butler, as `config/README.md` describes it: its block of `sh` is executed, with the name of the copy that
//! the refusal gives.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use e2e::{Butler, Fields, Sink, failure, fields, run_with, sqlite};
use serde_json::Value;
use tempfile::TempDir;

use super::{PRESENT, assert_as_before, contents, copies};

/// The block of `sh` in the section about the way back, for this copy.
fn block(copy: &str) -> String {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/README.md");
    let text = std::fs::read_to_string(readme).unwrap();
    let (_, section) = text.split_once("\n### The way back\n").expect("the section is there");
    let section = section.split("\n### ").next().unwrap();
    let blocks: Vec<&str> = section.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let [block] = blocks[..] else { panic!("{blocks:?}") };
    let (_, rest) = block.split_once("copy=").expect("it begins with the name of the copy");
    let (example, _) = rest.split_once(' ').unwrap();
    block.replacen(example, copy, 1)
}

/// Runs a block as somebody does who pastes it into a shell: its lines go on whatever becomes of those before.
fn paste(block: &str, folder: &Path) -> bool {
    Command::new("sh").args(["-c", block]).current_dir(folder).status().unwrap().success()
}

/// The stores that were put aside.
fn put_aside(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let aside = entries.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("newer-"));
    aside.map(|folder| folder.join("butler.db")).collect()
}

async fn tell(butler: &Butler, sink: &Sink, told: &[Fields]) {
    let before = sink.received().len();
    butler.send(&told.iter().map(failure).collect::<Vec<_>>());
    sink.wait(before + told.len()).await;
    for fields in told {
        butler.wait_routed(&fields.task_id, "reload-task.failed").await;
    }
    butler.wait_metric("butler_deliveries_open{instance=\"hook\"}", 0.0).await;
}

async fn deliveries(butler: &Butler) -> Vec<Value> {
    butler.deliveries("limit=500").await
}

#[tokio::test]
async fn the_way_back_works_as_it_is_written() {
    let (folder, sink) = (Arc::new(TempDir::new().unwrap()), Sink::start().await);
    let store = folder.path().join("butler.db");
    let config = format!(
        "plugins:\n  - use: webhook\n    name: hook\n    settings: {{ url: {}, format: event }}\n",
        sink.url("/")
    );
    let [before, after] = [0, 1].map(|_| (0..3).map(|_| fields()).collect::<Vec<_>>());
    let butler = Butler::start_in(folder.clone(), &config, &[]).await;
    tell(&butler, &sink, &before).await;
    let known = deliveries(&butler).await;
    let (status, log) = butler.stop().await;
    assert!(status.success(), "{log}");

    // What the start of a newer Butler leaves: a copy, and a store of another form that goes on.
    let copy = folder.path().join(format!("butler.v{PRESENT}-20260304T050607Z.bak"));
    sqlite(&store, &format!("VACUUM INTO '{}';", copy.display()));
    // Of an update before that.
    std::fs::write(folder.path().join("butler.v4-20250304T050607Z.bak"), "").unwrap();
    let butler = Butler::start_in(folder.clone(), &config, &[]).await;
    tell(&butler, &sink, &after).await;
    let (status, log) = butler.stop().await;
    assert!(status.success(), "{log}");
    sqlite(&store, &format!("CREATE TABLE later (x TEXT); PRAGMA user_version = {};", PRESENT + 1));

    // The older Butler refuses, and names the copy.
    let untouched = contents(folder.path());
    let file = Butler::prepare(&folder, &config);
    let output = run_with(&["run", "-c", file.to_str().unwrap()], &[]);
    assert_eq!(output.code, 1, "{output:?}");
    assert!(output.stderr.contains(copy.to_str().unwrap()), "{output:?}");
    assert_as_before(folder.path(), &untouched, "");

    // A name that is mistyped does no harm.
    assert!(!paste(&block("butler.v5-2026.bak"), folder.path()));
    assert_as_before(folder.path(), &untouched, "");
    let block = block(copy.file_name().unwrap().to_str().unwrap());
    assert!(paste(&block, folder.path()), "{block}");
    let [newer] = &put_aside(folder.path())[..] else { panic!("{:?}", put_aside(folder.path())) };
    // Neither does a second time.
    let (aside, restored) = (std::fs::read(newer).unwrap(), std::fs::read(&store).unwrap());
    paste(&block, folder.path());
    assert!(std::fs::read(newer).unwrap() == aside && std::fs::read(&store).unwrap() == restored, "{block}");

    let butler = Butler::start_in(folder.clone(), &config, &[]).await;
    assert_eq!(deliveries(&butler).await, known, "as it was when the copy was made");
    // What was told before is known.
    butler.send(&before.iter().map(failure).collect::<Vec<_>>());
    butler.wait_metric("butler_udp_duplicates_total", 3.0).await;
    // What came after it is not, as the section says, and may be told again.
    tell(&butler, &sink, &after).await;
    tell(&butler, &sink, &[fields()]).await;
    let (status, log) = butler.stop().await;
    assert!(status.success() && !log.contains("the store is migrated"), "{log}");
    // The newer one's is kept.
    assert_eq!(
        sqlite(newer, "PRAGMA user_version; SELECT count(*) FROM events WHERE kind = 'reload-task.failed';"),
        format!("{}\n6", PRESENT + 1)
    );
    assert_eq!(copies(folder.path()).len(), 2, "{:?}", copies(folder.path()));
}
