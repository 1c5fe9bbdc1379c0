//! Answers that are kept for a while, each asked for once at a time.

use std::time::{Duration, Instant};

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

/// Answers by key. Who asks for what is just being asked shares that call, and its error; errors are not kept.
pub(super) struct Kept<T, E> {
    answers: Cache<String, Answer<T, E>, Weigh<T>>,
    ttl: Duration,
}

#[derive(Clone)]
struct Answer<T, E> {
    came: Instant,
    result: Result<T, E>,
}

#[derive(Clone)]
struct Weigh<T>(fn(&T) -> u64);

impl<T, E> Weighter<String, Answer<T, E>> for Weigh<T> {
    fn weight(&self, _: &String, answer: &Answer<T, E>) -> u64 {
        // What weighs nothing is never thrown out.
        answer.result.as_ref().map_or(1, self.0).max(1)
    }
}

impl<T: Clone, E: Clone> Kept<T, E> {
    /// Room for answers of so much weight together, each used for so long.
    pub(super) fn new(ttl: Duration, capacity: u64, items: usize, weight: fn(&T) -> u64) -> Self {
        let mut options = OptionsBuilder::new();
        // More parts are for many cores, and what does not fit in one part is not kept.
        let options = options.shards(1).weight_capacity(capacity).estimated_items_capacity(items).build();
        // Fails only for what is missing, which is nothing.
        let options = options.expect("both capacities are set");
        let (hash, lifecycle) = (DefaultHashBuilder::default(), DefaultLifecycle::default());
        Self { answers: Cache::with_options(options, Weigh(weight), hash, lifecycle), ttl }
    }

    /// The kept answer, or that of a call which all who ask meanwhile share.
    pub(super) async fn once(&self, key: &str, ask: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let key = key.to_ascii_lowercase();
        self.answers.remove_if(key.as_str(), |answer| answer.came.elapsed() >= self.ttl);
        let room = match self.answers.get_value_or_guard_async(key.as_str()).await {
            Ok(answer) => return answer.result,
            Err(room) => room,
        };
        let result = ask.await;
        // Not taken when it was forgotten meanwhile. Those who wait get it all the same.
        let _ = room.insert(Answer { came: Instant::now(), result: result.clone() });
        if result.is_err() {
            self.answers.remove_if(key.as_str(), |answer| answer.result.is_err());
        }
        result
    }

    /// The next who asks gets a new answer if this holds for the kept one. A call that is under way is shared all the same.
    pub(super) fn forget_if(&self, key: &str, old: impl FnOnce(&T) -> bool) {
        self.answers.remove_if(key.to_ascii_lowercase().as_str(), |answer| answer.result.as_ref().is_ok_and(old));
    }

    /// The next who asks gets a new answer.
    pub(super) fn forget(&self, key: &str) {
        self.answers.remove(key.to_ascii_lowercase().as_str());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    struct Lab {
        kept: Kept<u32, u32>,
        calls: AtomicU32,
    }

    impl Lab {
        fn new(ttl: Duration) -> Arc<Self> {
            let kept = Kept::new(ttl, 10, 10, |weight| u64::from(*weight));
            Arc::new(Self { kept, calls: AtomicU32::new(0) })
        }

        async fn ask(&self, key: &str, answer: Result<u32, u32>) -> Result<u32, u32> {
            let call = async {
                self.calls.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                answer
            };
            self.kept.once(key, call).await
        }

        fn calls(&self) -> u32 {
            self.calls.swap(0, Ordering::SeqCst)
        }
    }

    const LONG: Duration = Duration::from_mins(10);

    #[tokio::test]
    async fn who_asks_meanwhile_or_later_shares_the_answer() {
        let lab = Lab::new(LONG);
        assert_eq!(tokio::join!(lab.ask("a", Ok(1)), lab.ask("A", Ok(2)), lab.ask("b", Ok(3))), (Ok(1), Ok(1), Ok(3)));
        assert_eq!((lab.ask("a", Ok(4)).await, lab.calls()), (Ok(1), 2));
    }

    #[tokio::test]
    async fn an_error_is_shared_but_not_kept() {
        let lab = Lab::new(LONG);
        assert_eq!(tokio::join!(lab.ask("a", Err(1)), lab.ask("a", Ok(2))), (Err(1), Err(1)));
        assert_eq!((lab.ask("a", Ok(3)).await, lab.calls()), (Ok(3), 2));
    }

    #[tokio::test]
    async fn what_is_old_forgotten_or_too_heavy_is_asked_for_anew() {
        let lab = Lab::new(LONG);
        assert_eq!((lab.ask("a", Ok(1)).await, lab.ask("heavy", Ok(11)).await), (Ok(1), Ok(11)));
        lab.kept.forget("A");
        assert_eq!((lab.ask("a", Ok(2)).await, lab.ask("heavy", Ok(3)).await, lab.calls()), (Ok(2), Ok(3), 4));
        lab.kept.forget_if("A", |answer| *answer != 2);
        assert_eq!((lab.ask("a", Ok(5)).await, lab.calls()), (Ok(2), 0));
        lab.kept.forget_if("A", |answer| *answer == 2);
        assert_eq!((lab.ask("a", Ok(5)).await, lab.calls()), (Ok(5), 1));
        let lab = Lab::new(Duration::ZERO);
        assert_eq!((lab.ask("a", Ok(1)).await, lab.ask("a", Ok(2)).await), (Ok(1), Ok(2)));
    }

    #[tokio::test]
    async fn who_gives_up_asking_leaves_it_to_the_next() {
        let lab = Lab::new(LONG);
        let never = lab.kept.once("a", std::future::pending());
        tokio::select! { biased; _ = never => {}, () = tokio::task::yield_now() => {} }
        assert_eq!(lab.ask("a", Ok(2)).await, Ok(2));
    }
}
