//! Programs of the system: run without a shell, for a limited time, with a limited output.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;

/// Most bytes of each of its outputs; the rest is thrown away.
const LONGEST: u64 = 4 << 20;

/// Flag of `CreateProcess` (winbase.h).
#[cfg(windows)]
const CREATE_NO_WINDOW: u32 = 0x0800_0000;

/// What a program said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    /// Its exit code; absent: a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

/// Why a program said nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProgramError {
    /// It cannot be started.
    #[error("`{program}` cannot be started: {error}")]
    Start { program: String, error: std::io::Error },
    /// It ran for too long, and was ended.
    #[error("`{program}` gave no answer within {limit:?}")]
    Timeout { program: String, limit: Duration },
}

/// The program of a setting: a path starts at the folder of the config, a mere name is looked for in the search path.
pub(crate) fn named(config_dir: &str, program: &str) -> String {
    if program.contains(['/', '\\']) {
        return Path::new(config_dir).join(program).to_string_lossy().into_owned();
    }
    program.to_owned()
}

/// Runs a program to its end. It is killed when `limit` is over, and when the future is dropped.
pub(crate) async fn run<A: AsRef<OsStr>>(
    program: &str,
    arguments: &[A],
    limit: Duration,
) -> Result<Said, ProgramError> {
    let start = |error| ProgramError::Start { program: program.to_owned(), error };
    let mut command = Command::new(program);
    // Texts in English, whatever this machine's language.
    command.args(arguments).env("LC_ALL", "C").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    // No window for it, where Butler has none.
    #[cfg(windows)]
    command.creation_flags(CREATE_NO_WINDOW);
    let mut child = command.spawn().map_err(start)?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let work = async {
        let (stdout, stderr) = futures_util::join!(read(stdout), read(stderr));
        let status = child.wait().await.map_err(start)?;
        Ok(Said { code: status.code(), stdout, stderr })
    };
    tokio::time::timeout(limit, work)
        .await
        .unwrap_or_else(|_| Err(ProgramError::Timeout { program: program.to_owned(), limit }))
}

/// Reads to the end and keeps the beginning.
async fn read(output: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut kept = Vec::new();
    if let Some(mut output) = output {
        // What was read counts, also of an output that breaks off.
        let _ = (&mut output).take(LONGEST).read_to_end(&mut kept).await;
        let _ = tokio::io::copy(&mut output, &mut tokio::io::sink()).await;
    }
    kept
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn block_on<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    #[test]
    fn what_it_said_and_how_it_ended_is_known() {
        let said = block_on(run("/bin/sh", &["-c", "echo a; echo b >&2; exit 36"], Duration::from_secs(20))).unwrap();
        assert_eq!(said, Said { code: Some(36), stdout: b"a\n".to_vec(), stderr: b"b\n".to_vec() });
        let said = block_on(run("/bin/sh", &["-c", "kill -9 $$"], Duration::from_secs(20))).unwrap();
        assert_eq!(said.code, None);
    }

    #[test]
    fn arguments_go_through_no_shell() {
        let odd = "$(id) `id` ; & | \" \u{27} MSSQL$INSTANCE";
        let said = block_on(run("/bin/echo", &[odd], Duration::from_secs(20))).unwrap();
        assert_eq!(String::from_utf8(said.stdout).unwrap(), format!("{odd}\n"));
    }

    #[test]
    fn one_that_hangs_is_ended_and_gone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let script = format!("echo $$ > {}; exec sleep 600", file.display());
        let begun = Instant::now();
        let error = block_on(run("/bin/sh", &["-c", &script], Duration::from_millis(1500))).unwrap_err();
        assert_eq!(error.to_string(), "`/bin/sh` gave no answer within 1.5s");
        assert!(begun.elapsed() < Duration::from_secs(15));
        let process = format!("/proc/{}/stat", std::fs::read_to_string(file).unwrap().trim());
        let until = Instant::now() + Duration::from_secs(10);
        // A zombie is as good as gone: whoever has started it has not yet asked for its end.
        while std::fs::read_to_string(&process).is_ok_and(|stat| !stat.contains(") Z ")) {
            assert!(Instant::now() < until, "it runs still");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn too_much_output_is_cut_and_read_to_its_end() {
        let script = "head -c 9000000 /dev/zero; echo done >&2";
        let said = block_on(run("/bin/sh", &["-c", script], Duration::from_mins(1))).unwrap();
        assert_eq!((said.stdout.len(), said.stderr.as_slice()), (4 << 20, b"done\n".as_slice()));
    }

    #[test]
    fn one_that_is_not_there_is_named() {
        let error = block_on(run::<&str>("/nowhere/sc", &[], Duration::from_secs(5))).unwrap_err();
        assert!(error.to_string().starts_with("`/nowhere/sc` cannot be started: "), "{error}");
    }

    #[test]
    fn paths_start_at_the_folder_of_the_config() {
        assert_eq!(named("/etc/butler", "systemctl"), "systemctl");
        assert_eq!(named("/etc/butler", "tools/sc"), "/etc/butler/tools/sc");
        assert_eq!(named("/etc/butler", "/bin/sc"), "/bin/sc");
    }
}
