//! Commands that stand in READMEs are given to the command line.

use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};

use super::Cli;

/// All READMEs but those of others: copies of the API, and what is built.
fn readmes(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && !name.starts_with('.') && !matches!(name, "target" | "frozen-api") {
            found.extend(readmes(&path));
        } else if name == "README.md" {
            found.push(path);
        }
    }
    found
}

/// Commands within sentences, and those in lines of their own, which somebody types as they are.
fn commands(text: &str) -> (Vec<String>, Vec<String>) {
    let (mut prose, mut lines) = (String::new(), Vec::new());
    let mut inside = false;
    for line in text.lines() {
        let trimmed = line.trim_start();
        if trimmed.starts_with("```") {
            inside = !inside;
        } else if inside || line.starts_with("    ") {
            let typed = trimmed.trim_start_matches("$ ");
            lines.extend(typed.starts_with("butler ").then(|| typed.to_owned()));
        } else {
            prose.push_str(line);
            // An odd mark must not turn what is behind it inside out.
            prose.push_str(if line.is_empty() || line.starts_with('|') { "\n" } else { " " });
        }
    }
    let marked = prose.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    (marked.filter(|it| it.starts_with("butler ")).map(str::to_owned).collect(), lines)
}

/// The words of a command, up to a comment or what the shell does with it.
fn words(command: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for letter in command.chars() {
        match (quote, letter) {
            (Some(open), _) if open == letter => quote = None,
            (None, '"' | '\'') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, '#' | '>' | '|' | '&') if word.is_none() => return words,
            (None, ' ') => words.extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

/// Whether these words name a command, or a group of them, and nothing else.
fn names_only(words: &[String]) -> bool {
    let mut command = &Cli::command();
    words[1..].iter().all(|word| {
        command.find_subcommand(word).is_some_and(|found| {
            command = found;
            true
        })
    })
}

#[test]
fn commands_in_readmes_are_those_of_the_command_line() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let (mut tried, mut wrong) = (0, Vec::new());
    for path in readmes(workspace) {
        let (marked, lines) = commands(&std::fs::read_to_string(&path).unwrap());
        // In a sentence the name is enough.
        let marked = marked.iter().map(|it| words(it)).filter(|words| !names_only(words));
        for words in marked.chain(lines.iter().map(|it| words(it))) {
            tried += 1;
            // What stands for a name, or a folder of somebody, is none.
            let is_fault = |kind| !matches!(kind, ErrorKind::DisplayHelp | ErrorKind::ValueValidation);
            if let Some(error) = Cli::try_parse_from(&words).err().filter(|error| is_fault(error.kind())) {
                wrong.push(format!("{}: {}: {error}", path.display(), words.join(" ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(tried >= 40, "only {tried} commands were found");
}
