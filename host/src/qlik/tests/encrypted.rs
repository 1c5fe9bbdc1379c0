//! Encrypted private keys in PEM form.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pkcs8::der::Encode as _;
use pkcs8::pkcs5::pbes2::{Kdf, Parameters};
use pkcs8::{EncryptedPrivateKeyInfo, PrivateKeyInfoRef, SecretDocument};
use proptest::prelude::*;
use qlik_simulator::Certificates as Generated;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use tempfile::TempDir;

use crate::config::Passphrase;
use crate::qlik::keys;
use crate::qlik::read_file::{KEY, ReadFile};
use crate::qlik::tls_error::TlsError;

const PASSPHRASE: &str = "correct horse";

fn testdata(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/qlik/testdata").join(name)).unwrap()
}

fn load(content: &[u8], passphrase: Option<&str>) -> Result<keys::Key, TlsError> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("client_key.pem");
    fs::write(&path, content).unwrap();
    keys::load(&ReadFile::read(KEY, &path).unwrap(), passphrase.map(Passphrase::new).as_ref())
}

fn refusal(content: impl AsRef<[u8]>, passphrase: Option<&str>) -> String {
    let text = load(content.as_ref(), passphrase).err().unwrap().to_string();
    assert!(text.contains("client_key.pem") && !text.contains(PASSPHRASE), "{text}");
    text
}

#[test]
fn keys_of_openssl_are_opened_in_each_form() {
    let plain = PrivateKeyDer::from_pem_slice(&testdata("encrypted/ec_key.pem")).unwrap();
    for name in ["openssl_aes128", "openssl_aes192", "openssl_aes256", "openssl_des3"] {
        let key = load(&testdata(&format!("encrypted/{name}.pem")), Some(PASSPHRASE)).unwrap();
        assert!(key.encrypted && key.der == plain, "{name}");
    }
    // The same key inside PKCS#8.
    let PrivateKeyDer::Sec1(plain) = plain else { panic!() };
    for name in ["pkcs8_aes128_sha1", "pkcs8_aes192", "pkcs8_aes256", "pkcs8_des3", "pkcs8_scrypt"] {
        let key = load(&testdata(&format!("encrypted/{name}.pem")), Some(PASSPHRASE)).unwrap();
        let inner = PrivateKeyInfoRef::try_from(key.der.secret_der()).unwrap();
        // Without the parameters, which stand in front in PKCS#8.
        assert_eq!(inner.private_key.as_bytes()[..39][7..], plain.secret_sec1_der()[..39][7..], "{name}");
        assert!(key.encrypted, "{name}");
    }
    let rsa = load(&testdata("encrypted/openssl_rsa_des3.pem"), Some(PASSPHRASE)).unwrap();
    assert_eq!(rsa.der, PrivateKeyDer::from_pem_slice(&testdata("rsa_client_key.pem")).unwrap());
}

#[test]
fn keys_of_this_day_and_plain_ones_are_opened() {
    let generated = Generated::generate().unwrap();
    let key = load(generated.encrypted_client_key_pem("pass").as_bytes(), Some("pass")).unwrap();
    let plain = load(generated.client_key_pem().as_bytes(), Some("not needed")).unwrap();
    assert!(key.encrypted && !plain.encrypted && key.der == plain.der);
    // Line breaks of Windows, text around the key.
    let text = generated.encrypted_client_key_pem("pass").replace('\n', "\r\n");
    assert!(load(format!("Bag Attributes\r\n  x: y\r\n{text}\r\nmore").as_bytes(), Some("pass")).unwrap().encrypted);
}

#[test]
fn a_passphrase_that_is_missing_or_wrong_is_told() {
    for name in ["openssl_aes256", "openssl_des3", "openssl_rsa_des3", "pkcs8_aes256", "pkcs8_des3", "pkcs8_scrypt"] {
        let key = testdata(&format!("encrypted/{name}.pem"));
        let missing = refusal(&key, None);
        assert!(
            missing.contains("there is no passphrase") && missing.contains("`certificates.passphrase`"),
            "{missing}"
        );
        for wrong in ["correct horsf", "correct horse ", "", "🦄"] {
            let text = refusal(&key, Some(wrong));
            assert!(text.contains("the passphrase does not open the key file"), "{name}: {text}");
        }
    }
}

/// Of 256 wrong passphrases one leaves a padding that is in order.
#[test]
fn no_wrong_passphrase_is_taken_for_another_fault() {
    for name in ["openssl_aes128", "pkcs8_aes192"] {
        let key = testdata(&format!("encrypted/{name}.pem"));
        for n in 0..600 {
            let text = refusal(&key, Some(&n.to_string()));
            assert!(text.contains("the passphrase does not open"), "{name} {n}: {text}");
        }
    }
}

#[test]
fn encryption_that_is_not_known_is_named() {
    for (name, found) in [
        ("pkcs8_md5_des", "MD5 and DES (1.2.840.113549.1.5.3)"),
        ("pkcs8_sha1_3des", "SHA-1 and 3DES (1.2.840.113549.1.12.1.3)"),
        ("openssl_camellia", "CAMELLIA-128-CBC"),
    ] {
        let text = refusal(testdata(&format!("encrypted/{name}.pem")), Some(PASSPHRASE));
        assert!(text.contains(found) && text.contains("openssl pkcs8 -topk8 -v2 aes256"), "{text}");
    }
}

#[test]
fn damaged_keys_say_where() {
    let text = String::from_utf8(testdata("encrypted/openssl_aes128.pem")).unwrap();
    let pkcs8 = String::from_utf8(testdata("encrypted/pkcs8_aes256.pem")).unwrap();
    let iv = text.split_once("CBC,").unwrap().1.split_once('\n').unwrap().0;
    for (content, expected) in [
        (text[..text.len() - 40].to_owned(), "the end of the key is missing"),
        (pkcs8[..pkcs8.len() - 40].to_owned(), "the end of the key is missing"),
        (text.replace(iv, "ABCD"), "another length"),
        (text.replace(iv, &format!("{iv}00")), "another length"),
        (text.replace(iv, "XY"), "not hexadecimal"),
        (text.replace(iv, "+A+B"), "not hexadecimal"),
        (text.replace("DEK-Info", "Info"), "`DEK-Info`"),
        (text.replace("EC PRIVATE", "DSA PRIVATE"), "it is of another kind, `DSA PRIVATE KEY`"),
        (
            pkcs8.replace("-----BEGIN ENCRYPTED PRIVATE KEY-----\n", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA"),
            "damaged",
        ),
    ] {
        let text = refusal(content, Some(PASSPHRASE));
        assert!(text.contains(expected), "{text}");
    }
}

/// An encrypted key in PEM form.
fn pem(der: &[u8]) -> String {
    format!("-----BEGIN ENCRYPTED PRIVATE KEY-----\n{}\n-----END ENCRYPTED PRIVATE KEY-----\n", STANDARD.encode(der))
}

/// An encrypted key whose parameters were changed after encryption.
fn with_parameters(change: impl FnOnce(&mut Parameters)) -> String {
    let mut parameters = Parameters::generate_pbkdf2_sha256_aes256cbc(2, b"8 bytes.", [7; 16]).unwrap();
    change(&mut parameters);
    let info = EncryptedPrivateKeyInfo {
        encryption_algorithm: parameters.into(),
        encrypted_data: pkcs8::der::asn1::OctetStringRef::new(&[7; 32]).unwrap(),
    };
    pem(&info.to_der().unwrap())
}

#[test]
fn what_would_take_too_long_is_not_tried() {
    let scrypt = |cost: u64, block: u16, passes: u16| {
        with_parameters(|parameters| {
            let params = pkcs8::pkcs5::scrypt::Params::new(4, 8, 1).unwrap();
            let mut scrypt = Parameters::generate_scrypt_aes256cbc(params, b"8 bytes.", [7; 16]).unwrap();
            let Kdf::Scrypt(it) = &mut scrypt.kdf else { panic!() };
            (it.cost_parameter, it.block_size, it.parallelization) = (cost, block, passes);
            *parameters = scrypt;
        })
    };
    let rounds = |rounds: u32| {
        with_parameters(|parameters| {
            let Kdf::Pbkdf2(it) = &mut parameters.kdf else { panic!() };
            it.iteration_count = rounds;
        })
    };
    let begin = Instant::now();
    for (key, cost) in [
        (rounds(u32::MAX), "4294967295 rounds of PBKDF2"),
        (rounds(10_000_001), "10000001 rounds"),
        (scrypt(1 << 40, 8, 1), "scrypt with 1073741824 MB"),
        (scrypt(u64::MAX, u16::MAX, u16::MAX), "scrypt with"),
        (scrypt(1 << 18, 8, 1000), "1000 times"),
        (scrypt(1 << 10, 8, u16::MAX), "65535 times"),
    ] {
        let text = refusal(key, Some(PASSPHRASE));
        assert!(text.contains("more work than any usual export") && text.contains(cost), "{text}");
    }
    assert!(begin.elapsed() < Duration::from_secs(1));
    let weak = refusal(scrypt(3, 8, 1), Some(PASSPHRASE));
    assert!(weak.contains("is damaged"), "{weak}");
    assert!(refusal(rounds(1), Some(PASSPHRASE)).contains("does not open"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_are_too_odd(
        which in 0..8_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        der in any::<bool>(),
    ) {
        let names = [
            "openssl_aes128", "openssl_des3", "openssl_camellia", "pkcs8_aes128_sha1", "pkcs8_aes192", "pkcs8_des3",
            "pkcs8_md5_des", "ec_key",
        ];
        let mut content = testdata(&format!("encrypted/{}.pem", names[which]));
        if der && names[which].starts_with("pkcs8") {
            let (_, document) = SecretDocument::from_pem(std::str::from_utf8(&content).unwrap()).unwrap();
            let mut bytes = document.as_bytes().to_vec();
            // The number of rounds would make it slow.
            for (at, byte) in &changes {
                let at = at.index(bytes.len());
                if bytes[at.saturating_sub(3)..].first() != Some(&2) {
                    bytes[at] = *byte;
                }
            }
            content = pem(&bytes).into_bytes();
        } else {
            for (at, byte) in changes {
                let at = at.index(content.len());
                content[at] = byte;
            }
        }
        let _ = load(&content, Some(PASSPHRASE));
    }

    #[test]
    fn nor_is_the_initial_value_of_3des(length in 0..20_usize) {
        let content = testdata("encrypted/pkcs8_des3.pem");
        let (_, document) = SecretDocument::from_pem(std::str::from_utf8(&content).unwrap()).unwrap();
        let bytes = document.as_bytes();
        // 1.2.840.113549.3.7, then the initial value: an octet string of eight bytes.
        let oid = [0x06, 0x08, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x03, 0x07, 0x04, 0x08];
        let at = bytes.windows(oid.len()).position(|window| window == oid).unwrap() + oid.len();
        let mut iv = bytes[at..at + 8].to_vec();
        iv.resize(length, 7);
        let length = u8::try_from(length).unwrap();
        let cipher = [&[0x30, 12 + length][..], &oid[..11], &[length], &iv].concat();
        // The sequence of the cipher has two bytes in front of its OID; those around it are written anew.
        let algorithm_at = bytes.windows(11).position(|window| window == pbes2_oid()).unwrap();
        let kdf = &bytes[algorithm_at + 13..at - oid.len() - 2];
        let inner = sequence(&[kdf, &cipher].concat());
        let algorithm = sequence(&[&pbes2_oid()[..], &inner].concat());
        let whole = sequence(&[&algorithm[..], &bytes[at + 8..]].concat());
        let text = pem(&whole);
        prop_assert_eq!(load(text.as_bytes(), Some(PASSPHRASE)).is_ok(), length == 8);
    }
}

fn pbes2_oid() -> [u8; 11] {
    [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0d]
}

fn sequence(content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len());
    let head = match length {
        Ok(length) if length < 128 => vec![0x30, length],
        Ok(length) => vec![0x30, 0x81, length],
        Err(_) => {
            vec![0x30, 0x82, u8::try_from(content.len() >> 8).unwrap(), u8::try_from(content.len() & 0xff).unwrap()]
        }
    };
    [head, content.to_vec()].concat()
}
