//! Files as editors and shells of Windows write them: CRLF, a mark at the beginning, UTF-16; and letters beyond ASCII.

use e2e::{Butler, Fields, Sink, Wine, failure, fields};
use serde_json::json;

use super::{folder, stops, wine};

#[tokio::test]
async fn config_templates_and_secrets_may_have_crlf_and_a_mark_at_the_beginning() {
    let (wine, sink, folder) = (wine(), Sink::start().await, folder());
    let write = |name: &str, text: &str| {
        let text = format!("\u{feff}{}", text.replace('\n', "\r\n"));
        std::fs::write(folder.path().join(name), text).unwrap();
    };
    let config = format!(
        "plugins:\n  - use: webhook\n    settings:\n      url: \"{}\"\n      headers: {{ X-Key: \"${{file:secret}}\" }}\n      \
         templateFile: body.json\n",
        sink.url("/")
    );
    let path = Butler::prepare(&folder, &config);
    let whole = super::text(&path);
    write("butler.yaml", &whole);
    write("body.json", "{\n  \"name\": \"{{taskName}}\"\n}\n");
    write("secret", "gehëim\n");
    let butler = wine.butler_as_is(&folder, &[]).await;
    let name = "Übersicht łódź \"Ελλάδα\"";
    butler.send(&[failure(&Fields { task_name: name.to_owned(), ..fields() })]);
    let request = sink.wait(1).await[0].clone();
    assert_eq!(request.json(), json!({ "name": name }), "{request:?}");
    assert_eq!(request.headers["x-key"].as_bytes(), "gehëim".as_bytes());
    assert!(!butler.log().contains("template"), "{}", butler.log());
    stops(butler).await;

    // What an older PowerShell writes by `>`.
    let utf16 = |text: &str| {
        "\u{feff}".encode_utf16().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect::<Vec<_>>()
    };
    std::fs::write(folder.path().join("secret"), utf16("geheim\r\n")).unwrap();
    let check = wine.ask(&["check", "-c", &Wine::path(&path)]).await;
    assert_eq!(check.code, 2, "{check:?}");
    assert!(check.stderr.contains("UTF-16") && check.stderr.contains("save it as UTF-8"), "{check:?}");
    std::fs::write(&path, utf16(&whole)).unwrap();
    let check = wine.ask(&["check", "-c", &Wine::path(&path)]).await;
    assert_eq!(check.code, 2, "{check:?}");
    assert!(check.stderr.contains("UTF-16") && check.stderr.contains("save it as UTF-8"), "{check:?}");
}
