//! Numbers as people read them.

/// `12345` as `12,345`.
pub(super) fn grouped(number: impl std::fmt::Display) -> String {
    let text = format!("{number}");
    let (sign, digits) = text.strip_prefix('-').map_or(("", text.as_str()), |digits| ("-", digits));
    let mut out = sign.to_owned();
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Bytes as `7.0 MB`, as Windows shows sizes: by 1024, one decimal below ten.
pub(super) fn size_text(bytes: i64) -> String {
    let mut tenths = i128::from(bytes.max(0)) * 10;
    if tenths < 10_240 {
        return format!("{} B", tenths / 10);
    }
    for unit in ["kB", "MB", "GB"] {
        tenths = (tenths + 512) / 1024;
        if tenths < 10_235 {
            let whole = tenths / 10;
            return if tenths < 100 {
                format!("{whole}.{} {unit}", tenths % 10)
            } else {
                format!("{} {unit}", (tenths + 5) / 10)
            };
        }
    }
    format!("{} TB", tenths / 10_240)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (-1, "-1"), (-12_345_678, "-12,345,678")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn sizes() {
        for (bytes, text) in [
            (-1, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 kB"),
            (123_456, "121 kB"),
            (1_048_575, "1.0 MB"),
            (7_340_032, "7.0 MB"),
            (5_000_000_000, "4.7 GB"),
            (2_199_023_255_552, "2 TB"),
        ] {
            assert_eq!(size_text(bytes), text, "{bytes}");
        }
        assert!(size_text(i64::MAX).ends_with(" TB"));
    }
}
