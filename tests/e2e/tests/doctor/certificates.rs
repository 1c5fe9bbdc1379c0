//! Certificates of every wrong kind, each with its own message.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, SystemTime};

use e2e::Sense;
use e2e::qlik::{Certificates, Ends, Options};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::{Said, doctor, only_owner, sense, sense_with, write};

const DAY: Duration = Duration::from_hours(24);

/// Says what is wrong with files that differ from the exported ones.
async fn with(sense: &Sense, files: &[(&str, &[u8])], section: &str) -> Said {
    let folder = sense.folder().join("certificates");
    sense.certificates().write_to(&folder).unwrap();
    for (name, content) in files {
        fs::write(folder.join(name), content).unwrap();
    }
    let section = if section.is_empty() { sense.section("") } else { sense.section_by(section, "") };
    doctor(&write(sense.folder(), &section), &[]).await
}

#[tokio::test]
async fn each_wrong_kind_of_file_has_its_own_message() {
    let sense = sense().await;
    let own = sense.certificates();
    let other = Certificates::generate().unwrap();
    let der = CertificateDer::from_pem_slice(own.client_pem().as_bytes()).unwrap().to_vec();
    let key = KeyPair::generate().unwrap();
    let request = CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
    let (public, encrypted) = (key.public_key_pem(), own.encrypted_client_key_pem("pass"));
    let (cut, pfx) = (&own.client_pem()[..200], own.client_pfx("right"));
    let (own_key, other_key, binary) = (own.client_key_pem(), other.client_key_pem(), key.serialize_der());
    let by_pfx = "{ pfx: certificates/client.pfx, passphrase: wrong-one, ca: certificates/root.pem }";
    let cases: [(&str, &[u8], &str, &str); 17] = [
        ("client.pem", &der, "", "client.pem has no certificate in it: it is a certificate in DER"),
        (
            "client.pem",
            request.as_bytes(),
            "",
            "client.pem has no certificate in it: it is a request for a certificate (CSR)",
        ),
        ("client.pem", own_key.as_bytes(), "", "client.pem has no certificate in it: it is a private key"),
        ("client.pem", b" \n", "", "client.pem has no certificate in it: it is empty"),
        ("client.pem", b"hello", "", "client.pem has no certificate in it: it is no PEM text"),
        ("client.pem", cut.as_bytes(), "", "client.pem is damaged"),
        ("client.pem", &pfx, "", "client.pem is a PFX file"),
        (
            "client_key.pem",
            own.client_pem().as_bytes(),
            "",
            "client_key.pem has no private key in it: it is a certificate",
        ),
        ("client_key.pem", request.as_bytes(), "", "client_key.pem has no private key in it: it is a request"),
        ("client_key.pem", public.as_bytes(), "", "client_key.pem has no private key in it: it is a public key"),
        ("client_key.pem", &binary, "", "client_key.pem has no private key in it: it is DER"),
        ("client_key.pem", b"", "", "client_key.pem has no private key in it: it is empty"),
        ("client_key.pem", encrypted.as_bytes(), "", "client_key.pem is encrypted, and there is no passphrase"),
        ("client_key.pem", other_key.as_bytes(), "", "does not belong to the certificate"),
        ("root.pem", b"", "", "root.pem has no certificate in it: it is empty"),
        ("client.pfx", &pfx, by_pfx, "the passphrase does not open the PFX file"),
        ("client.pfx", own.client_pem().as_bytes(), by_pfx, "client.pfx cannot be used, it is PEM text"),
    ];
    let mut texts = BTreeMap::new();
    for (name, content, section, words) in cases {
        let said = with(&sense, &[(name, content)], section).await;
        said.only_fails(&["qlik certificates"]);
        let text = said.finds("qlik certificates", "failed", &[words]);
        // What to do is a part of each.
        assert!(text.contains(['(', ':']), "{text}");
        assert_eq!(texts.insert(text, words), None, "{words}");
    }
    let none = "{ client: certificates/none.pem, key: certificates/client_key.pem, ca: certificates/root.pem }";
    let said = with(&sense, &[], none).await;
    said.finds("qlik certificates", "failed", &["none.pem cannot be read"]);
}

#[tokio::test]
async fn certificates_that_are_over_are_told_with_their_day_and_those_that_end_soon_are_noted() {
    let past = Some(SystemTime::now() - DAY * 3);
    for (ends, link, words, also) in [
        (Ends { client: past, ..Ends::default() }, "certificate client", "client.pem has expired (20", Some("qlik")),
        (Ends { server: past, ..Ends::default() }, "certificate server", "has expired (20", Some("qlik")),
        (Ends { client: Some(SystemTime::now() + DAY * 20), ..Ends::default() }, "", "", None),
    ] {
        let sense = sense_with(Options::default().certificates(Certificates::ending(ends).unwrap())).await;
        let said = with(&sense, &[], "").await;
        if let Some(also) = also {
            said.finds(link, "failed", &[words]);
            said.finds(also, "failed", &[]);
            said.finds("certificate chain", "ok", &[]);
            said.only_fails(&[link, also]);
        } else {
            said.only_fails(&[]);
            said.finds("certificate client", "note", &["valid for 20 more days", "QMC"]);
        }
    }
}

#[tokio::test]
async fn a_client_certificate_that_is_not_valid_yet_or_for_servers_alone_is_told() {
    let sense = sense().await;
    let early = sense.certificates().odd_client(|params| params.not_before = (SystemTime::now() + DAY * 2).into());
    let server = sense
        .certificates()
        .odd_client(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    for (odd, words) in [
        (early.unwrap(), ["it is not valid yet", "compare this machine's clock"]),
        (server.unwrap(), ["it is not for clients", "take the client's files"]),
    ] {
        let (client, key) = (odd.client_pem().to_owned(), odd.client_key_pem());
        let said = with(&sense, &[("client.pem", client.as_bytes()), ("client_key.pem", key.as_bytes())], "").await;
        said.finds("certificate chain", "failed", &words);
        said.only_fails(&["qlik", "certificate chain"]);
    }
}

#[tokio::test]
async fn those_of_tls_profiles_are_told_as_well() {
    let folder = tempfile::tempdir().unwrap();
    only_owner(folder.path());
    let profile = "tls: { desk: { client: certs/client.pem, key: certs/client_key.pem, ca: certs/root.pem } }\n";
    let of = async |ends: Ends| {
        Certificates::ending(ends).unwrap().write_to(folder.path().join("certs")).unwrap();
        doctor(&write(folder.path(), profile), &[]).await
    };
    let said = of(Ends::default()).await;
    said.only_fails(&[]);
    said.finds("certificate tls.desk", "ok", &["the client certificate is valid until 4096"]);
    said.finds("certificate tls.desk", "ok", &["the authority is valid until 4096"]);

    let now = SystemTime::now();
    let said = of(Ends { client: Some(now - DAY * 3), root: Some(now + DAY * 20), server: None }).await;
    said.only_fails(&["certificate tls.desk"]);
    said.finds(
        "certificate tls.desk",
        "failed",
        &["the client certificate ", "client.pem has expired (20", "put a new one and its key", "`tls.desk`"],
    );
    said.finds("certificate tls.desk", "note", &["root.pem is valid for 20 more days", "`tls.desk.ca`"]);

    fs::remove_file(folder.path().join("certs/client_key.pem")).unwrap();
    let said = doctor(&write(folder.path(), profile), &[]).await;
    said.only_fails(&["certificate tls.desk"]);
    said.finds("certificate tls.desk", "failed", &["client_key.pem cannot be read"]);
}

#[tokio::test]
async fn a_certificate_of_another_site_is_told_on_both_sides() {
    let sense = sense().await;
    let other = Certificates::generate().unwrap();
    let (client, key, root) = (other.client_pem().to_owned(), other.client_key_pem(), other.root_pem());
    let said = with(&sense, &[("client.pem", client.as_bytes()), ("client_key.pem", key.as_bytes())], "").await;
    said.finds("qlik", "failed", &["it refuses our client certificate"]);
    said.finds("certificate chain", "failed", &["not issued by the authority", "one export of the QMC"]);
    said.only_fails(&["qlik", "certificate chain"]);

    let said = with(&sense, &[("root.pem", root.as_bytes())], "").await;
    said.finds("qlik", "failed", &["is not from the authority in `certificates.ca`"]);
    said.finds("certificate chain", "failed", &["not issued by the authority"]);

    // Trusted beside the site's own: the server is known, and it is the client that is foreign.
    let both = format!("{}{root}", sense.certificates().root_pem());
    let files: [(&str, &[u8]); 1] = [("root.pem", both.as_bytes())];
    let said = with(&sense, &files, "").await;
    said.finds("certificate chain", "ok", &[]);
    said.only_fails(&[]);
}

#[tokio::test]
async fn a_server_of_another_name_is_told_with_the_way_out() {
    let sense = sense_with(Options::default().without_subject_alt_name()).await;
    let said = with(&sense, &[], "").await;
    said.finds("qlik", "failed", &["its certificate is for another name", "`verify: chain`"]);
    said.only_fails(&["qlik"]);
    let unchecked = write(sense.folder(), &sense.section("verify: none"));
    doctor(&unchecked, &[]).await.finds("certificate chain", "note", &["`verify: none`"]);
}
