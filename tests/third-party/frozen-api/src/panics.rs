//! Catches panics and keeps their text and place.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Whether panics outside of guarded code are printed even if they could be logged.
static PRINT_TOO: AtomicBool = AtomicBool::new(false);

/// Has panics outside of guarded code printed as well: in a test such a panic is a failed assertion.
#[cfg(feature = "testing")]
pub(crate) fn print_too() {
    PRINT_TOO.store(true, Ordering::Relaxed);
}

/// Installs the hook that notes panics instead of printing them. Each library has a standard library, and so a hook, of
/// its own: the host's is not touched.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let text = info.payload_as_str().unwrap_or("a value that is no text");
            let place = info.location().map(|at| format!(" at {}:{}", at.file(), at.line())).unwrap_or_default();
            let text = format!("{text}{place}");
            if DEPTH.try_with(Cell::get).unwrap_or_default() > 0 {
                let _ = LAST.try_with(|last| last.replace(Some(text)));
            } else if !crate::logging::error(&format!("a thread of the plugin panicked: {text}"))
                || PRINT_TOO.load(Ordering::Relaxed)
            {
                previous(info);
            }
        }));
    });
}

/// Runs `f`; a panic becomes its text and place.
pub(crate) fn catch<R>(f: impl FnOnce() -> R) -> Result<R, String> {
    DEPTH.set(DEPTH.get() + 1);
    // What `f` touches is dropped or never used again after a panic; see the callers.
    let result = catch_unwind(AssertUnwindSafe(f));
    DEPTH.set(DEPTH.get() - 1);
    result.map_err(|payload| {
        let text = LAST.take();
        let text = text.unwrap_or_else(|| {
            let text = payload.downcast_ref::<&str>().map(ToString::to_string);
            text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no text".to_owned())
        });
        // The payload may be any type of the author's: its drop could panic again, so it is leaked.
        std::mem::forget(payload);
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_text_and_place() {
        install();
        let panic = catch(|| panic!("no {}", "luck")).unwrap_err();
        assert!(panic.starts_with("no luck at ") && panic.contains("panics.rs:"), "{panic}");
        assert_eq!(catch(|| 7), Ok(7));
    }

    #[test]
    fn a_payload_that_panics_when_dropped_is_survived() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("again");
            }
        }
        install();
        assert!(catch(|| std::panic::panic_any(Bomb)).is_err());
    }
}
