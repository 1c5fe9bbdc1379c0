//! Samples that tell of nothing real: `butler doctor --end-to-end` sends them through the socket that Qlik Sense sends to.
//!
//! The daemon must know them for what they are, or they would raise incidents and wake people; and nobody may pass off a
//! real failure as one of them, by the name of a task for instance. So a sample carries a seal at its end, HMAC-SHA-256 of all
//! that stands before it by the token of the run file, which only who may read that file can make. A sample that is sent
//! twice is the same execution, and no second event.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;

use super::sample::{self, Fields, RandomError, SampleKind};
use super::wire::Heard;

/// What people read; the seal stands behind it.
const MESSAGE: &str = "A test by butler doctor: nothing has failed";
const MARK: &str = ", seal ";

/// Makes seals, and knows them.
#[derive(Debug, Clone)]
pub struct Seal(hmac::Key);

impl Seal {
    /// By the token of the run file.
    pub fn new(token: &str) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, token.as_bytes()))
    }

    /// The message of a failed task that nobody has, with ids of its own, and the id of the task.
    pub fn sample(&self) -> Result<(String, String), RandomError> {
        let fields = Fields::random()?;
        let fields = Fields {
            node: "butler-doctor".to_owned(),
            task_name: "Test of Butler, no real task".to_owned(),
            app_name: "Test of Butler, no real app".to_owned(),
            user: r"BUTLER\doctor".to_owned(),
            message: Some(MESSAGE.to_owned()),
            ..fields
        };
        let text = sample::message(SampleKind::TaskFailed, &fields);
        let seal = URL_SAFE_NO_PAD.encode(hmac::sign(&self.0, text.as_bytes()));
        Ok((format!("{text}{MARK}{seal}"), fields.task_id))
    }

    /// Whether a datagram is a sealed sample; the seal is taken off what was heard by it then.
    pub fn take_off(&self, datagram: &[u8], heard: &mut Heard) -> bool {
        let Some(log) = heard.data.log.as_mut() else { return false };
        let Some(seal) = log.message.strip_prefix(MESSAGE).and_then(|rest| rest.strip_prefix(MARK)) else {
            return false;
        };
        let Some(sealed) = datagram.strip_suffix(seal.as_bytes()).and_then(|rest| rest.strip_suffix(MARK.as_bytes()))
        else {
            return false;
        };
        let Ok(seal) = URL_SAFE_NO_PAD.decode(seal) else { return false };
        if hmac::verify(&self.0, sealed, &seal).is_err() {
            return false;
        }
        MESSAGE.clone_into(&mut log.message);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    /// Whether a text is taken for a sample, and the message that is left of it.
    fn taken(seal: &Seal, text: &str) -> Option<String> {
        let mut heard = parse(text.as_bytes()).unwrap();
        let taken = seal.take_off(text.as_bytes(), &mut heard);
        taken.then(|| heard.data.log.unwrap().message)
    }

    #[test]
    fn only_who_has_the_token_makes_samples_and_each_is_of_an_execution_of_its_own() {
        let seal = Seal::new("token");
        let (text, task) = seal.sample().unwrap();
        let heard = parse(text.as_bytes()).unwrap();
        assert_eq!(heard.data.task.as_ref().map(|task| &task.id), Some(&task));
        assert_eq!(taken(&Seal::new("another"), &text), None);
        assert_eq!(taken(&seal, &text).as_deref(), Some(MESSAGE));
        assert_eq!(taken(&seal, text.rsplit_once(MARK).unwrap().0), None, "it is off");
        // The seal of one execution says nothing of another.
        let (other, _) = seal.sample().unwrap();
        let message = text.rsplit(';').next().unwrap();
        let forged = format!("{};{message}", other.rsplit_once(';').unwrap().0);
        assert_eq!(taken(&seal, &forged), None);
        for odd in ["", "AAAA", "?"] {
            let forged = format!("{};{MESSAGE}{MARK}{odd}", other.rsplit_once(';').unwrap().0);
            assert_eq!(taken(&seal, &forged), None, "{odd}");
        }
    }

    #[test]
    fn a_seal_that_was_seen_is_good_for_its_message_alone() {
        let seal = Seal::new("token");
        let (text, task) = seal.sample().unwrap();
        for (part, other) in [
            (task.as_str(), "11111111-2222-3333-4444-555555555555"),
            ("task-failed", "task-success"),
            ("Test of Butler, no real task", "Sales"),
            ("butler-doctor", "sense1"),
            (MESSAGE, "Max retries reached"),
            (MARK, " and more, seal "),
        ] {
            let forged = text.replacen(part, other, 1);
            assert_ne!(forged, text);
            assert_eq!(taken(&seal, &forged), None, "{forged}");
        }
    }
}
