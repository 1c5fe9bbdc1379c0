//! What `butler check` and `butler doctor` find: a verdict for each link of the chain, as lines or as JSON.

use std::fmt::Write as _;

use serde::Serialize;

use crate::config::Secrets;
use crate::daemon::Failure;

/// How a link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Verdict {
    /// As it should be.
    Ok,
    /// Worth knowing, or not to be seen from here; nothing is broken.
    Note,
    /// Broken, or open to everybody.
    Failed,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Failed => "failed",
        }
    }
}

/// What was found about one link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    link: String,
    verdict: Verdict,
    detail: String,
    /// What to do. Empty where there is nothing to do, or the detail says it.
    #[serde(skip_serializing_if = "String::is_empty")]
    remedy: String,
}

/// How findings are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Each at once, as a line.
    Lines,
    /// All at the end, as one object.
    Json,
}

/// All findings.
pub(super) struct Findings {
    form: Form,
    secrets: Secrets,
    all: Vec<Finding>,
}

impl Findings {
    /// None yet. Secrets of the config are kept out of all texts.
    pub(super) fn new(form: Form, secrets: Secrets) -> Self {
        Self { form, secrets, all: Vec::new() }
    }

    pub(super) fn ok(&mut self, link: &str, detail: &str) {
        self.add(Verdict::Ok, link, detail, "");
    }

    /// `remedy`: empty where there is nothing to do, or the detail says it.
    pub(super) fn note(&mut self, link: &str, detail: &str, remedy: &str) {
        self.add(Verdict::Note, link, detail, remedy);
    }

    /// `remedy`: empty where the detail says it.
    pub(super) fn failed(&mut self, link: &str, detail: &str, remedy: &str) {
        self.add(Verdict::Failed, link, detail, remedy);
    }

    pub(super) fn add(&mut self, verdict: Verdict, link: &str, detail: &str, remedy: &str) {
        let text = |text: &str| self.secrets.redact(text).into_owned();
        let finding = Finding { link: text(link), verdict, detail: text(detail), remedy: text(remedy) };
        if self.form == Form::Lines {
            println!("{}", finding.line());
        }
        self.all.push(finding);
    }

    /// The worst of all verdicts.
    pub(super) fn verdict(&self) -> Verdict {
        self.all.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Ok)
    }

    /// Prints what is not printed yet. An error if something failed.
    pub(super) fn finish(self) -> Result<(), Failure> {
        if self.form == Form::Json {
            println!("{:#}", serde_json::json!({ "verdict": self.verdict(), "findings": self.all }));
        }
        match self.all.iter().filter(|finding| finding.verdict == Verdict::Failed).count() {
            0 => Ok(()),
            1 => Err(Failure::Other(anyhow::anyhow!("1 check failed"))),
            count => Err(Failure::Other(anyhow::anyhow!("{count} checks failed"))),
        }
    }
}

impl Finding {
    fn line(&self) -> String {
        let Self { link, verdict, detail, remedy } = self;
        let mut line = format!("{:<7} {link:<28} {detail}", verdict.word());
        if !remedy.is_empty() {
            // Cannot fail: it is a text.
            let _ = write!(line, "\n{:37}{remedy}", "");
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_the_remedy_below_and_secrets_are_in_neither_form() {
        let mut findings = Findings::new(Form::Json, Secrets::new(["hunter2-hunter2".to_owned()]));
        assert_eq!(findings.verdict(), Verdict::Ok);
        findings.note("disk", "little room for hunter2-hunter2", "make room");
        assert_eq!(findings.verdict(), Verdict::Note);
        findings.ok("config", "butler.yaml");
        findings.failed("qlik", "no answer", "");
        assert_eq!(findings.verdict(), Verdict::Failed);
        let lines: Vec<String> = findings.all.iter().map(Finding::line).collect();
        let note = "note    disk                         little room for [redacted]\n                                     make room";
        assert_eq!(lines[0], note);
        assert_eq!(lines[1], "ok      config                       butler.yaml");
        let json = serde_json::to_value(&findings.all).unwrap();
        let note = serde_json::json!({ "link": "disk", "verdict": "note", "detail": "little room for [redacted]", "remedy": "make room" });
        assert_eq!((&json[0], &json[2]["remedy"]), (&note, &serde_json::Value::Null));
        assert_eq!(findings.finish().unwrap_err().exit_code(), 1);
    }
}
