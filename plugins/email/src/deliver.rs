//! Brings one event to its recipients: who still lacks the mail, what the server says to each, and what comes of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use butler_plugin_api::{Delivery, DeliveryError, Event};
use lettre::Address;

use crate::Email;
use crate::compose::first;
use crate::mail::Draft;
use crate::progress::Progress;
use crate::recipients::Plan;
use crate::settings::Mode;
use crate::smtp::{Failure, Session, Verdict};
use crate::throttle::Claim;

/// Time for one attempt, less than the deadline of the manifest, so that what was achieved is told in any case.
pub(crate) const DEADLINE: Duration = Duration::from_mins(5);
const BUDGET: Duration = Duration::from_mins(4);
/// Most recipients in one transaction: what every server must take (RFC 5321, 4.5.3.1.8).
const PER_TRANSACTION: usize = 100;
/// After so many broken connections in a row the server is in trouble, and not one of the recipients.
const MOST_BROKEN: usize = 3;
/// Most refused recipients of a delivery that are logged one by one.
const MOST_LOGGED: usize = 20;

/// Recipients in one transaction: fewer with each attempt, since one whose address ends the connection keeps all others in
/// the same transaction from the mail.
fn per_transaction(attempt: u32) -> usize {
    if attempt >= 3 { 1 } else { PER_TRANSACTION >> attempt.saturating_sub(1) }
}

/// What became of the recipients in this attempt.
#[derive(Default)]
struct Tally {
    refused: Vec<(Address, String)>,
    /// Who lacks the mail, and the last reason.
    later: Vec<Address>,
    why: Option<String>,
}

impl Email {
    pub(crate) async fn bring(&self, delivery: &Delivery) -> Result<(), DeliveryError> {
        let until = Instant::now() + BUDGET;
        let plan = self.settings.who.of(&delivery.event);
        if delivery.attempt <= 1 {
            self.tell_unreachable(delivery, &plan);
        }
        let to = self.settings.redirect_to.clone().map_or_else(|| plan.to.clone(), |to| vec![to]);
        if to.is_empty() {
            return self.nobody(delivery, &plan);
        }
        let mut progress = Progress::of(delivery, &self.host).await;
        let open: Vec<Address> = to.iter().filter(|address| !progress.is_settled(address)).cloned().collect();
        let claim = match &self.throttle {
            Some(throttle) => throttle.claim(&delivery.event, &delivery.delivery_id, open).await,
            None => Claim::all(open),
        };
        self.tell_held(delivery, &claim);
        claim.held.iter().for_each(|address| progress.held(address));
        let mut session = self.server.session(until);
        let tally = self.send_all(delivery, &plan, &to, &claim, &mut session, &mut progress).await;
        session.end();
        if let Some(throttle) = &self.throttle {
            let refused = tally.refused.iter().map(|(address, _)| address.clone());
            let without: Vec<Address> = tally.later.iter().cloned().chain(refused).collect();
            throttle.give_back(&claim, &delivery.delivery_id, &without).await;
        }
        self.outcome(&claim, &tally, &progress).await
    }

    /// Sends to all that the throttle lets through. Who was told of held back mails gets another text than who was not.
    /// `named`: all recipients, for mails that name them.
    async fn send_all(
        &self,
        delivery: &Delivery,
        plan: &Plan,
        named: &[Address],
        claim: &Claim,
        session: &mut Session<'_>,
        progress: &mut Progress,
    ) -> Tally {
        let mut groups: BTreeMap<u64, Vec<Address>> = BTreeMap::new();
        for (address, held) in &claim.granted {
            groups.entry(*held).or_default().push(address.clone());
        }
        let (mut tally, mut broken, mut stop) = (Tally::default(), 0, false);
        for (held, mut group) in groups {
            let mut delivery = delivery.clone();
            delivery.suppressed += held;
            let composed = self.settings.compose(&delivery, plan, &self.host, &self.settings.html).await;
            self.trouble.note(composed.trouble);
            let (from, mode) = (&self.settings.from, self.settings.mode);
            let draft = Draft::new(from, self.settings.priority, &composed.content, &delivery.delivery_id);
            // One that breaks connections must not keep the same others from their mail in each attempt.
            let first = delivery.attempt.saturating_sub(1) as usize % group.len().max(1);
            group.rotate_left(first);
            let size = if mode == Mode::PerRecipient { 1 } else { per_transaction(delivery.attempt) };
            for to in group.chunks(size) {
                if stop {
                    tally.later.extend_from_slice(to);
                    continue;
                }
                let mail = match draft.to(to, mode, named) {
                    // What the library makes is ASCII.
                    Ok(mail) => String::from_utf8_lossy(&mail.formatted()).into_owned(),
                    Err(error) => {
                        tally.later.extend_from_slice(to);
                        tally.why = Some(format!("the mail cannot be made: {error}"));
                        continue;
                    }
                };
                match session.send(&from.email, to, &mail).await {
                    Ok(verdicts) => {
                        broken = 0;
                        to.iter().zip(verdicts).for_each(|(to, verdict)| tally.add(to, verdict, progress));
                    }
                    Err(failure) => {
                        broken += 1;
                        stop = !matches!(failure, Failure::Broken(_)) || broken >= MOST_BROKEN;
                        tally.later.extend_from_slice(to);
                        tally.why = Some(failure.to_string());
                    }
                }
                progress.note().await;
            }
        }
        let sent = claim.granted.len() - tally.later.len() - tally.refused.len();
        self.count("sent", sent);
        self.count("refused", tally.refused.len());
        tally
    }

    async fn outcome(&self, claim: &Claim, tally: &Tally, progress: &Progress) -> Result<(), DeliveryError> {
        for (address, words) in tally.refused.iter().take(MOST_LOGGED) {
            tracing::warn!("the mail server refuses {address}, who gets no mail: {words}");
        }
        if let Some((address, words)) = tally.refused.first() {
            let others = tally.refused.len() - 1;
            let others = if others == 0 { String::new() } else { format!(" and {others} more") };
            self.note_refusal(Some(format!("the mail server refuses {address}{others}: {words}")));
        } else if progress.has_sent() && tally.later.is_empty() {
            self.note_refusal(None);
        }
        if !tally.later.is_empty() {
            let why = tally.why.as_deref().unwrap_or("not sent");
            let all = claim.granted.len();
            let message = if tally.later.len() == all && !progress.has_sent() {
                why.to_owned()
            } else {
                format!(
                    "{} of {all} recipients lack the mail ({}): {why}",
                    tally.later.len(),
                    first(&tally.later, ", ")
                )
            };
            let retry = DeliveryError::retry(message);
            return Err(match progress.for_host() {
                Some(value) => retry.with_progress(value),
                None => retry,
            });
        }
        progress.done().await;
        match tally.refused.first() {
            Some((address, words)) if progress.is_refused() => Err(DeliveryError::reject(match tally.refused.len() {
                1 => format!("the mail server refuses {address}: {words}"),
                all => format!("the mail server refuses all {all} recipients, {address} first: {words}"),
            })),
            // They were refused before a crash, and their outcome was lost with it.
            None if progress.is_refused() => Err(DeliveryError::reject(
                "the mail server refuses all recipients; its words are in the log of an earlier attempt",
            )),
            _ => Ok(()),
        }
    }

    /// See [`recipients`](crate::recipients) for the two cases. Whoever tries it out wants to see a mail: then it is a
    /// failure either way.
    fn nobody(&self, delivery: &Delivery, plan: &Plan) -> Result<(), DeliveryError> {
        let event = &delivery.event;
        let is_test = event.source == Event::TEST;
        if plan.unreachable.is_empty() {
            self.count("none", 1);
            let why = first(&plan.left_out, "; ");
            if is_test {
                return Err(DeliveryError::reject(format!(
                    "nobody is to get a mail about this event: {why}; say `redirectTo`, or try a task that has recipients"
                )));
            }
            tracing::info!(event.id = %event.id, "nobody is to get a mail about this event: {why}");
            return Ok(());
        }
        let owner = event.data.app.as_ref().and_then(|app| app.owner.as_ref());
        let hint = match owner {
            Some(owner) if is_test && owner.emails.is_empty() => {
                "; samples have no owner's address: name with `--task` a task whose owner has one, or say `redirectTo`"
            }
            _ => "",
        };
        Err(DeliveryError::reject(format!("nobody can be reached by mail: {}{hint}", first(&plan.unreachable, "; "))))
    }

    fn tell_held(&self, delivery: &Delivery, claim: &Claim) {
        self.count("throttled", claim.held.len());
        if !claim.held.is_empty() {
            tracing::info!(
                event.id = %delivery.event.id,
                "the throttle keeps this mail from {} recipients for another {} s: {}",
                claim.held.len(),
                claim.lasts.as_millis().div_ceil(1000),
                first(&claim.held, ", ")
            );
        }
    }

    fn tell_unreachable(&self, delivery: &Delivery, plan: &Plan) {
        self.count("unreachable", plan.unreachable.len());
        for why in plan.unreachable.iter().take(MOST_LOGGED) {
            tracing::warn!(event.id = %delivery.event.id, "somebody gets no mail: {why}");
        }
    }

    fn count(&self, outcome: &str, recipients: usize) {
        if recipients > 0 {
            self.host.metrics().count("recipients_total", &[("outcome", outcome)], recipients as u64);
        }
    }
}

impl Tally {
    fn add(&mut self, address: &Address, verdict: Verdict, progress: &mut Progress) {
        match verdict {
            Verdict::Sent => progress.sent(address),
            Verdict::Refused(words) => {
                progress.refused(address);
                self.refused.push((address.clone(), words));
            }
            Verdict::Later(words) => {
                self.later.push(address.clone());
                self.why = Some(format!("the mail server does not take it now: {words}"));
            }
        }
    }
}
