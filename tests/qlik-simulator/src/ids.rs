//! Identifiers: random ones for new objects, and ones derived from another identifier.
//!
//! Both have the form of a version 4 GUID, because clients check that form.

use std::hash::{DefaultHasher, Hash, Hasher};

/// A new random GUID.
pub(crate) fn random() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the operating system has a source of randomness");
    format(u128::from_be_bytes(bytes))
}

/// A GUID that depends on nothing but `from` and `purpose`, the same in every process.
pub(crate) fn derived(from: &str, purpose: &str) -> String {
    let half = |salt: u8| {
        // `DefaultHasher::new` has fixed keys, unlike the hasher of a map.
        let mut hasher = DefaultHasher::new();
        (salt, purpose, from).hash(&mut hasher);
        hasher.finish()
    };
    format(u128::from(half(1)) << 64 | u128::from(half(2)))
}

/// Whether `text` has the form of a GUID, in any letter case.
pub(crate) fn is_guid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(position, byte)| match position {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// The number that a GUID stands for, whatever its letter case.
pub(crate) fn number(text: &str) -> Option<u128> {
    is_guid(text).then(|| u128::from_str_radix(&text.replace('-', ""), 16).ok()).flatten()
}

fn format(bits: u128) -> String {
    let bits = bits & !(0xf << 76) | 0x4 << 76;
    let bits = bits & !(0x3 << 62) | 0x2 << 62;
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        bits >> 96,
        bits >> 80 & 0xffff,
        bits >> 64 & 0xffff,
        bits >> 48 & 0xffff,
        bits & 0xffff_ffff_ffff
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_have_the_form_of_version_4() {
        for id in [random(), derived("a", "b"), derived("", "")] {
            assert!(is_guid(&id), "{id}");
            assert_eq!(&id[14..15], "4", "{id}");
            assert!("89ab".contains(&id[19..20]), "{id}");
        }
    }

    #[test]
    fn derived_depends_on_both_parts() {
        assert_eq!(derived("a", "b"), derived("a", "b"));
        assert_ne!(derived("a", "b"), derived("a", "c"));
        assert_ne!(derived("a", "b"), derived("c", "b"));
    }

    #[test]
    fn other_texts_are_no_guids() {
        assert!(is_guid("6F1CBA14-59d6-4a0f-9a3d-2f6f4b8f0a11"));
        assert!(!is_guid("6f1cba14-59d6-4a0f-9a3d-2f6f4b8f0a1"));
        assert!(!is_guid("6f1cba14059d6-4a0f-9a3d-2f6f4b8f0a11"));
        assert!(!is_guid("6f1cba14-59d6-4a0f-9a3d-2f6f4b8f0ag1"));
        let numbers = ["6F1CBA14-59d6-4a0f-9a3d-2f6f4b8f0a11", "6f1cba14-59D6-4a0f-9a3d-2f6f4b8f0a11"].map(number);
        assert_eq!(numbers, [Some(0x6f1c_ba14_59d6_4a0f_9a3d_2f6f_4b8f_0a11); 2]);
        assert_eq!(number("x"), None);
    }
}
