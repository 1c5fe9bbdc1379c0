//! Facts of an app reload in Qlik Cloud. App, owner, times and script log are where those of tasks are.

use super::section::section;

section! {
    /// An app reload in Qlik Cloud: the webhook's event, and what the tenant's API says of reload and app.
    CloudReload {
        /// Id of the tenant.
        tenant_id: String,
        /// What the config says of the tenant.
        tenant_comment: String,
        /// Address of the tenant.
        tenant_url: String,
        /// Address of the tenant's management console, if the config names it.
        qmc_url: String,
        /// Address of the tenant's hub, if the config names it.
        hub_url: String,
        /// Address of the app in the tenant.
        app_url: String,
        /// Whether the app has section access.
        app_has_section_access: bool,
        /// Address of the app's thumbnail.
        app_thumbnail: String,
        /// Address of the owner's picture.
        owner_picture: String,
        /// Name of the user who started the reload; `user` is their id.
        user_name: String,
        /// Id of the reload.
        reload_id: String,
        /// What started it: `hub`, `chronos`, `external`, `automations`, `data-refresh`.
        reload_trigger: String,
        /// Source of the webhook's event: `com.qlik/engine`.
        source: String,
        /// Its type: `com.qlik.v1.app.reload.finished`.
        event_type: String,
        /// Version of that type.
        event_type_version: String,
        /// How the reload ended, as the event says it: `error`. The tenant's API says it in `execution.statusText`.
        status: String,
        /// Duration by the event, in milliseconds. By the tenant's API it is in `execution.durationMs`.
        duration_ms: u64,
        /// Error code: `EngineReloadScriptError`.
        error_code: String,
        /// Error text.
        error_message: String,
        /// Short log of the reload.
        log: String,
        /// Error objects of the event, as texts.
        errors: Vec<String>,
        /// Warning objects of the event, as texts.
        warnings: Vec<String>,
        /// The memory limit ended it.
        ended_with_memory_constraint: bool,
        /// The app queries its source directly.
        is_direct_query_mode: bool,
        /// It was a partial reload.
        is_partial_reload: bool,
        /// It was a session app.
        is_session_app: bool,
        /// The result was not stored.
        is_skip_store: bool,
        /// Largest memory of the reload, in bytes.
        peak_memory_bytes: u64,
        /// Memory of the app, in bytes.
        size_memory_bytes: u64,
        /// Most rows; -1: no limit.
        row_limit: i64,
        /// Script statements of the event, as texts.
        statements: Vec<String>,
        /// Usage class of the app: `ANALYTICS`.
        usage: String,
    }
}
