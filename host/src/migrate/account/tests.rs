use super::*;

fn reader(name: &str, used: &[&str], notes: &[(&str, Outcome, &str)]) -> Reader {
    let note = |(key, outcome, text): &(&str, Outcome, &str)| Note {
        key: (*key).to_owned(),
        outcome: *outcome,
        text: (*text).to_owned(),
    };
    Reader {
        name: name.to_owned(),
        used: used.iter().map(|key| (*key).to_owned()).collect(),
        notes: notes.iter().map(note).collect(),
    }
}

fn account(text: &str, readers: &[Reader]) -> Account {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("old.yaml");
    std::fs::write(&path, text).unwrap();
    let old = Old::read(&path).unwrap();
    let named = Named::new(old.butler.clone());
    Account::new(&old, &named, readers, true)
}

fn entries(account: &Account) -> Vec<String> {
    let entries = account.entries.iter();
    entries.map(|entry| format!("{} {} {:?} {}", entry.line, entry.path, entry.outcome, entry.by.join(","))).collect()
}

fn told(account: &Account) -> Vec<String> {
    let line = |told: &Told| told.line.map_or_else(|| "-".to_owned(), |line| line.to_string());
    account
        .told
        .iter()
        .map(|it| format!("{} {} {:?} {} {}", line(it), it.path, it.outcome, it.by.join(","), it.text))
        .collect()
}

#[test]
fn the_weightiest_word_of_all_counts() {
    let text = "Butler:\n  monitor:\n    enable: true\n    a: 1\n    b: 2\n  off:\n    enable: false\n    url: x\n  list:\n  - 1\n  - 2\n";
    let readers = [
        reader("one", &["monitor.enable", "monitor.a", "off"], &[("off", Outcome::Dropped, "it is off")]),
        reader(
            "two",
            &["monitor.enable", "list"],
            &[
                ("monitor.enable", Outcome::Dropped, "not mine"),
                ("monitor.b", Outcome::NoEffect, "none"),
                ("list[1]", Outcome::ToDo, "do it"),
                ("absent", Outcome::ToDo, "somewhere"),
            ],
        ),
        reader("three", &["off.url"], &[("off", Outcome::Dropped, "it is off")]),
    ];
    let account = account(text, &readers);
    assert_eq!(
        entries(&account),
        [
            "3 monitor.enable Taken one",
            "4 monitor.a Taken one",
            "5 monitor.b NoEffect two",
            "7 off.enable Dropped one,three",
            "8 off.url Dropped one,three",
            "10 list[0] Taken two",
            "11 list[1] ToDo two",
        ]
    );
    assert_eq!(
        told(&account),
        [
            "- absent ToDo two somewhere",
            "5 monitor.b NoEffect two none",
            "6 off Dropped one,three it is off",
            "11 list[1] ToDo two do it",
        ]
    );
    assert_eq!((account.count(Outcome::Dropped), account.of(Outcome::ToDo).count()), (2, 2));
}

#[test]
fn the_closest_note_counts() {
    let text = "Butler:\n  db:\n    host: a\n    port: 1\n";
    let reader = reader(
        "one",
        &["db"],
        &[("db", Outcome::ToDo, "all"), ("db.port", Outcome::Dropped, "port"), ("db.port", Outcome::Differs, "p")],
    );
    let account = account(text, &[reader]);
    assert_eq!(entries(&account), ["3 db.host ToDo one", "4 db.port Differs one"]);
    // What is left out in favour of another note of the same place is not told.
    assert_eq!(told(&account), ["2 db ToDo one all", "4 db.port Differs one p"]);
}

#[test]
fn what_nobody_knows_is_told_once_with_what_may_be_meant() {
    let text = "Butler:\n  chatNotifications:\n    enable: true\n    url: x\n  chatNotification:\n    enabel: true\n    deep:\n      a: 1\n      b: 2\n    \
                hooks:\n    - ulr: 1\n    - url: 2\nother:\n  a: 1\n";
    let reader = reader(
        "chat",
        &["chatNotification.enable", "chatNotification.hooks[0].url", "chatNotification.hooks[1].url"],
        &[],
    );
    let account = account(text, &[reader]);
    assert_eq!(
        told(&account),
        [
            "2 chatNotifications Unknown  not known to Butler 16, which gave it no effect, misspelt? There is `chatNotification`",
            "6 chatNotification.enabel Unknown  not known to Butler 16, which gave it no effect, misspelt? There is `enable`",
            "7 chatNotification.deep Unknown  not known to Butler 16, which gave it no effect",
            "11 chatNotification.hooks[0].ulr Unknown  not known to Butler 16, which gave it no effect, misspelt? There is `url`",
            "13 (root) other Unknown  stands beside `Butler`, where Butler 16 takes nothing",
        ]
    );
    assert_eq!(account.count(Outcome::Unknown), 7);
}

#[test]
fn names_of_the_file_are_told_and_not_the_new_ones() {
    let text = "Butler:\n  influxDb:\n    instanceTag: DEV\n  configQRS:\n    headerKey: a\n    headerValue: b\n    headers:\n      static: []\n";
    let reader = reader(
        "one",
        &["influxDb.tag.static[0].name", "configQRS.headers.static"],
        &[("influxDb.tag.static[0].value", Outcome::Differs, "as a tag")],
    );
    let account = account(text, &[reader]);
    assert_eq!(
        entries(&account),
        [
            "3 influxDb.instanceTag Differs one",
            "5 configQRS.headerKey Dropped ",
            "6 configQRS.headerValue Dropped ",
            "8 configQRS.headers.static Taken one"
        ]
    );
    assert_eq!(
        told(&account),
        [
            "3 influxDb.instanceTag Differs one as a tag",
            "5 configQRS.headerKey Dropped  an older name of `configQRS.headers.static`, which is there as well and counts",
            "6 configQRS.headerValue Dropped  an older name of `configQRS.headers.static`, which is there as well and counts",
        ]
    );
}

#[test]
fn a_section_with_nothing_in_it_is_no_mystery() {
    let text = "Butler:\n  chat:\n  list: {}\n  odd:\n";
    let reader = reader("one", &["chat.enable", "list[0].a"], &[]);
    let account = account(text, &[reader]);
    assert_eq!(entries(&account), ["2 chat Dropped one", "3 list Dropped one", "4 odd Unknown "]);
    assert!(told(&account)[0].ends_with("there is nothing in it"));
}
