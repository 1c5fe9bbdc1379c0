//! What Slack's error codes mean, and what helps.
//!
//! Sources: the error lists of `chat.postMessage` and `auth.test`, and the error responses of incoming webhooks, in Slack's
//! documentation. Slack adds codes now and then: an unknown one is tried again.

/// What is to be done about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// The message itself is refused: another form of it may be taken.
    Content,
    /// The message, or a setting that goes into it (icon, name).
    Unclear,
    /// The thread cannot be answered in.
    Thread,
    /// The channel cannot be posted in. Another one may do; the text says what helps.
    Channel(&'static str),
    /// Slack is busy or in trouble.
    Busy,
    /// Somebody must change something; the text says what.
    Settings(&'static str),
    /// Not known here.
    Unknown,
}

const TOKEN: &str = "put a valid bot token (Slack app, OAuth & Permissions) into `token`";
const RESTRICTED: &str =
    "an administrator of the Slack workspace has restricted who may post there: ask for an exception";
const CHANNEL: &str =
    "check `channel`: the name, or better the id (C…); a private channel must have the app as its member";
const ARCHIVED: &str = "the channel is archived: unarchive it, or name another one in `channel`";
const WEBHOOK: &str =
    "the webhook is gone or switched off: make a new one in the Slack app and put it into `webhookUrl`";

/// The class of an error code.
pub(crate) fn class(code: &str) -> Class {
    match code {
        "invalid_blocks"
        | "invalid_blocks_format"
        | "invalid_attachments"
        | "invalid_payload"
        | "invalid_metadata_format"
        | "invalid_metadata_schema"
        | "metadata_too_large"
        | "metadata_must_be_sent_from_app"
        | "msg_too_long"
        | "msg_blocks_too_long"
        | "too_many_attachments"
        | "attachment_payload_limit_exceeded"
        | "too_many_contact_cards"
        | "markdown_text_conflict"
        | "no_text"
        | "missing_text_or_fallback_or_attachments"
        | "invalid_json"
        | "json_not_object" => Class::Content,
        "invalid_arguments" | "invalid_arg_name" => Class::Unclear,
        "thread_not_found"
        | "message_not_found"
        | "cannot_reply_to_message"
        | "restricted_action_non_threadable_channel"
        | "restricted_action_thread_locked" => Class::Thread,
        "ratelimited"
        | "rate_limited"
        | "message_limit_exceeded"
        | "internal_error"
        | "fatal_error"
        | "service_unavailable"
        | "request_timeout"
        | "rollup_error"
        | "team_added_to_org" => Class::Busy,
        "invalid_auth"
        | "not_authed"
        | "account_inactive"
        | "token_revoked"
        | "token_expired"
        | "no_permission"
        | "org_login_required"
        | "not_allowed_token_type"
        | "two_factor_setup_required" => Class::Settings(TOKEN),
        "missing_scope" => Class::Settings("give the Slack app the missing scope and install it again"),
        "channel_not_found" | "duplicate_channel_not_found" | "user_not_found" => Class::Channel(CHANNEL),
        "not_in_channel" => {
            Class::Channel("invite the app into the channel (`/invite @app`), or give it the scope chat:write.public")
        }
        "is_archived" | "channel_is_archived" => Class::Channel(ARCHIVED),
        "restricted_action"
        | "restricted_action_read_only_channel"
        | "restricted_action_thread_only_channel"
        | "action_prohibited"
        | "posting_to_general_channel_denied"
        | "access_denied"
        | "accesslimited"
        | "ekm_access_denied"
        | "team_access_not_granted"
        | "enterprise_is_restricted"
        | "as_user_not_supported"
        | "messages_tab_disabled" => Class::Settings(RESTRICTED),
        "no_service" | "no_service_id" | "no_active_hooks" | "no_team" | "team_disabled" | "invalid_token" => {
            Class::Settings(WEBHOOK)
        }
        _ => Class::Unknown,
    }
}
