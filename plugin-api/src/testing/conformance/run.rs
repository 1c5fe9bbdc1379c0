//! Runs the plugin as the host does.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Report;
use crate::abi::host::{BoxFuture, PluginHandle};
use crate::abi::plugin::object;
use crate::event::kind;
use crate::testing::{FakeHost, sample_delivery};
use crate::{Delivery, Health, Manifest, OperationError, Outcome, Plugin};

const START: Duration = Duration::from_secs(30);
const OPERATION: Duration = Duration::from_secs(30);
const STOP: Duration = Duration::from_secs(5);
/// So much may be handed over at once, whatever the manifest allows.
const MOST_CALLS: usize = 20;
const MOST_IN_BATCH: usize = 10;
const MAX_PROGRESS: usize = 16 << 10;

/// A plugin that runs, with its fake host.
struct Run<'a> {
    fake: FakeHost,
    plugin: PluginHandle,
    manifest: &'a Manifest,
    report: &'a mut Report,
}

/// A delivery to make: what it is, for people, and its JSON.
type Case = (String, Value);

/// What is to be waited for.
struct Calls<T>(Arc<Mutex<Vec<Option<T>>>>);

/// Ends the examination of a plugin that does not answer: nothing more can be learnt.
struct Lost;

pub(super) fn examine<P: Plugin>(manifest: &Manifest, settings: &Value, report: &mut Report) {
    let before = report.faults.len();
    let Ok(run) = Run::start::<P>(manifest, settings, report) else { return };
    if life(run).is_err() || report.faults.len() > before {
        return;
    }
    // The host does so at every reload.
    match Run::start::<P>(manifest, settings, report) {
        Ok(run) => drop(run.stop(&[])),
        Err(Lost) => report.fault("it cannot be started a second time in one process: see the fault before"),
    }
}

/// All that a plugin goes through.
fn life(mut run: Run<'_>) -> Result<(), Lost> {
    let own_work = run.begin(vec![Box::pin(run.plugin.run()) as BoxFuture<Result<(), OperationError>>]);
    run.deliveries()?;
    run.repeated()?;
    run.operations()?;
    if let Some(Some(Err(error))) = own_work.take().pop() {
        run.report.fault(format!("its own work, `run`, {error}"));
    }
    let cases: Vec<Case> = run.kinds().into_iter().take(4).map(|kind| sample(&kind, "under way")).collect();
    run.stop(&cases)
}

impl<'a> Run<'a> {
    fn start<P: Plugin>(manifest: &'a Manifest, settings: &Value, report: &'a mut Report) -> Result<Self, Lost> {
        let fake = FakeHost::new(&manifest.name).manual_time();
        fake.of(manifest.clone());
        let plugin = match object::<P>(fake.handle(), settings.to_string()) {
            Ok(plugin) => PluginHandle::new(plugin),
            Err(error) => {
                report.fault(format!("it cannot be made: {error}"));
                return Err(Lost);
            }
        };
        let mut run = Self { fake, plugin, manifest, report };
        let start = run.plugin.start();
        match run.call("`start`", START, start)? {
            Ok(()) => Ok(run),
            Err(error) => {
                run.report.fault(format!("`start` with the settings of this test failed: {error}"));
                Err(Lost)
            }
        }
    }

    /// Kinds that the plugin gets by default; all if it names none.
    fn kinds(&self) -> Vec<String> {
        let wanted = |kind: &&&str| self.manifest.default_events.iter().any(|pattern| kind::matches(pattern, kind));
        let wanted: Vec<String> = kind::ALL.iter().filter(wanted).map(ToString::to_string).collect();
        if wanted.is_empty() { kind::ALL.iter().map(ToString::to_string).collect() } else { wanted }
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(u64::from(self.manifest.deadline_seconds.max(1)))
    }

    fn deliveries(&mut self) -> Result<(), Lost> {
        let mut cases = Vec::new();
        for kind in kind::ALL {
            cases.push(sample(kind, "a sample"));
            let (_, mut delivery) = sample(kind, "unknown fields");
            add_unknown(&mut delivery);
            cases.push((format!("`{kind}` with fields that are not known"), delivery));
        }
        cases.push(sample("moon.risen", "a kind that is not known"));
        let (_, mut bare) = sample(kind::RELOAD_TASK_FAILED, "bare");
        bare["event"]["data"] = json!({});
        cases.push((format!("`{}` without any facts", kind::RELOAD_TASK_FAILED), bare));
        let calls = self.calls_of(&cases);
        for group in calls.chunks(usize::try_from(self.manifest.concurrency).unwrap_or(1).clamp(1, MOST_CALLS)) {
            let begun = self.begin(group.iter().map(|cases| self.deliver(cases)).collect());
            self.judge(group, &begun, "got no outcome within its deadline")?;
        }
        Ok(())
    }

    /// A delivery comes again after a retry, and after a crash even when it had arrived.
    fn repeated(&mut self) -> Result<(), Lost> {
        let kind = self.kinds().into_iter().next().unwrap_or_default();
        let (name, mut delivery) = sample(&kind, "again");
        let mut outcomes = Vec::new();
        for attempt in [1, 2] {
            delivery["attempt"] = attempt.into();
            let case = [(format!("{name}, attempt {attempt}"), delivery.clone())];
            let begun = self.begin(vec![self.deliver(&case)]);
            outcomes.extend(self.judge(&[case.to_vec()], &begun, "got no outcome within its deadline")?);
            if let Some(Outcome::Retry { progress: Some(progress), .. }) = outcomes.last() {
                delivery["progress"] = progress.clone();
            }
        }
        if let [Outcome::Delivered, Outcome::Reject { message }] = outcomes.as_slice() {
            let text = format!("a repeated delivery of {name} is rejected, though the first was delivered: {message}");
            self.report.fault(text);
        }
        Ok(())
    }

    fn operations(&mut self) -> Result<(), Lost> {
        let health = self.plugin.health();
        if let Health::Bad(text) = self.call("`health`", OPERATION, health)?
            && text.starts_with("panicked: ")
        {
            self.report.fault(format!("`health` {text}"));
        }
        for operation in self.manifest.operations.clone() {
            let inputs = match operation.as_str() {
                "render" => self.kinds().iter().map(|kind| sample(kind, "render").1).collect(),
                "import" => vec![json!({ "butler": {} })],
                _ => vec![Value::Null],
            };
            let before = self.fake.requests().len();
            for input in inputs {
                let answer = self.plugin.invoke(&operation, &input);
                match self.call(&format!("`{operation}`"), OPERATION, answer)? {
                    Err(OperationError::Panicked(panic)) => {
                        self.report.fault(format!("the operation `{operation}` panicked: {panic}"));
                        break;
                    }
                    Err(OperationError::Unsupported(_)) => {
                        let text = format!("the manifest offers the operation `{operation}`, but it is not supported");
                        self.report.fault(text);
                        break;
                    }
                    Ok(_) | Err(OperationError::Failed(_)) => {}
                }
            }
            let writes = |method: &str| matches!(method, "POST" | "PUT" | "PATCH" | "DELETE");
            let sent = self.fake.requests().into_iter().skip(before).find(|request| writes(&request.method));
            if let Some(sent) = sent.filter(|_| operation == "render") {
                self.report.fault(format!("`render` must send nothing, but sent {} {}", sent.method, sent.url));
            }
        }
        Ok(())
    }

    /// Stops it with deliveries under way, and looks whether anything is left.
    fn stop(self, cases: &[Case]) -> Result<(), Lost> {
        self.fake.hold_http();
        let calls = self.calls_of(cases);
        let concurrency = usize::try_from(self.manifest.concurrency).unwrap_or(1);
        let calls = &calls[..calls.len().min(concurrency)];
        let begun = self.begin(calls.iter().map(|cases| self.deliver(cases)).collect());
        self.settle();
        let asked = Instant::now();
        let stop = self.begin(vec![Box::pin(self.plugin.stop()) as BoxFuture<()>]);
        self.settle();
        self.fake.release_http();
        let mut this = self;
        let stopped = this.finish(&stop, STOP.saturating_sub(asked.elapsed()));
        this.judge(calls, &begun, "was under way when the instance was stopped, and got no outcome")?;
        if !stopped {
            this.report.fault("`stop` did not end within 5 s");
            return Err(Lost);
        }
        let Self { fake, plugin, report, .. } = this;
        report.faults.extend(fake.denied());
        // The last handle: the plugin is dropped, on its thread.
        let dropped = Arc::new(Mutex::new(vec![None]));
        let slot = dropped.clone();
        fake.shared.stage.spawn(Box::pin(async move {
            drop(plugin);
            slot.lock().unwrap_or_else(PoisonError::into_inner)[0] = Some(());
        }));
        if !wait(STOP, || Calls(dropped.clone()).are_done()) {
            report.fault("the plugin did not come to its end within 5 s when it was dropped after `stop`");
            return Err(Lost);
        }
        if !fake.end(STOP) {
            report.fault("a background task blocks its thread: it did not end within 5 s after `stop`");
            return Err(Lost);
        }
        // The fake host has one reference to what handles refer to; more are handles.
        if !wait(STOP, || Arc::strong_count(&fake.shared) == 1) {
            report.fault(
                "something still holds the host 5 s after `stop`: end threads and tasks of your own there, and keep no \
                 `Host` in a static",
            );
        }
        Ok(())
    }

    /// Deliveries as they are handed over: alone, or in batches if the plugin takes them.
    fn calls_of(&self, cases: &[Case]) -> Vec<Vec<Case>> {
        let size = usize::try_from(self.manifest.batch.max).unwrap_or(1).clamp(1, MOST_IN_BATCH);
        cases.chunks(size).map(<[Case]>::to_vec).collect()
    }

    fn deliver(&self, cases: &[Case]) -> BoxFuture<Result<Vec<Outcome>, String>> {
        let deliveries: Vec<&Value> = cases.iter().map(|(_, delivery)| delivery).collect();
        Box::pin(self.plugin.deliver_json(cases.len(), json!(deliveries).to_string()))
    }

    /// Waits for outcomes and holds them against the rules.
    fn judge(
        &mut self,
        calls: &[Vec<Case>],
        begun: &Calls<Result<Vec<Outcome>, String>>,
        late: &str,
    ) -> Result<Vec<Outcome>, Lost> {
        let complete = self.finish(begun, self.deadline());
        let mut all = Vec::new();
        for (cases, answer) in calls.iter().zip(begun.take()) {
            let names = cases.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
            match answer {
                None => self.report.fault(format!("the delivery of {names} {late}")),
                Some(Err(message)) => self.report.fault(format!("the delivery of {names}: {message}")),
                Some(Ok(outcomes)) => {
                    for ((name, _), outcome) in cases.iter().zip(&outcomes) {
                        self.judge_one(name, outcome);
                    }
                    all.extend(outcomes);
                }
            }
        }
        if complete { Ok(all) } else { Err(Lost) }
    }

    fn judge_one(&mut self, name: &str, outcome: &Outcome) {
        let Outcome::Retry { message, progress, panicked, .. } = outcome else { return };
        if *panicked {
            self.report.fault(format!("the delivery of {name} {message}"));
        }
        let size = progress.as_ref().map_or(0, |progress| progress.to_string().len());
        if size > MAX_PROGRESS {
            self.report.fault(format!("the progress of {name} has {size} bytes, at most 16 KB are kept"));
        }
    }

    /// Makes a call and waits for its answer.
    fn call<T: Send + 'static>(
        &mut self,
        name: &str,
        limit: Duration,
        call: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Lost> {
        let begun = self.begin(vec![Box::pin(call) as BoxFuture<T>]);
        self.finish(&begun, limit);
        let answer = begun.take().pop().flatten();
        answer.ok_or_else(|| {
            self.report.fault(format!("{name} did not answer within {} s", limit.as_secs()));
            Lost
        })
    }

    fn begin<T: Send + 'static>(&self, futures: Vec<BoxFuture<T>>) -> Calls<T> {
        let slots: Vec<Option<T>> = futures.iter().map(|_| None).collect();
        let slots = Arc::new(Mutex::new(slots));
        for (index, future) in futures.into_iter().enumerate() {
            let slots = slots.clone();
            self.fake.shared.stage.spawn(Box::pin(async move {
                let answer = future.await;
                slots.lock().unwrap_or_else(PoisonError::into_inner)[index] = Some(answer);
            }));
        }
        Calls(slots)
    }

    /// Waits until all have answered; false when they have not. Time passes for the plugin when it waits for nothing
    /// else, and no more than the limit.
    fn finish<T>(&self, calls: &Calls<T>, limit: Duration) -> bool {
        let shared = &self.fake.shared;
        let end = shared.clock.now().saturating_add(limit);
        wait(limit, || {
            while !calls.are_done() && shared.stage.is_idle() && shared.clock.advance_to_next(end) {}
            calls.are_done()
        })
    }

    /// Waits until nothing goes on by itself, but not for long: another thread may keep the plugin busy.
    fn settle(&self) {
        wait(Duration::from_millis(500), || self.fake.shared.stage.is_idle());
    }
}

impl<T> Calls<T> {
    fn are_done(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().all(Option::is_some)
    }

    /// The answers so far.
    fn take(&self) -> Vec<Option<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter_mut().map(Option::take).collect()
    }
}

/// Waits for a condition; false when it did not come true within the limit.
fn wait(limit: Duration, condition: impl Fn() -> bool) -> bool {
    let until = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= until {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A delivery of the sample of a kind, with ids of its own.
fn sample(kind: &str, purpose: &str) -> Case {
    let mut delivery: Delivery = sample_delivery(kind);
    let id = format!("{kind}/{purpose}").replace(' ', "-");
    (delivery.event.id, delivery.delivery_id) = (format!("event-{id}"), format!("delivery-{id}"));
    (format!("`{kind}` ({purpose})"), json!(delivery))
}

/// Puts a field of a later version into every object.
pub(in crate::testing) fn add_unknown(value: &mut Value) {
    // Maps from names of users' own, of reasons or nodes: their values are of one type.
    const MAPS: [&str; 5] = ["customProperties", "dropped", "rejected", "keptByReason", "nodes"];
    match value {
        Value::Object(fields) => {
            fields
                .iter_mut()
                .filter(|(name, _)| !MAPS.contains(&name.as_str()))
                .for_each(|(_, value)| add_unknown(value));
            fields.insert("fieldOfALaterVersion".to_owned(), json!({ "deep": [1, null, { "x": true }] }));
        }
        Value::Array(items) => items.iter_mut().for_each(add_unknown),
        _ => {}
    }
}
