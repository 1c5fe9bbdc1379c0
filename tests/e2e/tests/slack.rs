//! Alerts in Slack: by webhook and with a token, in threads, refused and limited; messages of load scripts.

use std::time::Duration;

use e2e::qlik::Site;
use e2e::{Butler, Sense, Slack, SlackMessage, Trouble, datagram, failure, fields, http, run, wait_for};
use serde_json::{Value, json};

/// An instance with a webhook. `more`: further settings.
fn webhook(slack: &Slack, more: &str) -> String {
    instance(&format!("webhookUrl: {}{more}", slack.webhook()))
}

/// An instance with the token.
fn token(slack: &Slack, more: &str) -> String {
    instance(&format!("token: {}, channel: ops, apiUrl: {}{more}", Slack::TOKEN, slack.api()))
}

fn instance(settings: &str) -> String {
    format!(
        "plugins:\n  - use: slack\n    on: [{{ events: [\"*-task.*\"] }}]\n    retry: {{ initial: 50ms, max: 200ms }}\n    \
         settings: {{ {settings} }}\n"
    )
}

fn text_of(message: &SlackMessage) -> String {
    message.body.to_string()
}

/// The error of the delivery that is tried again.
async fn wait_error(butler: &Butler, part: &str) -> String {
    wait_for(&format!("a delivery with the error `{part}`; log:\n{}", butler.log()), || async {
        let deliveries = butler.deliveries("instance=slack").await;
        let errors = deliveries.iter().filter_map(|delivery| delivery["error"].as_str());
        errors.into_iter().find(|error| error.contains(part)).map(str::to_owned)
    })
    .await
}

async fn put(butler: &Butler, token: Option<&str>, body: &Value) -> (u16, Value) {
    let request = http().put(format!("{}/v4/slackpostmessage", butler.rest()));
    let request = request.header("content-type", "application/json").body(body.to_string());
    let request = match token {
        Some(token) => request.bearer_auth(token),
        None => request,
    };
    let answer = request.send().await.expect("the daemon answers");
    let status = answer.status().as_u16();
    let text = answer.text().await.expect("the daemon answers whole");
    (status, serde_json::from_str(&text).expect("the answer is JSON"))
}

#[tokio::test]
async fn a_failed_reload_is_told_by_webhook_and_token_with_all_facts() {
    let (sense, slack) = (Sense::start().await, Slack::start().await);
    let config = format!(
        "links: {{ qmc: \"https://sense.test/qmc?a=b&c=d\", hub: \"https://sense.test/hub\" }}\nplugins:\n  - use: slack\n    \
         name: hook\n    settings: {{ webhookUrl: {} }}\n  - use: slack\n    name: bot\n    settings: {{ token: {}, channel: \
         \"#etl\", apiUrl: {}, fromUser: Qlik, iconEmoji: \":ghost:\" }}\n",
        slack.webhook(),
        Slack::TOKEN,
        slack.api()
    );
    let butler = sense.butler(&config).await;
    butler.send(&[failure(&sense.failed(Site::SAMPLE_RELOAD_TASK))]);
    let messages = slack.wait(2).await;
    for message in &messages {
        let text = text_of(message);
        for part in [
            "Reload order analysis",
            "Order analysis",
            "Ann Berg",
            "relation \\\"sales.order_lines\\\" does not exist",
            "Execution Failed",
            "https://sense.test/qmc?a=b&c=d",
        ] {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
        assert!(message.body["text"].as_str().unwrap().starts_with("Reload task failed: Reload order analysis"));
    }
    let bot = messages.iter().find(|message| message.channel == "etl").unwrap();
    assert_eq!((&bot.body["username"], &bot.body["icon_emoji"]), (&json!("Qlik"), &json!(":ghost:")));
    for instance in ["hook", "bot"] {
        butler.wait_delivery("delivered", instance).await;
    }
}

#[tokio::test]
async fn failures_of_a_task_answer_in_its_thread_over_a_kill_until_a_success() {
    let slack = Slack::start().await;
    let butler = Butler::start(&token(&slack, "")).await;
    let of_task = fields();
    let again = || e2e::Fields { execution_id: fields().execution_id, ..of_task.clone() };
    butler.send(&[failure(&again())]);
    let first = slack.wait(1).await[0].clone();
    assert_eq!(first.thread, None);
    butler.wait_delivery("delivered", "slack").await;

    let butler = butler.kill_and_start().await;
    butler.send(&[failure(&again())]);
    let second = slack.wait(2).await[1].clone();
    assert_eq!((second.thread.as_ref(), &second.body["reply_broadcast"]), (Some(&first.ts), &json!(true)));
    butler.send(&[failure(&fields())]);
    assert_eq!(slack.wait(3).await[2].thread, None, "another task has a thread of its own");

    butler.send(&[datagram("reload-task.succeeded", &again())]);
    assert_eq!(slack.wait(4).await[3].thread.as_ref(), Some(&first.ts), "the success ends it there");
    butler.send(&[failure(&again())]);
    let fifth = slack.wait(5).await[4].clone();
    assert_eq!(fifth.thread, None, "the next failure opens a new one");

    // Somebody deletes the first message of the thread.
    wait_for("all to be delivered", || async { (butler.deliveries("state=delivered").await.len() == 5).then_some(()) })
        .await;
    slack.delete(&fifth.ts);
    butler.send(&[failure(&again())]);
    assert_eq!(slack.wait(5).await[4].thread, None);
    wait_for("all to be delivered", || async { (butler.deliveries("state=delivered").await.len() == 6).then_some(()) })
        .await;
}

#[tokio::test]
async fn a_rate_limit_is_honoured_by_all_deliveries() {
    let slack = Slack::start().await;
    let butler = Butler::start(&token(&slack, "")).await;
    slack.next([Trouble::rate_limit(2)]);
    butler.send(&[failure(&fields()), failure(&fields()), failure(&fields())]);
    slack.wait(3).await;
    let calls = slack.calls();
    // The others may be under way when the first is refused. After that nobody asks before the time is over: the waits of
    // the config would be over after 60 ms.
    assert!((calls.len(), calls[0].status) == (4, 429), "{calls:?}");
    let waits: Vec<_> = calls[1..].iter().map(|call| call.at - calls[0].at).collect();
    let early =
        waits.iter().filter(|wait| **wait < Duration::from_millis(1_900) && **wait > Duration::from_millis(500));
    assert_eq!(early.count(), 0, "{waits:?}");
    assert!(waits[2] >= Duration::from_millis(1_900), "{waits:?}");
}

#[tokio::test]
async fn a_token_that_is_put_right_brings_the_alert_and_so_does_a_webhook() {
    let slack = Slack::start().await;
    let butler = Butler::start(&token(&slack, "")).await;
    slack.set_token("xoxb-rotated");
    butler.send(&[failure(&fields())]);
    let error = wait_error(&butler, "invalid_auth").await;
    assert!(error.contains("bot token") && !error.contains(Slack::TOKEN), "{error}");
    slack.set_token(Slack::TOKEN);
    slack.wait(1).await;
    butler.wait_delivery("delivered", "slack").await;

    let butler = Butler::start(&webhook(&slack, "")).await;
    slack.set_webhook(false);
    butler.send(&[failure(&fields())]);
    let error = wait_error(&butler, "no_service").await;
    assert!(error.contains("`webhookUrl`") && !error.contains("xxxx"), "{error}");
    slack.set_webhook(true);
    slack.wait(2).await;
}

#[tokio::test]
async fn pages_of_proxies_and_a_slack_in_trouble_delay_an_alert() {
    let slack = Slack::start().await;
    let butler = Butler::start(&token(&slack, "")).await;
    let trouble = [
        (Trouble::page(200, "Please sign in"), "Please sign in"),
        (Trouble::page(403, "Blocked"), "Blocked"),
        (Trouble::page(502, "Bad gateway"), "502"),
        (Trouble::error("internal_error"), "internal_error"),
        (Trouble::error("is_archived"), "unarchive"),
    ];
    for (number, (trouble, part)) in trouble.into_iter().enumerate() {
        slack.next(vec![trouble; 3]);
        butler.send(&[failure(&fields())]);
        wait_error(&butler, part).await;
        slack.wait(number + 1).await;
        wait_for("the delivery", || async {
            (butler.deliveries("state=delivered").await.len() == number + 1).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn what_slack_refuses_goes_out_in_the_plain_form_at_once() {
    let slack = Slack::start().await;
    let folder = std::sync::Arc::new(tempfile::TempDir::new().unwrap());
    std::fs::write(
        folder.path().join("mine.json"),
        r#"{ "blocks": [{ "type": "hologram", "text": "{{taskName}}" }] }"#,
    )
    .unwrap();
    for config in [token(&slack, ", templateFile: mine.json"), webhook(&slack, ", templateFile: mine.json")] {
        let before = slack.messages().len();
        let butler = Butler::start_in(folder.clone(), &config, &[]).await;
        let failed = fields();
        butler.send(&[failure(&failed)]);
        let message = slack.wait(before + 1).await.pop().unwrap();
        let text = text_of(&message);
        assert!(text.contains("This is the plain message") && text.contains("invalid_blocks"), "{text}");
        assert!(text.contains(&failed.task_name), "{text}");
        let delivery = butler.wait_delivery("delivered", "slack").await;
        assert_eq!(delivery["attempt"], 1, "{delivery}");
        assert!(butler.log().contains("alerts go out as plain messages"), "{}", butler.log());
        butler.stop().await;
    }
    let butler = Butler::start(&webhook(&slack, "")).await;
    slack.next([Trouble::page(413, "Too large")]);
    butler.send(&[failure(&fields())]);
    assert!(text_of(&slack.wait(3).await[2]).contains("Slack answered 413"));
}

#[tokio::test]
async fn a_template_of_its_own_with_texts_of_any_size_is_taken() {
    let slack = Slack::start().await;
    let folder = std::sync::Arc::new(tempfile::TempDir::new().unwrap());
    let template = r#"{ "blocks": [
        { "type": "header", "text": { "type": "plain_text", "text": "{{taskName}} {{taskName}} {{taskName}}" } },
        { "type": "section", "fields": [ {{#each links.buttons}}{ "type": "mrkdwn", "text": "{{url}}" },{{/each}}
            { "type": "mrkdwn", "text": "{{appUrl}}" }, { "type": "mrkdwn", "text": "{{logMessage}} {{logMessage}}" } ] },
        { "type": "actions", "elements": [
            { "type": "button", "text": { "type": "plain_text", "text": "{{logMessage}}" }, "url": "https://a.test/{{taskId}}?b&c" },
            { "type": "button", "text": { "type": "plain_text", "text": "App" }, "url": "{{appUrl}}" } ] }
    ] }"#;
    std::fs::write(folder.path().join("mine.json"), template).unwrap();
    let config = webhook(&slack, ", templateFile: mine.json");
    let butler = Butler::start_in(folder, &config, &[]).await;
    let mut failed = fields();
    failed.task_name = format!("R&D <\"x\"> \\ `{}", "n".repeat(300));
    failed.message = Some("<!channel> & ".repeat(38));
    butler.send(&[failure(&failed)]);
    let message = slack.wait(1).await[0].clone();
    let text = text_of(&message);
    assert!(!text.contains("plain message") && !text.contains("<!channel>"), "{text}");
    assert!(text.contains("R&amp;D &lt;\\\"x\\\"&gt; \\\\"), "{text}");
    assert_eq!(message.body["blocks"][2]["elements"].as_array().unwrap().len(), 1, "no button without address: {text}");
}

#[tokio::test]
async fn a_posted_message_for_a_channel_that_there_is_not_arrives_in_that_of_the_settings() {
    let slack = Slack::start().await;
    let config = token(&slack, "").replace("*-task.*", "message.posted");
    let butler = Butler::start(&config).await;
    let text = "Stock <loaded>\n".repeat(4000);
    for (channel, count) in [("#etl", 1), ("#nosuch", 2)] {
        let message = json!({ "text": text, "channel": channel, "from": "R&D <ETL>" });
        let (status, posted) = butler.post("/v5/messages", &message).await;
        assert_eq!((status, &posted["deliveries"]), (202, &json!(1)), "{posted}");
        slack.wait(count).await;
    }
    let [whole, plain] = slack.messages().try_into().unwrap();
    assert_eq!((whole.channel.as_str(), &whole.body["username"]), ("etl", &json!("R&D <ETL>")));
    assert!(whole.body["blocks"].as_array().unwrap().len() > 2, "several sections: {}", text_of(&whole));
    assert!(plain.channel == "ops" && text_of(&plain).contains("channel_not_found"), "{}", text_of(&plain));
    butler.wait_delivery("delivered", "slack").await;
}

#[tokio::test]
async fn load_scripts_post_texts() {
    let slack = Slack::start().await;
    let output = run(&["token", "new", "--name", "script", "--scopes", "messages"]);
    let (_, entry) = output.stdout.split_once("tokens:\n").expect("an entry for the config");
    let secret = output.stdout.split("Bearer ").nth(1).and_then(|rest| rest.split('`').next()).expect("a token");
    let second = format!("  - use: slack\n    name: second\n    settings: {{ webhookUrl: {} }}\n", slack.webhook());
    let rest = format!("rest:\n  listen: 127.0.0.1:0\n  tokens:\n{entry}\n");
    let butler = Butler::start(&(rest + &token(&slack, "") + &second)).await;
    wait_for("the instances to run", || async {
        let (_, answer) = butler.get("/v5/plugins").await;
        let instances = answer["plugins"].as_array()?;
        instances.iter().all(|instance| instance["condition"]["state"] == "running").then_some(())
    })
    .await;
    let body = json!({ "channel": "#etl", "from_user": "Load script", "msg": "Stage <2> done", "emoji": "tada" });
    assert_eq!(put(&butler, None, &body).await.0, 401);
    assert_eq!(put(&butler, Some("wrong"), &body).await.0, 401);
    assert!(slack.messages().is_empty());

    assert_eq!(put(&butler, Some(secret), &body).await, (201, body.clone()));
    let message = slack.wait(1).await[0].clone();
    assert_eq!(message.channel, "etl", "the first instance serves it, with its token");
    assert_eq!(
        message.body,
        json!({ "username": "Load script", "channel": "#etl", "icon_emoji": "tada",
                "blocks": [{ "type": "section", "text": { "type": "plain_text", "text": "Stage <2> done" } }] })
    );
    let unknown = json!({ "channel": "#nowhere", "from_user": "u", "msg": "m" });
    let (status, answer) = put(&butler, Some(secret), &unknown).await;
    assert!(status == 502 && answer["message"].as_str().unwrap().contains("channel_not_found"), "{status} {answer}");
    let (status, answer) = put(&butler, Some(secret), &json!({ "channel": "#etl", "msg": "m" })).await;
    assert!(status == 400 && answer["message"].as_str().unwrap().contains("from_user"), "{status} {answer}");
    drop(slack);
    let (status, answer) = put(&butler, Some(secret), &body).await;
    assert!(status == 502 && answer["message"].as_str().unwrap().contains("was not posted"), "{status} {answer}");
}

#[tokio::test]
async fn check_asks_slack_without_a_message() {
    let slack = Slack::start().await;
    let folder = tempfile::TempDir::new().unwrap();
    let config = format!(
        "{}  - use: slack\n    name: hook\n    settings: {{ webhookUrl: {} }}\n",
        token(&slack, ""),
        slack.webhook()
    );
    let path = Butler::prepare(&folder, &config);
    let check = async |path: &std::path::Path| {
        let path = path.to_str().unwrap().to_owned();
        tokio::task::spawn_blocking(move || run(&["check", "-c", &path])).await.unwrap()
    };
    let output = check(&path).await;
    assert_eq!(output.code, 0, "{output:?}");
    assert!(output.stdout.contains("`butler` in the workspace `Acme`"), "{output:?}");
    assert!(output.stdout.contains("Slack knows the webhook; no message was posted"), "{output:?}");
    assert!(slack.messages().is_empty());
    slack.set_webhook(false);
    slack.set_token("xoxb-rotated");
    let output = check(&path).await;
    assert_eq!(output.code, 1, "{output:?}");
    assert!(output.stdout.contains("invalid_auth") && output.stdout.contains("no_service"), "{output:?}");
}
