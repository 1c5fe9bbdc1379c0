//! Posts alerts to Slack.
