//! What the system knows of a process, from `/proc`.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// CPU time and memory.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// Seconds of all threads since the start, in hundredths.
    pub cpu_seconds: f64,
    /// Memory in use, in MB.
    pub resident_mb: f64,
    /// The most that was in use, in MB.
    pub peak_mb: f64,
    /// Threads.
    pub threads: f64,
}

impl Usage {
    /// Of a running process.
    pub fn of(pid: u32) -> anyhow::Result<Self> {
        let status = read(&format!("/proc/{pid}/status"))?;
        let field = |name: &str| -> f64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.split_whitespace().find_map(|word| word.parse::<f64>().ok()).unwrap_or_default()
        };
        let stat = read(&format!("/proc/{pid}/stat"))?;
        // The name of the process, which may hold anything, ends with the last parenthesis.
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or_default();
        // Clock ticks are hundredths of a second on Linux.
        let cpu_seconds = (ticks(11) + ticks(12)) / 100.0;
        let (resident_mb, peak_mb) = (field("VmRSS:") / 1024.0, field("VmHWM:") / 1024.0);
        Ok(Self { cpu_seconds, resident_mb, peak_mb, threads: field("Threads:") })
    }

    /// The same as soon as it has stopped working: no CPU time for a while.
    pub async fn at_rest(pid: u32) -> anyhow::Result<Self> {
        let mut last = Self::of(pid)?;
        loop {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let now = Self::of(pid)?;
            if now.cpu_seconds - last.cpu_seconds < 0.005 {
                return Ok(now);
            }
            last = now;
        }
    }
}

/// How many files, sockets and pipes a process has open.
pub fn open_files(pid: u32) -> anyhow::Result<usize> {
    let folder = format!("/proc/{pid}/fd");
    Ok(std::fs::read_dir(&folder).with_context(|| format!("{folder} cannot be read"))?.count())
}

/// Size of a file in bytes; 0 where there is none.
pub fn file_size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// CPU seconds, to tell what others on the machine used meanwhile.
#[derive(Debug, Clone, Copy)]
pub struct Machine {
    /// Of all processes, and what the host of a virtual machine took.
    all: f64,
    /// Of this process and of its children that have ended.
    own: f64,
    at: Instant,
}

impl Machine {
    /// So far.
    pub fn now() -> anyhow::Result<Self> {
        let stat = read("/proc/stat")?;
        let times: Vec<f64> = stat.lines().next().unwrap_or_default().split_whitespace().skip(1).map(number).collect();
        // user, nice, system, idle, iowait, irq, softirq, steal
        let all: f64 = [0, 1, 2, 5, 6, 7].iter().filter_map(|at| times.get(*at)).sum();
        let own = read("/proc/self/stat")?;
        let own: Vec<f64> = own.rsplit(") ").next().unwrap_or_default().split(' ').map(number).collect();
        let own: f64 = own.iter().skip(11).take(4).sum();
        Ok(Self { all: all / 100.0, own: own / 100.0, at: Instant::now() })
    }

    /// How many cores others used since then.
    pub fn others_since(&self) -> anyhow::Result<f64> {
        let now = Self::now()?;
        let others = (now.all - self.all) - (now.own - self.own);
        Ok(others.max(0.0) / now.at.duration_since(self.at).as_secs_f64())
    }
}

fn number(text: &str) -> f64 {
    text.parse().unwrap_or_default()
}

fn read(path: &str) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("{path} cannot be read: has the daemon ended?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn of_this_process() {
        let usage = Usage::of(std::process::id()).unwrap();
        assert!(usage.resident_mb > 0.5 && usage.peak_mb >= usage.resident_mb, "{usage:?}");
        let (before, mut files) = (open_files(std::process::id()).unwrap(), Vec::new());
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || ended.recv());
        files.extend((0..50).map(|_| tempfile::tempfile().unwrap()));
        // Other tests have threads and files as well.
        assert!(open_files(std::process::id()).unwrap() >= before + 40);
        assert!((2.0..100.0).contains(&Usage::of(std::process::id()).unwrap().threads));
        drop(end);
        assert!(thread.join().unwrap().is_err());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn own_work_is_not_that_of_others() {
        let (before, began) = (Machine::now().unwrap(), Instant::now());
        while began.elapsed() < Duration::from_millis(500) {
            std::hint::black_box(Usage::of(std::process::id()).unwrap());
        }
        let now = Machine::now().unwrap();
        assert!(now.own - before.own > 0.1, "{before:?}, {now:?}");
        assert!(now.all - before.all >= now.own - before.own - 0.1, "{before:?}, {now:?}");
    }
}
