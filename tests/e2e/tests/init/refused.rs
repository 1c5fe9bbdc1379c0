//! What cannot work is refused with its reason, and nothing is written.

use std::fs;

use e2e::Sense;
use e2e::qlik::Certificates;

use super::{APPENDERS, SITE, files, init, sense, text};

/// Refused as what cannot work, for these reasons; nothing is written.
async fn refused(sense: &Sense, flags: &[&str], reasons: &[&str]) -> String {
    let output = init(sense, flags).await;
    assert_eq!((output.code, output.stdout.as_str()), (2, ""), "{output:?}");
    for reason in reasons {
        assert!(output.stderr.contains(reason), "`{reason}` is not in {}", output.stderr);
    }
    assert_eq!(files(&sense.folder().join("new")), [""; 0], "{flags:?}");
    output.stderr
}

#[tokio::test]
async fn without_a_terminal_all_that_is_missing_is_told() {
    let sense = sense().await;
    let flags = ["--host HOST", "--certificates DIR", "--udp HOST[:PORT]", "--use PLUGIN"];
    let told = refused(&sense, &[], &[&["this is no terminal"][..], &flags].concat()).await;
    assert_eq!(told.lines().count(), 5, "{told}");
    let mail = ["--use", "email", "--set", "smtp.auth.user=u"];
    let auth = "--set smtp.auth.password=…, or --set smtp.auth.oauth=…";
    let missing = ["--set smtp.host=TEXT", auth, "--set from=TEXT", "--set recipients=TEXT,TEXT"];
    let told = refused(&sense, &[&SITE[..], &mail].concat(), &missing).await;
    assert!(told.contains("Name or IP address of the server.") && told.lines().count() == 5, "{told}");
    let oauth = [&mail[..], &["--set", "smtp.auth.oauth.clientId=id"]].concat();
    let missing = ["--set smtp.auth.oauth.tokenUrl=TEXT", "--set smtp.auth.oauth.clientSecret=TEXT"];
    let told = refused(&sense, &[&SITE[..], &oauth].concat(), &missing).await;
    assert!(!told.contains("password"), "{told}");
    let told = refused(&sense, &[&SITE[2..], &["--use", "slack"]].concat(), &["--host HOST"]).await;
    assert!(told.contains("--set webhookUrl=…, or --set token=… --set channel=…"), "{told}");
}

#[tokio::test]
async fn a_folder_is_no_store() {
    let sense = sense().await;
    let flags = [&SITE[..], &["--use", "console", "--store", "../certificates"]].concat();
    refused(&sense, &flags, &["--store: ../certificates is a folder: name a file, such as ../certificates/butler.db"])
        .await;
    // The first start would make it.
    let flags = [&SITE[..], &["--use", "console", "--store", "../nowhere/"]].concat();
    refused(&sense, &flags, &["--store: ../nowhere/ is a folder: name a file, such as ../nowhere/butler.db"]).await;
}

#[tokio::test]
async fn certificates_that_are_missing_or_do_not_fit_are_told_at_once() {
    let sense = sense().await;
    let folder = sense.folder().to_owned();
    let with = |certificates: &'static str| {
        ["--host", "127.0.0.1", "--udp", "127.0.0.1", "--use", "console", "--certificates", certificates]
    };
    refused(&sense, &with("../nowhere"), &["--certificates: there is no folder ../nowhere"]).await;
    refused(&sense, &with("."), &["neither client.pem, client_key.pem and root.pem nor client.pfx", "QMC"]).await;
    let other = Certificates::generate().unwrap();
    let copy = |name: &str| {
        sense.certificates().write_to(folder.join(name)).unwrap();
        folder.join(name)
    };
    fs::remove_file(copy("partial").join("client_key.pem")).unwrap();
    refused(&sense, &with("../partial"), &["has no client_key.pem in it"]).await;
    fs::write(copy("mixed").join("client_key.pem"), other.client_key_pem()).unwrap();
    refused(&sense, &with("../mixed"), &["does not belong to the certificate in", "mixed/client.pem"]).await;
    fs::write(copy("foreign").join("root.pem"), other.root_pem()).unwrap();
    refused(&sense, &with("../foreign"), &["not issued by the authority", "from one export"]).await;
    fs::write(copy("damaged").join("root.pem"), "nothing").unwrap();
    refused(&sense, &with("../damaged"), &["damaged/root.pem", "has no certificate in it"]).await;
    sense.certificates().write_windows_to(folder.join("windows"), "geheime Losung").unwrap();
    refused(&sense, &with("../windows"), &["is encrypted, and there is no passphrase", "--passphrase"]).await;
    let wrong = [&with("../windows")[..], &["--passphrase", "falsche Losung"]].concat();
    let told = refused(&sense, &wrong, &["the passphrase does not open"]).await;
    assert!(!told.contains("Losung"), "{told}");
}

#[tokio::test]
async fn wrong_answers_by_flag_are_told_by_their_flag() {
    let sense = sense().await;
    let console = ["--certificates", "../certificates", "--udp", "127.0.0.1", "--use", "console"];
    for (flags, reasons) in [
        (&["--host", "https://sense/qmc"][..], &["--host: ", "without `https://`"][..]),
        (&["--host", "127.0.0.1", "--user", "butler"], &["--user: ", "directory and user id"]),
    ] {
        refused(&sense, &[flags, &console].concat(), reasons).await;
    }
    let site = &SITE[..4];
    refused(&sense, &[site, &["--udp", "0.0.0.0", "--use", "console"]].concat(), &["--udp: ", "all addresses"]).await;
    let with = |destination: &[&'static str]| [&SITE[..], destination].concat();
    refused(&sense, &with(&["--use", "consol"]), &["--use: ", "did you mean `console`?"]).await;
    // It watches, and is told of nothing.
    refused(&sense, &with(&["--use", "node-silence"]), &["--use: there is no destination `node-silence`"]).await;
    let bad = ["--use", "webhook", "--set", "url=geheim"];
    let told = refused(&sense, &with(&bad), &["--set url: must be a URL"]).await;
    assert!(!told.contains("geheim"), "{told}");
    let bad = ["--use", "webhook", "--set", "url=http://127.0.0.1:1/", "--set", "uri=x"];
    refused(&sense, &with(&bad), &["--set uri: the destination has no such setting; did you mean `url`?"]).await;
    // Only the plugin itself knows what is wrong here.
    let bad = ["--use", "webhook", "--set", "url=mailto:somebody@example.com"];
    refused(&sense, &with(&bad), &["`url`", "mailto"]).await;
    let unset = ["--use", "webhook", "--set", "url=${env:BUTLER_TEST_UNSET}"];
    refused(&sense, &with(&unset), &["BUTLER_TEST_UNSET", "is not set"]).await;
}

#[tokio::test]
async fn one_machine_s_own_address_is_none_for_nodes_elsewhere() {
    let sense = sense().await;
    let nodes = ["sense1.lab.local", "sense2.lab.local"].map(e2e::qlik::Node::central);
    sense.site().set_nodes(nodes);
    let reasons = ["--udp: `127.0.0.1` means this machine alone", "sense1.lab.local, sense2.lab.local"];
    refused(&sense, &[&SITE[..], &["--use", "console"]].concat(), &reasons).await;
    // One is enough, and those on this machine do not count.
    sense.site().set_nodes(["localhost", "sense2.lab.local"].map(e2e::qlik::Node::central));
    let reasons = ["--udp: `127.0.0.1` means this machine alone: it must be what sense2.lab.local can reach"];
    refused(&sense, &[&SITE[..], &["--use", "console"]].concat(), &reasons).await;
    sense.site().set_nodes([e2e::qlik::Node::central("sense1.lab.local")]);
    let reasons = ["--udp: `localhost` means this machine alone: it must be what sense1.lab.local can reach"];
    refused(&sense, &[&SITE[..4], &["--udp", "localhost", "--use", "console"]].concat(), &reasons).await;
}

#[tokio::test]
async fn what_is_there_is_kept() {
    let sense = sense().await;
    let folder = sense.folder().join("new");
    let flags = [&SITE[..], &["--use", "teams", "--set", "webhookUrl=https://127.0.0.1:1/hook"]].concat();
    for file in ["butler.yaml", "butler.schema.json", APPENDERS] {
        let path = folder.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "mine").unwrap();
        let output = init(&sense, &flags).await;
        assert_eq!((output.code, output.stdout.as_str()), (1, ""), "{output:?}");
        assert!(output.stderr.contains(&format!("{file} is there already and is kept")), "{output:?}");
        assert_eq!((files(&folder), text(&path).as_str()), (vec![file.to_owned()], "mine"));
        fs::remove_dir_all(&folder).unwrap();
        fs::create_dir(&folder).unwrap();
    }
    let output = init(&sense, &flags).await;
    assert_eq!(output.code, 0, "{output:?}");
    // Secrets of others are kept, and not in the way.
    let second = folder.join("second");
    for (name, text) in
        [("teams-webhookUrl", "https://127.0.0.1:1/mine\n"), ("teams-webhookUrl-2", "mine"), ("other", "mine")]
    {
        fs::create_dir_all(second.join("secrets")).unwrap();
        fs::write(second.join("secrets").join(name), text).unwrap();
    }
    let output = init(&sense, &[&flags[..], &["--out", "second"]].concat()).await;
    assert_eq!(output.code, 0, "{output:?}");
    assert_eq!(text(&second.join("secrets/teams-webhookUrl")), "https://127.0.0.1:1/mine\n");
    assert_eq!(text(&second.join("secrets/teams-webhookUrl-2")), "mine");
    assert_eq!(text(&second.join("secrets/teams-webhookUrl-3")), "https://127.0.0.1:1/hook\n");
    assert!(text(&second.join("butler.yaml")).contains("${file:secrets/teams-webhookUrl-3}"));
    // And may be named.
    for file in ["butler.yaml", "butler.schema.json", APPENDERS] {
        fs::remove_file(second.join(file)).unwrap();
    }
    let named = ["--use", "teams", "--set", "webhookUrl=${file:secrets/teams-webhookUrl}", "--out", "second"];
    let output = init(&sense, &[&SITE[..], &named].concat()).await;
    assert_eq!(output.code, 0, "{output:?}");
    assert!(text(&second.join("butler.yaml")).contains("${file:secrets/teams-webhookUrl}"));
}
