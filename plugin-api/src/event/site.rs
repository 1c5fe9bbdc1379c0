//! Facts about a Qlik Sense site beyond its tasks: sessions, services, licences, version, certificates, nodes.

use std::collections::BTreeMap;

use super::section::section;

section! {
    /// A session of a user, or the session in which an app was reloaded outside the scheduler.
    Session {
        /// Session id, as the engine's log line has it.
        id: String,
        /// Where the request came from, as the proxy's audit log has it (property `Origin`).
        origin: String,
        /// The proxy's context of the request (property `Context`).
        context: String,
    }
}

section! {
    /// Who uses Qlik Sense, as its proxies tell by sessions and connections.
    ActiveUsers {
        /// How many users.
        count: u64,
        /// Who, `DIRECTORY\id`, sorted. The first 10,000.
        users: Vec<String>,
        /// How many users each proxy has, by the name of its node.
        nodes: BTreeMap<String, u64>,
    }
}

section! {
    /// A watched service of Windows (Service Control Manager) or of systemd, in the words of Windows.
    Service {
        /// Computer it runs on.
        host: String,
        /// Key name: `QlikSenseEngineService`.
        name: String,
        /// Name that Windows shows.
        display_name: String,
        /// Name that the config gives it.
        friendly_name: String,
        /// `Automatic`, `Automatic (delayed start)`, `Manual`, `Disabled`, and for drivers `Boot` or `System`.
        start_type: String,
        /// Command line of its program, arguments included.
        exe_path: String,
        /// Key names of the services that it needs.
        dependencies: Vec<String>,
        /// `STOPPED`, `START_PENDING`, `STOP_PENDING`, `RUNNING`, `CONTINUE_PENDING`, `PAUSE_PENDING` or `PAUSED`.
        state: String,
        /// The state that was seen before, for a change.
        previous_state: String,
        /// With which code it ended last (Windows: `WIN32_EXIT_CODE`, 0 while it runs; systemd: `ExecMainStatus`).
        exit_code: i64,
        /// Its own code, if `exit_code` is 1066 (Windows: `SERVICE_EXIT_CODE`).
        service_exit_code: i64,
    }
}

section! {
    /// The licence of the Qlik Sense server (QRS `license`).
    ServerLicense {
        /// Whether QRS says that it has expired.
        expired: bool,
        /// Day after which it is no longer valid, `YYYY-MM-DD` (line `Valid To` of QRS's `keyDetails`).
        expiry_date: String,
        /// Days until then, rounded up; negative afterwards.
        days_until_expiry: i64,
    }
}

section! {
    /// Use of the access licences (QRS `license/accesstypeoverview`). Kinds that the site does not use are absent.
    AccessLicenses {
        /// Analyzer access.
        analyzer: AccessUse,
        /// Analyzer capacity.
        analyzer_capacity: CapacityUse,
        /// Professional access.
        professional: AccessUse,
        /// Login access by tokens.
        token_login: LoginTokens,
        /// User access by tokens.
        token_user: UserTokens,
        /// The tokens of the site.
        tokens: Tokens,
    }
}

section! {
    /// Use of professional or analyzer access, in licences.
    AccessUse {
        /// Assigned to users.
        allocated: i64,
        /// Free.
        available: i64,
        /// Assigned beyond what the licence allows.
        excess: i64,
        /// Taken away and not yet free again.
        quarantined: i64,
        /// All.
        total: i64,
        /// Assigned and used.
        used: i64,
    }
}

section! {
    /// Use of analyzer capacity, in minutes.
    CapacityUse {
        /// Allocated.
        allocated_minutes: i64,
        /// Not available.
        unavailable_minutes: i64,
        /// Used up.
        used_minutes: i64,
    }
}

section! {
    /// Use of tokens by login access.
    LoginTokens {
        /// Tokens allocated.
        allocated_tokens: f64,
        /// Tokens that one access costs.
        token_cost: f64,
        /// Tokens that are not available.
        unavailable_tokens: f64,
        /// Tokens in use.
        used_tokens: f64,
    }
}

section! {
    /// Use of tokens by user access.
    UserTokens {
        /// Tokens allocated.
        allocated_tokens: f64,
        /// Tokens in quarantine.
        quarantined_tokens: f64,
        /// Tokens that one access costs.
        token_cost: f64,
        /// Tokens in use.
        used_tokens: f64,
    }
}

section! {
    /// The tokens of a site.
    Tokens {
        /// Free.
        available: f64,
        /// All.
        total: f64,
    }
}

section! {
    /// A run that takes back access licences which nobody uses.
    LicenseRelease {
        /// Nothing was released: the config asks for a dry run.
        dry_run: bool,
        /// What was released, or would be.
        released: Vec<ReleasedLicense>,
        /// What was not used for long enough and was kept all the same, with the reason. The first 1,000.
        kept: Vec<KeptLicense>,
        /// How many were kept, by reason.
        kept_by_reason: BTreeMap<String, u64>,
    }
}

section! {
    /// An access licence that was taken back, or would be.
    ReleasedLicense {
        /// Id of the access in QRS, GUID.
        id: String,
        /// `professional` or `analyzer`.
        #[serde(rename = "type")]
        license_type: String,
        /// Whose it was, `DIRECTORY\id`.
        user: String,
        /// When it was used last, ISO 8601; absent: never.
        last_used: String,
        /// Full days since then.
        days_since_last_use: i64,
    }
}

section! {
    /// An access licence that nobody uses and that was kept.
    KeptLicense {
        /// Id of the access in QRS, GUID.
        id: String,
        /// `professional` or `analyzer`.
        #[serde(rename = "type")]
        license_type: String,
        /// Whose it is, `DIRECTORY\id`.
        user: String,
        /// Why it was kept, one of a few words: `tag`, `user`, `cap`.
        reason: String,
        /// More about it, for people.
        detail: String,
    }
}

section! {
    /// The version of Qlik Sense (`/v1/systeminfo` on port 9032), as it says it.
    QlikVersion {
        /// Version number: `14.187.4`.
        version: String,
        /// Name of the release: `May 2024`.
        release_label: String,
        /// Name of the product.
        product_name: String,
        /// Kind of installation: `QlikSenseServer`.
        deployment_type: String,
        /// Product and version in one.
        sense_id: String,
        /// Hash of the content.
        content_hash: String,
        /// Version by an older scheme.
        deprecated_product_version: String,
        /// Years of the copyright.
        copyright_year_range: String,
    }
}

section! {
    /// A certificate that Butler uses.
    Certificate {
        /// Its file.
        file: String,
        /// Whom it names (X.509 subject).
        subject: String,
        /// When it ends to be valid, RFC 3339 in UTC.
        expiry_date: String,
        /// Days until then, rounded up; negative afterwards.
        days_until_expiry: i64,
    }
}

section! {
    /// The silence of a node; `node` of the event says of which.
    Silence {
        /// When it was heard from last, RFC 3339 in UTC; absent: not since Butler started.
        last_heard_at: String,
        /// For how long it has been silent, in seconds.
        seconds: u64,
    }
}

section! {
    /// A start of a task by Butler; `task` of the event says of which, `message` why it failed.
    TaskStart {
        /// How it was chosen: `taskId`, `tag` or `customProperty`.
        selected_by: String,
        /// The tag, or name and value of the custom property as `name=value`.
        selector: String,
        /// Name of the token or grant of the REST caller, or `instance:<name>`.
        caller: String,
    }
}
