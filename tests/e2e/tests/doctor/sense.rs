//! Qlik Sense: whether it answers, what its user may see, whether what the config names is there, and its clock.

use e2e::qlik::{CustomPropertyDefinition, Endpoint, Fault, Options, Site, Tag, User};
use e2e::{Sink, WallClock};

use super::{ROUTES, desk, doctor, doctor_under, sense, sense_with, write};

#[tokio::test]
async fn each_service_that_is_away_is_told_and_only_the_repository_is_needed() {
    let (sense, sink) = (sense().await, Sink::start().await);
    let path = write(sense.folder(), &(sense.section("") + &desk(&sink, "")));
    doctor(&path, &[]).await.only_fails(&[]);

    sense.stop_engine().await;
    sense.set_system_info(None);
    let said = doctor(&path, &[]).await;
    said.only_fails(&[]);
    said.finds("engine", "note", &["`ports.engine`", "only lists, dumps and reloads of apps need it"]);
    said.finds("qlik version", "note", &["503", "only plugins that watch the version need it"]);

    sense.stop().await;
    let said = doctor(&path, &[]).await;
    said.only_fails(&["qlik"]);
    said.finds("qlik", "failed", &[&sense.addr().to_string(), "check `qlik.host`, `ports.repository`, the firewall"]);
    assert!(!said.findings.iter().any(|finding| finding["link"] == "rights"), "nothing is said of what cannot be seen");
}

#[tokio::test]
async fn rights_are_told_as_far_as_they_can_be_known() {
    let sense = sense().await;
    let path = write(sense.folder(), &sense.section(""));
    for (endpoint, what) in [
        (Endpoint::TaskCount, "tasks"),
        (Endpoint::AppCount, "apps"),
        (Endpoint::UserCount, "users"),
        (Endpoint::ExecutionResultCount, "execution results"),
        (Endpoint::CustomPropertyDefinitionCount, "custom properties"),
        (Endpoint::TagCount, "tags"),
    ] {
        sense.faults().add(Fault::status(403).on(endpoint));
        let said = doctor(&path, &[]).await;
        said.only_fails(&["rights"]);
        said.finds(
            "rights",
            "failed",
            &[&format!("{what} cannot be read"), "403", "`qlik.user` exists and may read this"],
        );
        sense.faults().clear();
    }

    // Nothing has run in the sample site.
    let said = doctor(&path, &[]).await;
    said.only_fails(&[]);
    said.finds("rights", "note", &["sees 7 tasks, 3 apps", "but no execution results", "AuditAdmin"]);
    assert!(!said.findings.iter().any(|one| one["link"] == "rights" && one["verdict"] == "ok"), "{:#?}", said.findings);

    let blind = sense_with(Options::default().site(Site::empty())).await;
    let path = write(blind.folder(), &blind.section(""));
    let said = doctor(&path, &[]).await;
    said.only_fails(&["rights"]);
    said.finds(
        "rights",
        "failed",
        &["LAB\\sa_repository sees no tasks, no apps, no users", "may read nothing", "RootAdmin"],
    );

    blind.site().add_user(User::new("LAB", "ann", "Ann"));
    let said = doctor(&path, &[]).await;
    said.only_fails(&[]);
    said.finds("rights", "note", &["sees no tasks, no apps: there are none, or it may not read them"]);
}

#[tokio::test]
async fn what_plugins_may_change_must_be_readable() {
    let sense = sense().await;
    let entry = "plugins:\n  - use: licenses\n    settings: { unusedLicenses: { when: { every: 1h } } }\n";
    let path = write(sense.folder(), &(sense.section("writes: [\"license/professionalaccesstype/*\"]") + entry));
    let said = doctor(&path, &[]).await;
    said.only_fails(&[]);
    said.finds("rights licenses", "ok", &["`license/professionalaccesstype` may be read", "shows when it is"]);
    sense.faults().add(Fault::status(403).on(Endpoint::ProfessionalAccessCount));
    let said = doctor(&path, &[]).await;
    said.finds("rights licenses", "failed", &["`license/professionalaccesstype` cannot be read", "403"]);
    let path = write(sense.folder(), &(sense.section("") + entry));
    let said = doctor(&path, &[]).await;
    assert!(!said.findings.iter().any(|finding| finding["link"] == "rights licenses"), "{:#?}", said.findings);
}

#[tokio::test]
async fn custom_properties_and_tags_that_the_config_names_must_be_there() {
    let (sense, sink) = (sense().await, Sink::start().await);
    let at =
        async |filter: &str, config: &str| doctor(&write(sense.folder(), &(sense.section(filter) + config)), &[]).await;
    let route =
        |condition: &str| desk(&sink, &format!("on: [{{ events: [\"*-task.failed\"], where: {{ {condition} }} }}]"));

    let said = at("", &desk(&sink, ROUTES)).await;
    said.only_fails(&[]);
    said.finds("custom properties", "ok", &[]);
    said.finds("tags", "ok", &[]);
    for (condition, link, words) in [
        ("task.customProperties.TaskGruop: sales", "custom properties", "did you mean `taskGroup`?"),
        (
            "task.customProperties.Unheard: \"*\"",
            "custom properties",
            "names the custom property `Unheard`, which is not there",
        ),
        ("task.customProperties.taskGroup: sails", "custom properties", "has only `sales`, `stock`, `finance`"),
        ("app.customProperties.taskGroup: sales", "custom properties", "which is for ReloadTask only"),
        ("task.tags: nigthly", "tags", "did you mean `nightly`?"),
        ("tags: { not: weekly }", "tags", "names the tag `weekly`, which is not there"),
    ] {
        let said = at("", &route(condition)).await;
        said.only_fails(&[link]);
        said.finds(link, "failed", &["instance desk, rule 1 of its `on:`", words, "QMC"]);
    }

    // What the settings of plugins name, by their schemas.
    let mail = |recipients: &str| {
        format!(
            "plugins:\n  - use: email\n    settings: {{ smtp: {{ host: 127.0.0.1, port: 9, tls: none }}, from: a@example.com, {recipients} }}\n"
        )
    };
    let said = at("", &mail("recipientsFromProperty: Mail_To")).await;
    said.finds(
        "custom properties",
        "failed",
        &["instance email, `settings.recipientsFromProperty`, names the custom property `Mail_To`"],
    );
    sense.site().add_custom_property(CustomPropertyDefinition::new("Mail_To", []));
    sense.site().add_custom_property(CustomPropertyDefinition::new("Mail_On", ["Yes"]));
    let said = at("", &mail("recipientsFromProperty: Mail_To, recipients: [b@example.com], recipientsIf: { property: Mail_On, value: Sure }")).await;
    said.finds(
        "custom properties",
        "failed",
        &["the value `Sure` of the custom property `Mail_On`, which has only `Yes`"],
    );
    let said = at("", &mail("recipientsFromProperty: Mail_To, recipients: [b@example.com], recipientsIf: { property: Mail_On, value: \"Yes\" }")).await;
    said.finds("custom properties", "ok", &[]);
    let labels = "plugins:\n  - use: alertmanager\n    settings: { urls: [\"http://127.0.0.1:9\"], customPropertyLabels: { team: Team } }\n";
    at("", labels).await.finds(
        "custom properties",
        "failed",
        &["`settings.customPropertyLabels`, names the custom property `Team`"],
    );
    let release = "plugins:\n  - use: licenses\n    settings: { unusedLicenses: { neverRelease: { tags: [Keep] } } }\n";
    at("", release).await.finds(
        "tags",
        "failed",
        &["`settings.unusedLicenses.neverRelease.tags`, names the tag `Keep`"],
    );
    sense.site().add_tag(Tag::new("keep"));
    let said = at("", release).await;
    said.finds("tags", "note", &["which is `keep` in Qlik Sense"]);

    let filter = "startTaskFilter: { tags: [weekly], customProperties: [{ name: taskGroup, value: none }] }";
    let said = at(filter, "").await;
    said.only_fails(&["custom properties", "tags"]);
    said.finds("tags", "failed", &["`qlik.startTaskFilter` names the tag `weekly`"]);
    said.finds("custom properties", "failed", &["`qlik.startTaskFilter` names the value `none`"]);

    let empty = sense_with(Options::default().site(Site::empty())).await;
    let said = doctor(&write(empty.folder(), &(empty.section("") + &route("task.tags: x"))), &[]).await;
    said.finds("tags", "failed", &["Qlik Sense shows none at all", "may not read them"]);
}

#[tokio::test]
async fn a_clock_that_is_off_is_told_with_who_is_ahead() {
    let sense = sense().await;
    let path = write(sense.folder(), &sense.section(""));
    let clock = WallClock::right();
    for (seconds, verdict, words) in [
        (0, "ok", "have the same time"),
        (40, "ok", "have the same time"),
        (100, "note", "this machine's clock is ahead of Qlik Sense's by"),
        (-100, "note", "Qlik Sense's clock is ahead of this machine's by"),
        (420, "failed", "this machine's clock is ahead of Qlik Sense's by"),
        (-420, "failed", "Qlik Sense's clock is ahead of this machine's by 6 min"),
    ] {
        clock.set(seconds);
        let said = doctor_under(&path, &[], &clock.environment()).await;
        let remedy = if verdict == "ok" { "" } else { "w32tm" };
        said.finds("clock", verdict, &[words, remedy]);
        let failing: &[&str] = if verdict == "failed" { &["clock"] } else { &[] };
        said.only_fails(failing);
    }
}
