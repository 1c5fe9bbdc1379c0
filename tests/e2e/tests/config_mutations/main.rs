//! Hundreds of configs, each spoilt in one way by a generator: every one is refused by the executable with a message that names
//! the place, exit code 2 and in time; and what only looks spoilt (a byte order mark, other ends of lines, a megabyte of comments) is
//! taken as the config that it is.
//!
//! Every kind of fault and every variant that is written down comes whatever the seed, each kind by `check` and by `run`; the rest is
//! chance. `BUTLER_SEED` makes others.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod base;
mod mutations;
mod random;

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use e2e::{Output, run_with};
use tempfile::TempDir;

use base::Document;
use mutations::{Expected, KINDS, Mutant, Place};
use random::Random;

/// How often each kind comes.
const ROUNDS: usize = 18;
/// As many at once.
const WORKERS: usize = 4;
/// A start may take so long, in a debug build on a busy machine.
const TIME: Duration = Duration::from_secs(15);
/// No report is longer: it must not quote a megabyte.
const LONGEST: usize = 100_000;

fn seed() -> u64 {
    std::env::var("BUTLER_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(16)
}

/// What the executable says to a config. It is checked, or started, which must end the same way.
fn tried(folder: &Path, command: &str, text: &[u8]) -> (Output, Duration) {
    let path = folder.join("butler.yaml");
    std::fs::write(&path, text).unwrap();
    let began = Instant::now();
    let output = run_with(&[command, "-c", path.to_str().unwrap()], &[]);
    (output, began.elapsed())
}

/// What is wrong with how the executable took it.
fn judged(mutant: &Mutant, file: &str, output: &Output, took: Duration) -> Result<(), String> {
    let wrong =
        |what: String| -> Result<(), String> { Err(format!("{what}\n{output:?}").chars().take(3_000).collect()) };
    if took > TIME {
        return wrong(format!("it took {took:?}"));
    }
    if output.stderr.contains("panicked") || output.code < 0 {
        return wrong("it broke down".to_owned());
    }
    let Expected::Refused { place, says } = &mutant.expected else {
        // The base has a Qlik Sense and a destination that are not there.
        return if output.code == 1 && output.stdout.starts_with("ok      config") {
            Ok(())
        } else {
            wrong("what does no harm was not taken".to_owned())
        };
    };
    if output.code != 2 {
        return wrong(format!("exit code {}", output.code));
    }
    if output.stderr.len() > LONGEST || !output.stdout.is_empty() {
        return wrong("it says too much".to_owned());
    }
    let mut lines = output.stderr.lines();
    let first = lines.next().unwrap_or_default();
    if !(first.ends_with(&format!(" in {file}")) && first.contains(" error")) {
        return wrong("no report".to_owned());
    }
    let fits = |line: &&str| {
        let Some(rest) = line.strip_prefix(file).and_then(|rest| rest.strip_prefix(':')) else { return false };
        let number = rest.split(':').next().and_then(|number| number.parse::<usize>().ok());
        match place {
            Place::Line(line) => number == Some(*line),
            Place::From(line) => number.is_some_and(|number| number >= *line),
            Place::File => number.is_none(),
        }
    };
    // A fault may be said in several lines, of which the further ones are remedies.
    if !lines.filter(fits).any(|line| says.iter().all(|part| line.contains(part))) {
        return wrong(format!("no line of the report is about {place:?} and has {says:?}"));
    }
    Ok(())
}

#[test]
fn every_spoilt_config_is_refused_with_its_place_and_a_harmless_change_is_none() {
    let base = Document::new(&base::base());
    {
        let folder = TempDir::new().unwrap();
        let (output, _) = tried(folder.path(), "check", base.text.as_bytes());
        assert!(
            output.code == 1 && output.stdout.starts_with("ok      config"),
            "the base is no sound config: {output:?}"
        );
    }
    let seed = seed();
    let turn = |n: usize| n / KINDS.len();
    let count = ROUNDS * KINDS.len();
    let mutants: Vec<Mutant> =
        (0..count).map(|n| mutations::make(&base, n, &mut Random::new(seed, n, turn(n)))).collect();

    let next = AtomicUsize::new(0);
    let failures: Mutex<Vec<String>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some((n, mutant)) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|n| Some((n, mutants.get(n)?)))
                {
                    let folder = TempDir::new().unwrap();
                    // A daemon that takes its config would run on. No variant is tied to one of the commands, as it would be by even
                    // and odd turns.
                    let run = matches!(mutant.expected, Expected::Refused { .. }) && turn(n).count_ones() % 2 == 1;
                    let (output, took) = tried(folder.path(), if run { "run" } else { "check" }, &mutant.text);
                    let file = folder.path().join("butler.yaml").display().to_string();
                    if let Err(failure) = judged(mutant, &file, &output, took) {
                        failures.lock().unwrap().push(format!("{n} ({}, {}): {failure}", mutant.kind, mutant.what));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "seed {seed}, {} of {count}:\n{}", failures.len(), failures.join("\n\n"));
}
