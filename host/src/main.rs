//! The executable: reads the command line, calls the library, prints, exits.

use std::process::ExitCode;

fn main() -> ExitCode {
    match butler::cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            butler::observe::say(&failure);
            ExitCode::from(u8::try_from(failure.exit_code()).unwrap_or(1))
        }
    }
}
