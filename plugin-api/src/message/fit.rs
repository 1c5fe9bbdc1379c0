//! Shortens a message until it is small enough.
//!
//! What can be given up is counted in steps: none at step 0, everything at the last. Rendering is quick and the size goes
//! down with the steps, so the fewest that are needed are found by halving.

/// How much of the long parts of a message is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Lines that are given up, first of the log's head (its last ones), then of its tail (its first ones), then of the
    /// details (the oldest), then of the errors (the oldest).
    pub(super) dropped: usize,
    /// Longest line, in characters.
    pub(super) line: usize,
    /// Longest other text, in characters.
    pub(super) text: usize,
}

impl Cut {
    /// Nothing is given up.
    pub const NONE: Self = Self { dropped: 0, line: usize::MAX, text: usize::MAX };

    /// Everything is given up that can be, of so many lines ([`Facts::lines`](super::Facts::lines)).
    pub fn last(lines: usize) -> Self {
        Self::at(last_step(lines), lines)
    }

    /// Whether all lines are given up for the sake of other texts.
    pub fn is_beyond_lines(self) -> bool {
        self.text < TEXTS[0]
    }

    /// Step 1 cuts very long lines and texts, the following ones drop a line each, the last ones cut texts further.
    pub(super) fn at(step: usize, lines: usize) -> Self {
        let beyond = step.saturating_sub(lines + 1);
        match TEXTS.get(beyond) {
            _ if step == 0 => Self::NONE,
            Some(text) => Self { dropped: (step - 1).min(lines), line: 400, text: *text },
            None => Self { dropped: lines, line: 400, text: TEXTS[TEXTS.len() - 1] },
        }
    }
}

/// Longest texts in characters, step by step, once all lines are dropped; the first one before that.
const TEXTS: [usize; 4] = [8000, 4000, 1000, 300];

fn last_step(lines: usize) -> usize {
    lines + TEXTS.len()
}

/// The least shortened form that `render` accepts, or none if it takes not even the shortest. `lines` is
/// [`Facts::lines`](super::Facts::lines); `render` answers none where the form is too large.
pub fn shorten<T, E>(lines: usize, mut render: impl FnMut(Cut) -> Result<Option<T>, E>) -> Result<Option<T>, E> {
    if let Some(whole) = render(Cut::NONE)? {
        return Ok(Some(whole));
    }
    let (mut too_long, mut best) = (0, None);
    let mut fits = last_step(lines) + 1;
    while too_long + 1 < fits {
        let step = usize::midpoint(too_long, fits);
        match render(Cut::at(step, lines))? {
            Some(form) => {
                fits = step;
                best = Some(form);
            }
            None => too_long = step,
        }
    }
    Ok(best)
}

/// At most `max` characters of a text, with `…` where it was cut.
pub fn cut(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The last `max` characters of a text, with `…` where it was cut.
pub(super) fn cut_start(text: &str, max: usize) -> String {
    match text.char_indices().rev().nth(max.saturating_sub(1)) {
        Some((start, _)) if start > 0 => format!("…{}", &text[start..]),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message of `lines` lines of 10 bytes, and 50 bytes besides.
    fn fitted(max: usize, lines: usize) -> (Option<String>, usize) {
        let mut renders = 0;
        let result = shorten(lines, |cut| {
            renders += 1;
            let rest = if cut.text > 300 { 50 } else { 20 };
            let size = (lines - cut.dropped) * 10 + rest;
            Ok::<_, ()>((size <= max).then(|| "x".repeat(size)))
        });
        (result.unwrap(), renders)
    }

    #[test]
    fn gives_up_as_little_as_possible_in_few_tries() {
        assert_eq!(fitted(10_050, 1000), (Some("x".repeat(10_050)), 1));
        let (text, renders) = fitted(5_555, 1000);
        assert_eq!(text.unwrap().len(), 5_550);
        assert!(renders <= 12, "{renders}");
        assert_eq!(fitted(30, 3).0.unwrap().len(), 20, "the last step cuts texts");
        assert_eq!(fitted(10, 3).0, None);
        assert_eq!(fitted(10, 0).0, None);
    }

    #[test]
    fn cuts_at_characters() {
        assert_eq!(cut("äöü", 2), "äö…");
        assert_eq!(cut("äöü", 3), "äöü");
        assert_eq!(
            (cut_start("äöü", 2), cut_start("äöü", 3), cut_start("", 3)),
            ("…öü".into(), "äöü".into(), String::new())
        );
    }

    #[test]
    fn steps_give_up_more_and_more() {
        let steps: Vec<_> =
            (0..=last_step(2)).map(|step| Cut::at(step, 2)).map(|cut| (cut.dropped, cut.text)).collect();
        assert_eq!(steps, [(0, usize::MAX), (0, 8000), (1, 8000), (2, 8000), (2, 4000), (2, 1000), (2, 300)]);
        assert_eq!(Cut::last(2), Cut::at(last_step(2), 2));
        assert!(Cut::at(4, 2).is_beyond_lines() && !Cut::at(3, 2).is_beyond_lines() && !Cut::NONE.is_beyond_lines());
    }
}
