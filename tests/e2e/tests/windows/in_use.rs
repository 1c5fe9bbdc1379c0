//! Files that are in use: Windows keeps the file of a loaded library from being changed, so plugins are updated over a stop.

use std::fs;

use e2e::{Butler, Wine, failure, fields, wait_for};

use super::{folder, stops, wine};

#[tokio::test]
async fn a_loaded_plugin_cannot_be_overwritten_and_is_replaced_over_a_restart() {
    let (wine, folder) = (wine(), folder());
    let butler = wine.butler(&folder, "plugins:\n  - use: probe\n").await;
    let file = folder.path().join("plugins/butler_plugin_probe.dll");
    let new = folder.path().join("new.dll");
    // Another file that does the same: a library may have more at its end.
    let mut library = fs::read(&file).unwrap();
    library.push(0);
    fs::write(&new, &library).unwrap();
    let (file_there, new_there) = (Wine::path(&file), Wine::path(&new));
    // As an administrator does it; only programs for Windows are kept from it here.
    let cmd = |line: String| {
        let wine = wine.clone();
        async move {
            let run = move || wine.command_of("cmd.exe".as_ref()).args(["/c", &line]).output().unwrap();
            tokio::task::spawn_blocking(run).await.unwrap()
        }
    };
    let copied = cmd(format!("copy /y {new_there} {file_there}")).await;
    assert!(!copied.status.success(), "{copied:?}");
    let deleted = cmd(format!("del {file_there}")).await;
    assert!(file.exists(), "{deleted:?}");
    assert!(fs::read(&file).unwrap() != library, "it is as it was");
    butler.send(&[failure(&fields())]);
    butler.wait_delivery("delivered", "probe").await;
    stops(butler).await;
    let copied = cmd(format!("copy /y {new_there} {file_there}")).await;
    assert!(copied.status.success() && fs::read(&file).unwrap() == library, "{copied:?}");
    let butler = wine.butler_as_is(&folder, &[]).await;
    butler.send(&[failure(&fields())]);
    wait_for("a delivery by the new file", || async {
        (butler.deliveries("state=delivered&instance=probe").await.len() == 2).then_some(())
    })
    .await;
    stops(butler).await;
}

#[tokio::test]
async fn a_plugin_file_that_is_none_of_windows_is_refused_before_anything_is_touched() {
    let (wine, folder) = (wine(), folder());
    let path = Butler::prepare(&folder, "plugins:\n  - use: odd\n");
    let plugins = folder.path().join("plugins");
    fs::create_dir_all(&plugins).unwrap();
    let file = plugins.join("butler_plugin_odd.dll");
    // Of another system: this test.
    fs::copy(std::env::current_exe().unwrap(), &file).unwrap();
    let output = wine.ask(&["run", "-c", &Wine::path(&path)]).await;
    assert_eq!(output.code, 2, "{output:?}");
    assert!(output.stderr.contains(&Wine::path(&file)), "{output:?}");
    fs::write(&file, "no library\r\n").unwrap();
    let output = wine.ask(&["run", "-c", &Wine::path(&path)]).await;
    assert!(output.code == 2 && output.stderr.contains("is not a dynamic library"), "{output:?}");
    assert!(!folder.path().join("butler.db").exists());
}
