//! What the system knows of this process: what plugins leak shows here, and only here.

/// Memory and threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessUsage {
    /// Memory in use, in bytes.
    pub resident_bytes: u64,
    /// Threads.
    pub threads: u64,
}

/// Of this process; `None` where the system does not tell it in a file.
pub fn process_usage() -> Option<ProcessUsage> {
    parse(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn parse(status: &str) -> Option<ProcessUsage> {
    let field = |name: &str| -> Option<u64> {
        status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
    };
    Some(ProcessUsage { resident_bytes: field("VmRSS:")? * 1024, threads: field("Threads:")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_read_from_the_systems_text() {
        let status = "Name:\tbutler\nVmHWM:\t  9 kB\nVmRSS:\t   18000 kB\nThreads:\t7\n";
        assert_eq!(parse(status), Some(ProcessUsage { resident_bytes: 18_432_000, threads: 7 }));
        assert_eq!(parse(""), None);
    }
}
