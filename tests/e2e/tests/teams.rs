//! Alerts in a channel of Teams that refuses what the real one refuses.

use std::time::Instant;

use e2e::qlik::{Run, Site, Status};
use e2e::{Sense, TeamsChannel, TeamsTrouble, failure, fields, wait_for};
use serde_json::{Value, json};

fn config(channel: &TeamsChannel, settings: &str) -> String {
    format!(
        "plugins:\n  - use: teams\n    retry: {{ initial: 50ms, max: 200ms }}\n    settings: {{ webhookUrl: \"{}\"{settings} }}\n",
        channel.webhook()
    )
}

fn text(message: &Value) -> String {
    message.to_string()
}

#[tokio::test]
async fn every_outcome_of_a_task_is_a_card_that_teams_takes() {
    let (sense, channel) = (Sense::start().await, TeamsChannel::start().await);
    let config = config(&channel, ", mentionOwner: true")
        .replace("    retry", "    on: [{ events: [\"*-task.*\"] }]\n    retry");
    let butler = sense.butler(&config).await;
    for (count, task) in (1..).zip([
        Site::SAMPLE_RELOAD_TASK,
        Site::SAMPLE_EXTERNAL_PROGRAM_TASK,
        Site::SAMPLE_USER_SYNC_TASK,
        Site::SAMPLE_PRELOAD_TASK,
    ]) {
        butler.send(&[failure(&sense.failed(task))]);
        let shown = channel.wait(count).await;
        assert!(text(&shown[count - 1]).contains("failed"), "{}", shown[count - 1]);
    }
    assert_eq!(channel.refused(), Vec::<String>::new());
    let card = &channel.shown()[0]["attachments"][0]["content"];
    let entity = &card["msteams"]["entities"][0];
    assert!(text(card).contains(entity["text"].as_str().unwrap()), "{card}");
}

#[tokio::test]
async fn a_card_arrives_whatever_the_channel_says_first() {
    let (sense, channel) = (Sense::start().await, TeamsChannel::start().await);
    let butler = sense.butler(&config(&channel, "")).await;
    let began = Instant::now();
    channel.trouble([TeamsTrouble::ErrorPage, TeamsTrouble::Unauthorized, TeamsTrouble::Busy(1)]);
    butler.send(&[failure(&fields())]);
    channel.wait(1).await;
    assert!(began.elapsed().as_millis() >= 990, "Retry-After counts");
    let delivery = butler.wait_delivery("delivered", "teams").await;
    assert_eq!(delivery["attempt"], json!(4), "{delivery}");

    // What is too large for it comes as a plain card, at once.
    channel.trouble([TeamsTrouble::TooLarge]);
    butler.send(&[failure(&fields())]);
    let shown = channel.wait(2).await;
    assert!(text(&shown[1]).contains("refused the full one"), "{}", shown[1]);
    wait_for("the log to say so", || async {
        butler.log().contains("alerts go out as plain cards: Teams refused the card with 413").then_some(())
    })
    .await;
    assert!(!butler.log().contains("sig=secret"), "{}", butler.log());
}

#[tokio::test]
async fn a_connector_that_answers_200_without_showing_the_card_loses_no_alert() {
    let (sense, channel) = (Sense::start().await, TeamsChannel::start().await);
    let butler = sense.butler(&config(&channel, ", envelope: messageCard")).await;
    channel.trouble([TeamsTrouble::Undelivered(429), TeamsTrouble::Undelivered(413)]);
    butler.send(&[failure(&fields())]);
    let shown = channel.wait(1).await;
    assert!(text(&shown[0]).contains("refused the full one"), "{}", shown[0]);
    let delivery = butler.wait_delivery("delivered", "teams").await;
    assert_eq!(delivery["attempt"], json!(2), "{delivery}");
}

#[tokio::test]
async fn links_that_lead_nowhere_for_an_event_cost_no_card() {
    let (sense, channel) = (Sense::start().await, TeamsChannel::start().await);
    let links = "links: { custom: [{ linkText: Console, url: \"https://{{nosuch}}:4242/\" }] }\n";
    let butler = sense.butler(&format!("{links}{}", config(&channel, ""))).await;
    butler.send(&[failure(&fields())]);
    let shown = channel.wait(1).await;
    assert!(!text(&shown[0]).contains("refused") && !text(&shown[0]).contains(":4242/"), "{}", shown[0]);
    assert_eq!(channel.refused(), Vec::<String>::new());
}

#[tokio::test]
async fn the_biggest_facts_fit_and_nasty_ones_arrive() {
    let (sense, channel) = (Sense::start().await, TeamsChannel::start().await);
    let butler = sense.butler(&config(&channel, ", headScriptLogLines: 300, tailScriptLogLines: 300")).await;
    let nasty = "R&D \"x\" <script>alert(1)</script> C:\\new \u{1F600} \u{202E}abc {{taskName}}";
    let line = format!("{nasty} {}\r\n", "ä".repeat(200));
    let mut fields = sense.about(Site::SAMPLE_RELOAD_TASK);
    let run = Run::new(Status::FinishedFail).script_log(line.repeat((5 << 20) / line.len()));
    sense.site().run_task(Site::SAMPLE_RELOAD_TASK, &fields.execution_id, run).unwrap();
    fields.message = Some(nasty.to_owned());
    butler.send(&[failure(&fields)]);
    let shown = text(&channel.wait(1).await[0]);
    assert!(shown.len() <= 20_480 && shown.len() > 15_000, "{}", shown.len());
    assert!(shown.contains("Shortened") && shown.contains("<script>alert(1)</script>"), "{shown}");
    assert_eq!(channel.refused(), Vec::<String>::new());
}
