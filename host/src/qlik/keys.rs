//! Private keys in PEM files: PKCS#8, PKCS#1, SEC1, plain or encrypted.
//!
//! Encrypted ones come in two forms: PKCS#8 with PBES2 (RFC 8018, section `ENCRYPTED PRIVATE KEY`), and that of OpenSSL
//! before 1.0, a section with the headers `Proc-Type: 4,ENCRYPTED` and `DEK-Info: CIPHER,IV` (RFC 1421, 4.6).

use aes::{Aes128, Aes192, Aes256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockCipherDecrypt, BlockModeDecrypt, KeyInit, KeyIvInit};
use des::TdesEde3;
use md5::{Digest as _, Md5};
use pkcs8::der::asn1::{AnyRef, OctetStringRef};
use pkcs8::der::{self, Decode as _, ErrorKind, Reader as _, SliceReader};
use pkcs8::pkcs5::pbes2::{self, Kdf};
use pkcs8::pkcs5::{self, EncryptionScheme};
use pkcs8::{AlgorithmIdentifierRef, ObjectIdentifier, PrivateKeyInfoRef};
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};

use super::read_file::ReadFile;
use super::tls_error::TlsError;
use crate::config::Passphrase;

/// Most rounds of PBKDF2: ten times what is recommended today, some seconds.
const MOST_ROUNDS: u32 = 10_000_000;
/// Most memory of scrypt in bytes, and how often it may be gone through: twice what OpenSSL takes by itself.
const MOST_MEMORY: u64 = 256 << 20;
const MOST_PASSES: u64 = 4;

const DES_EDE3_CBC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.3.7");

/// A private key.
pub(super) struct Key {
    /// The key, in one of the forms that TLS takes.
    pub(super) der: PrivateKeyDer<'static>,
    /// Whether a passphrase was needed.
    pub(super) encrypted: bool,
}

/// The first private key of a file.
pub(super) fn load(file: &ReadFile, passphrase: Option<&Passphrase>) -> Result<Key, TlsError> {
    file.refuse_pfx()?;
    let text = String::from_utf8_lossy(file.content());
    let section = Section::first_key(&text);
    let (encrypted, der) = match &section {
        Some(section) if section.label == "ENCRYPTED PRIVATE KEY" => (true, pkcs8(file, section, passphrase)?),
        Some(section) if section.header("Proc-Type").is_some() => (true, traditional(file, section, passphrase)?),
        _ => {
            let key = PrivateKeyDer::from_pem_slice(file.content()).map_err(|error| match error {
                pem::Error::NoItemsFound => TlsError::NoKey { path: file.path().to_owned(), found: file.found() },
                other => file.damaged(&other),
            })?;
            (false, key)
        }
    };
    match any_supported_type(&der) {
        Ok(_) => Ok(Key { der, encrypted }),
        Err(error) => Err(TlsError::BadKey { path: file.path().to_owned(), reason: error.to_string() }),
    }
}

/// A section of a PEM file with a private key.
struct Section<'a> {
    label: &'a str,
    headers: Vec<(&'a str, &'a str)>,
    base64: String,
    /// Whether its last line is there.
    ended: bool,
}

impl<'a> Section<'a> {
    fn first_key(text: &'a str) -> Option<Self> {
        let mut lines = text.lines().map(str::trim);
        let label = lines.by_ref().find_map(|line| {
            let label = line.strip_prefix("-----BEGIN ")?.strip_suffix("-----")?;
            label.ends_with("PRIVATE KEY").then_some(label)
        })?;
        let mut section = Self { label, headers: Vec::new(), base64: String::new(), ended: false };
        for line in lines {
            if line.starts_with("-----END ") {
                section.ended = true;
                break;
            }
            match line.split_once(':') {
                Some((name, value)) => section.headers.push((name.trim(), value.trim())),
                None => section.base64.push_str(line),
            }
        }
        Some(section)
    }

    fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    fn body(&self, file: &ReadFile) -> Result<Vec<u8>, TlsError> {
        if !self.ended {
            return Err(file.damaged(&"the end of the key is missing"));
        }
        STANDARD.decode(&self.base64).map_err(|error| file.damaged(&error))
    }
}

fn needed<'p>(file: &ReadFile, passphrase: Option<&'p Passphrase>) -> Result<&'p [u8], TlsError> {
    let missing = || TlsError::NoPassphrase { what: file.what(), path: file.path().to_owned() };
    passphrase.map(|passphrase| passphrase.reveal().as_bytes()).ok_or_else(missing)
}

fn wrong(file: &ReadFile) -> TlsError {
    TlsError::WrongPassphrase { what: file.what(), path: file.path().to_owned() }
}

fn unknown(file: &ReadFile, found: impl Into<String>) -> TlsError {
    TlsError::UnknownEncryption { what: file.what(), path: file.path().to_owned(), found: found.into() }
}

/// `EncryptedPrivateKeyInfo` of RFC 5958, 3.
fn pkcs8(
    file: &ReadFile,
    section: &Section<'_>,
    passphrase: Option<&Passphrase>,
) -> Result<PrivateKeyDer<'static>, TlsError> {
    let body = section.body(file)?;
    let parts = SliceReader::new(&body).and_then(|mut reader| {
        reader.sequence(|reader| {
            let algorithm: AlgorithmIdentifierRef<'_> = reader.decode()?;
            Ok::<_, der::Error>((algorithm, <&OctetStringRef>::decode(reader)?))
        })
    });
    let (algorithm, data) = parts.map_err(|error| file.damaged(&error))?;
    let parameters = pbes2(file, algorithm)?;
    check_cost(file, &parameters.kdf)?;
    let plain = match parameters.decrypt(needed(file, passphrase)?, data.as_bytes()) {
        Ok(plain) => plain,
        Err(pkcs5::Error::UnsupportedAlgorithm { oid }) => return Err(unknown(file, name(oid))),
        Err(error @ pkcs5::Error::AlgorithmParametersInvalid { .. }) => return Err(file.damaged(&error)),
        Err(_) => return Err(wrong(file)),
    };
    // One wrong passphrase in 256 leaves a padding that is in order.
    if PrivateKeyInfoRef::from_der(&plain).is_err() {
        return Err(wrong(file));
    }
    Ok(PrivatePkcs8KeyDer::from(plain).into())
}

fn pbes2(file: &ReadFile, algorithm: AlgorithmIdentifierRef<'_>) -> Result<pbes2::Parameters, TlsError> {
    let Some(parameters) = algorithm.parameters.filter(|_| algorithm.oid == pbes2::PBES2_OID) else {
        return Err(unknown(file, name(algorithm.oid)));
    };
    let cipher = parameters.sequence(|reader| {
        let _: AlgorithmIdentifierRef<'_> = reader.decode()?;
        AlgorithmIdentifierRef::decode(reader)
    });
    let cipher = cipher.map_err(|error: der::Error| file.damaged(&error))?;
    let iv = cipher.parameters.and_then(|iv| iv.decode_as::<&OctetStringRef>().ok());
    // The library takes a shorter one for granted to be none.
    if cipher.oid == DES_EDE3_CBC && iv.is_none_or(|iv| iv.as_bytes().len() != 8) {
        return Err(file.damaged(&"the initial value of its encryption has another length"));
    }
    match EncryptionScheme::try_from(algorithm) {
        Ok(EncryptionScheme::Pbes2(parameters)) => Ok(parameters),
        Ok(_) => Err(unknown(file, name(algorithm.oid))),
        Err(error) => match error.kind() {
            ErrorKind::OidUnknown { oid } => Err(unknown(file, name(oid))),
            _ => Err(file.damaged(&error)),
        },
    }
}

/// Deriving a key is slow on purpose; how slow, the file says.
fn check_cost(file: &ReadFile, kdf: &Kdf) -> Result<(), TlsError> {
    let cost = match kdf {
        Kdf::Pbkdf2(it) if it.iteration_count > MOST_ROUNDS => format!("{} rounds of PBKDF2", it.iteration_count),
        Kdf::Scrypt(it) => {
            let memory = it.cost_parameter.saturating_mul(128 * u64::from(it.block_size));
            let passes = u64::from(it.parallelization);
            if memory <= MOST_MEMORY && passes.saturating_mul(memory) <= MOST_PASSES * MOST_MEMORY {
                return Ok(());
            }
            format!("scrypt with {} MB of memory, {passes} times", memory >> 20)
        }
        _ => return Ok(()),
    };
    Err(TlsError::TooCostly { what: file.what(), path: file.path().to_owned(), cost })
}

/// What an encryption is called, by its number.
pub(super) fn name(oid: ObjectIdentifier) -> String {
    let number = oid.to_string();
    let name = match number.as_str() {
        "1.2.840.113549.1.5.3" => "MD5 and DES",
        "1.2.840.113549.1.5.6" => "MD5 and RC2",
        "1.2.840.113549.1.5.10" => "SHA-1 and DES",
        "1.2.840.113549.1.5.11" => "SHA-1 and RC2",
        "1.2.840.113549.1.12.1.1" => "SHA-1 and RC4",
        "1.2.840.113549.1.12.1.3" => "SHA-1 and 3DES",
        "1.2.840.113549.1.12.1.5" => "SHA-1 and RC2 with 128 bits",
        "1.2.840.113549.1.12.1.6" => "SHA-1 and RC2 with 40 bits",
        "1.3.14.3.2.7" => "DES",
        _ => return number,
    };
    format!("{name} ({number})")
}

/// The form of OpenSSL before PKCS#8.
fn traditional(
    file: &ReadFile,
    section: &Section<'_>,
    passphrase: Option<&Passphrase>,
) -> Result<PrivateKeyDer<'static>, TlsError> {
    let body = section.body(file)?;
    let (cipher, iv) = section.header("DEK-Info").and_then(|header| header.split_once(',')).unwrap_or_default();
    let decrypt = match cipher {
        "AES-128-CBC" => decrypt::<Aes128>,
        "AES-192-CBC" => decrypt::<Aes192>,
        "AES-256-CBC" => decrypt::<Aes256>,
        "DES-EDE3-CBC" => decrypt::<TdesEde3>,
        "" => return Err(file.damaged(&"it does not say how the key is encrypted (`DEK-Info`)")),
        other => return Err(unknown(file, other.chars().take(40).collect::<String>())),
    };
    let iv = hex(iv).ok_or_else(|| file.damaged(&"the initial value in `DEK-Info` is not hexadecimal"))?;
    let plain = match decrypt(needed(file, passphrase)?, &iv, &body) {
        Ok(plain) => plain,
        Err(Refusal::Length) => {
            return Err(file.damaged(&"the initial value in `DEK-Info` has another length than the cipher needs"));
        }
        Err(Refusal::Padding) => return Err(wrong(file)),
    };
    if AnyRef::from_der(&plain).is_err() {
        return Err(wrong(file));
    }
    match section.label {
        "RSA PRIVATE KEY" => Ok(PrivatePkcs1KeyDer::from(plain).into()),
        "EC PRIVATE KEY" => Ok(PrivateSec1KeyDer::from(plain).into()),
        "PRIVATE KEY" => Ok(PrivatePkcs8KeyDer::from(plain).into()),
        other => {
            let reason = format!("it is of another kind, `{}`", other.chars().take(40).collect::<String>());
            Err(TlsError::BadKey { path: file.path().to_owned(), reason })
        }
    }
}

enum Refusal {
    Length,
    Padding,
}

fn decrypt<C: BlockCipherDecrypt + KeyInit>(passphrase: &[u8], iv: &[u8], data: &[u8]) -> Result<Vec<u8>, Refusal> {
    let salt = iv.get(..8).ok_or(Refusal::Length)?;
    let key = derived(passphrase, salt, C::key_size());
    let cipher = cbc::Decryptor::<C>::new_from_slices(&key, iv).map_err(|_| Refusal::Length)?;
    cipher.decrypt_padded_vec::<Pkcs7>(data).map_err(|_| Refusal::Padding)
}

/// `EVP_BytesToKey` of OpenSSL with MD5 and one round: digests of the digest before, passphrase and salt.
fn derived(passphrase: &[u8], salt: &[u8], length: usize) -> Vec<u8> {
    let mut key = Vec::new();
    let mut last = Vec::new();
    while key.len() < length {
        last = Md5::new().chain_update(&last).chain_update(passphrase).chain_update(salt).finalize().to_vec();
        key.extend_from_slice(&last);
    }
    key.truncate(length);
    key
}

fn hex(digits: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = digits.trim().chars().map(|c| c.to_digit(16)?.try_into().ok()).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}
