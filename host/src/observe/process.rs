//! What the system knows of this process: what plugins leak shows here, and only here.
//!
//! Linux tells in `/proc`, other Unixes nothing of memory. Butler has no heap of its own to count: what stands for it are the
//! parts of the process that the system counts, see [`Memory`].

use butler_plugin_api::Memory;

/// Memory, processor time and threads.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProcessUsage {
    /// Memory; absent where the system does not tell it.
    pub memory: Option<Memory>,
    /// Time on processors since the start, of all threads and in the kernel too, in milliseconds.
    pub cpu_ms: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
}

/// Of this process, as far as the system tells it.
#[cfg(unix)]
pub fn process_usage() -> ProcessUsage {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    ProcessUsage { memory: memory(&status), cpu_ms: cpu_ms(), threads: field(&status, "Threads:") }
}

#[cfg(unix)]
fn cpu_ms() -> Option<u64> {
    use nix::sys::resource::{UsageWho, getrusage};
    use nix::sys::time::TimeValLike as _;
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    u64::try_from(usage.user_time().num_milliseconds() + usage.system_time().num_milliseconds()).ok()
}

/// From the text of `/proc/self/status` (proc_pid_status(5)), where sizes are in KiB.
#[cfg_attr(not(unix), cfg(test))]
fn memory(status: &str) -> Option<Memory> {
    let bytes = |name: &str| field(status, name).map(|kilobytes| kilobytes.saturating_mul(1024));
    let process = bytes("VmRSS:")?;
    // Files and memory that is shared with other processes.
    let external = bytes("RssFile:").zip(bytes("RssShmem:")).map(|(files, shared)| files.saturating_add(shared));
    Some(Memory {
        process_bytes: Some(process),
        heap_used_bytes: bytes("RssAnon:"),
        heap_total_bytes: bytes("VmData:"),
        external_bytes: external,
    })
}

#[cfg_attr(not(unix), cfg(test))]
fn field(status: &str, name: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// Of this process. Windows has counted threads only for all processes together, so they are not looked for.
#[cfg(windows)]
pub fn process_usage() -> ProcessUsage {
    use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System};
    let Ok(pid) = sysinfo::get_current_pid() else { return ProcessUsage::default() };
    let mut system = System::new();
    let wanted = ProcessRefreshKind::nothing().with_memory().with_cpu();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, wanted);
    let Some(process) = system.process(pid) else { return ProcessUsage::default() };
    // Working set, and what is committed for this process alone.
    let (working, private) = (process.memory(), process.virtual_memory());
    ProcessUsage {
        memory: Some(Memory {
            process_bytes: Some(working),
            heap_used_bytes: Some(private.min(working)),
            heap_total_bytes: Some(private),
            external_bytes: Some(working.saturating_sub(private)),
        }),
        cpu_ms: Some(process.accumulated_cpu_time()),
        threads: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_the_systems_text() {
        let status = "Name:\tbutler\nVmHWM:\t  9 kB\nVmRSS:\t   18000 kB\nRssAnon:\t   12000 kB\nRssFile:\t    5900 kB\n\
                      RssShmem:\t     100 kB\nVmData:\t   64000 kB\nThreads:\t7\n";
        let expected = Memory {
            process_bytes: Some(18_432_000),
            heap_used_bytes: Some(12_288_000),
            heap_total_bytes: Some(65_536_000),
            external_bytes: Some(6_144_000),
        };
        assert_eq!((memory(status), field(status, "Threads:")), (Some(expected), Some(7)));
        assert_eq!((memory(""), memory("VmRSS:\tmuch kB\n")), (None, None));
        // Kernels before 4.5 do not tell the parts.
        let plain = memory("VmRSS:\t1 kB\n").unwrap();
        assert_eq!(plain, Memory { process_bytes: Some(1024), ..Memory::default() });
    }

    #[cfg(any(target_os = "linux", windows))]
    #[test]
    fn this_process_is_told_of() {
        let before = process_usage();
        let memory = before.memory.clone().unwrap();
        let [process, used, total, external] =
            [memory.process_bytes, memory.heap_used_bytes, memory.heap_total_bytes, memory.external_bytes]
                .map(Option::unwrap);
        assert!(process > 1 << 20 && used > 0 && used <= total, "{before:?}");
        if cfg!(target_os = "linux") {
            // The parts are counted one after the other.
            assert!(process.abs_diff(used + external) < 4 << 20, "{before:?}");
        }

        // Memory that is used is told of, and so is work.
        let held = vec![7_u8; 32 << 20];
        let begun = std::time::Instant::now();
        let mut sum = 0_u64;
        while process_usage().cpu_ms.unwrap() < before.cpu_ms.unwrap() + 50 {
            sum = held.iter().fold(sum, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
            assert!(begun.elapsed().as_secs() < 20, "time on processors does not grow ({sum})");
        }
        let after = process_usage().memory.unwrap();
        assert!(after.heap_used_bytes.unwrap() > used + (30 << 20), "{after:?} of {before:?}");
        assert!(after.process_bytes.unwrap() > process + (30 << 20), "{after:?} of {before:?}");
    }
}
