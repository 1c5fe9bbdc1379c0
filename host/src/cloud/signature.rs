//! Signatures of webhook messages: header `Qlik-Signature`, HMAC-SHA256 of the raw body in hexadecimal.
//!
//! Format: Qlik's developer portal, "Qlik Cloud system events", "Verify webhook payload signature".

use ring::hmac;

/// The header's name.
pub const HEADER: &str = "qlik-signature";

/// What some senders write in front.
const SCHEME: &str = "sha256=";
const BYTES: usize = 32;

/// A tenant's webhook secret, ready for use.
pub(super) fn key(secret: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, secret)
}

/// Whether a body was signed with a key. The comparison takes the same time wherever the signatures differ.
pub(super) fn fits(key: &hmac::Key, body: &[u8], signature: &str) -> bool {
    // Of a signature that is none, one is made that fits nothing, so that the time tells nothing either.
    let bytes = decode(signature);
    hmac::verify(key, body, &bytes.unwrap_or_default()).is_ok() && bytes.is_some()
}

fn decode(signature: &str) -> Option<[u8; BYTES]> {
    let text = signature.trim();
    let scheme = text.get(..SCHEME.len()).filter(|start| start.eq_ignore_ascii_case(SCHEME));
    let digits = &text.as_bytes()[scheme.map_or(0, str::len)..];
    if digits.len() != 2 * BYTES {
        return None;
    }
    let mut bytes = [0; BYTES];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        *byte = u8::try_from(digit(0)? * 16 + digit(1)?).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 4231, test case 2.
    const KEY: &[u8] = b"Jefe";
    const BODY: &[u8] = b"what do ya want for nothing?";
    const SIGNATURE: &str = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";

    #[test]
    fn what_fits_may_be_written_in_either_case_and_with_the_name_of_the_hash() {
        let key = key(KEY);
        for signature in [
            SIGNATURE.to_owned(),
            SIGNATURE.to_ascii_uppercase(),
            format!("sha256={SIGNATURE}"),
            format!(" SHA256={} ", SIGNATURE.to_ascii_uppercase()),
        ] {
            assert!(fits(&key, BODY, &signature), "{signature}");
        }
    }

    #[test]
    fn nothing_else_fits() {
        let key = key(KEY);
        let zeros = "0".repeat(64);
        for signature in
            ["", "sha256=", &SIGNATURE[1..], &format!("{SIGNATURE}00"), &zeros, &format!("g{}", &SIGNATURE[1..])]
        {
            assert!(!fits(&key, BODY, signature), "{signature}");
        }
        assert!(!fits(&key, b"what do ya want for nothing!", SIGNATURE));
        assert!(!fits(&super::key(b"jefe"), BODY, SIGNATURE));
    }

    proptest! {
        #[test]
        fn no_signature_panics_or_fits_by_chance(signature in "\\PC{0,90}", body in prop::collection::vec(any::<u8>(), 0..50)) {
            prop_assert!(!fits(&key(b"a secret that nobody guesses"), &body, &signature));
        }
    }
}
