//! Facts about Butler itself.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::section::section;

section! {
    /// The Butler that tells.
    Butler {
        /// Its version.
        version: String,
        /// For how long it has been running, in milliseconds.
        uptime_ms: u64,
        /// For `butler.uptime`: the time between two such events, in milliseconds.
        interval_ms: u64,
        /// Its memory.
        memory: Memory,
        /// Time on processors since the start, of all threads, in milliseconds.
        cpu_ms: u64,
        /// The same in the interval, in percent of one processor.
        cpu_percent: f64,
        /// Events that wait for their facts.
        events_waiting: u64,
        /// Deliveries that wait or are under way.
        deliveries_open: u64,
        /// Dead deliveries that are still kept.
        deliveries_dead: u64,
    }
}

section! {
    /// Memory of the process, in bytes. Butler 16 told of the heap of its JavaScript engine, which Butler does not have: the
    /// parts of the process stand for it that the system counts. Where it does not count one, that is absent.
    Memory {
        /// Resident: in the machine's memory now. Linux: `VmRSS`. Windows: the working set.
        process_bytes: u64,
        /// In place of the used heap: what of that is the process's own, the heap and the stacks. Linux: `RssAnon`. Windows:
        /// the private bytes, if they are fewer than the working set, else that.
        heap_used_bytes: u64,
        /// In place of the size of the heap: the memory of its own that it has had the system provide, used or not. Linux:
        /// `VmData`. Windows: the private bytes (commit).
        heap_total_bytes: u64,
        /// In place of memory outside the heap: what of the resident memory is of files (the program, the plugins' libraries,
        /// the store) or shared. Linux: `RssFile` and `RssShmem`. Windows: the working set without the private bytes.
        external_bytes: u64,
    }
}

/// Counters of the UDP ingestion, and the state of its buffer now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ingest {
    /// For how long the counters count, in milliseconds; absent: since Butler started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_ms: Option<u64>,
    /// Datagrams that passed the source check.
    #[serde(default)]
    pub received: u64,
    /// Datagrams put into the buffer.
    #[serde(default)]
    pub queued: u64,
    /// Their bytes.
    #[serde(default)]
    pub queued_bytes: u64,
    /// Messages parsed and stored.
    #[serde(default)]
    pub processed: u64,
    /// Messages whose event was known already.
    #[serde(default)]
    pub duplicates: u64,
    /// Errors of the system while receiving.
    #[serde(default)]
    pub receive_errors: u64,
    /// Datagrams dropped, by reason: `source`, `size`, `rate-limit`, `buffer-full`.
    #[serde(default)]
    pub dropped: BTreeMap<String, u64>,
    /// Messages that could not be parsed, by reason.
    #[serde(default)]
    pub rejected: BTreeMap<String, u64>,
    /// Datagrams that wait in the buffer.
    #[serde(default)]
    pub buffered: u64,
    /// Bytes of the buffer in use.
    #[serde(default)]
    pub buffered_bytes: u64,
    /// Bytes that the buffer can hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_bytes: Option<u64>,
    /// Messages that were taken from the buffer and are not stored yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<u64>,
    /// From receipt to store, in microseconds: the average of the last 1,000 messages; absent: there were none, or, where
    /// the counters count for an interval, none in that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processing_average_us: Option<u64>,
    /// Likewise, what 95 of 100 messages do not exceed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processing_p95_us: Option<u64>,
    /// Likewise, the longest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processing_max_us: Option<u64>,
    /// Messages of the current minute as `udp.maxPerMinute` counts them, of the socket that has most; absent without a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_minute: Option<u64>,
    /// Datagrams dropped by the kernel; absent where the system does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_drops: Option<u64>,
}

section! {
    /// The UDP socket.
    Udp {
        /// Address and port: `0.0.0.0:9998`.
        address: String,
        /// What the system said, when it failed.
        error: String,
    }
}

section! {
    /// Deliveries that ended dead.
    Dead {
        /// The instance that did not get them.
        instance: String,
        /// How many since the last event of this kind for the instance.
        count: u64,
        /// The last of them.
        last: LastDead,
    }
}

section! {
    /// A delivery that ended dead.
    LastDead {
        /// Kind of its event.
        kind: String,
        /// Name of the task, for task events.
        task: String,
        /// Why the last attempt failed.
        error: String,
    }
}

section! {
    /// A write by REST.
    Audit {
        /// Name of the token or grant of the caller.
        caller: String,
        /// IP address of the caller.
        address: String,
        /// HTTP method.
        method: String,
        /// Path of the request, without its query.
        path: String,
        /// HTTP status of the answer.
        status: u16,
    }
}

section! {
    /// A message that was posted by REST.
    Posted {
        /// The text.
        text: String,
        /// Channel, for a chat (`channel`).
        channel: String,
        /// Topic, for MQTT (`topic`).
        topic: String,
        /// Who it is said to be from, for a chat (`from_user`).
        from: String,
        /// Icon of the sender, for a chat (`emoji`).
        emoji: String,
    }
}
