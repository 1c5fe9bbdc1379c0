//! Programs of the system: run without a shell, for a limited time, with a limited output.

use std::ffi::OsStr;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;

/// Most bytes of each of its outputs; the rest is thrown away.
const LONGEST: u64 = 4 << 20;

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
    #[error("`{program}` gave no answer within {} s", limit.as_secs())]
    Timeout { program: String, limit: Duration },
}

/// Runs a program to its end. It is killed when `limit` is over, and when the future is dropped.
pub(crate) async fn run<A: AsRef<OsStr>>(
    program: &str,
    arguments: &[A],
    limit: Duration,
) -> Result<Said, ProgramError> {
    let start = |error| ProgramError::Start { program: program.to_owned(), error };
    let mut command = Command::new(program);
    // What is read is the same everywhere.
    command
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
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
