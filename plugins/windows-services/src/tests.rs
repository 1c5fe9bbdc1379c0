//! The plugin against a fake host. `looks`, `hosts`: with answers from a script (`fixture`); `whole`: with programs in place of `sc` and `systemctl`.

pub(crate) mod fixture;
mod hosts;
mod looks;
#[cfg(unix)]
mod whole;

use std::path::Path;

use crate::backend::{Asked, Backend, Failure};
use crate::watch::Answer;

/// What a program of the system printed: a file of `tests/printed`.
pub(crate) fn printed(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tests/printed");
    std::fs::read(format!("{folder}/{name}.bin")).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Writes a program for `/bin/sh`; its path.
pub(crate) fn script(folder: &Path, name: &str, body: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    path.to_str().unwrap().to_owned()
}

/// A look by itself.
pub(crate) trait Once: Backend {
    async fn once(&self, host: &str, services: &[String]) -> Result<Vec<Answer>, Failure> {
        self.look(host, services, &Asked::now()).await
    }
}

impl<B: Backend> Once for B {}

/// With timers and processes.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
