//! Starts that are refused, and files that are not there.

use e2e::place::{PRIVATE, Place, fails_with};
use e2e::{Butler, command};

use super::says;

#[test]
fn an_address_that_is_not_of_this_machine() {
    let place = Place::new();
    // For documentation (RFC 5737): nobody has it.
    let output = place.start(&format!("{PRIVATE}udp: {{ listen: \"192.0.2.1:9998\", allowFrom: [127.0.0.1] }}\n"));
    fails_with(&output, &["192.0.2.1:9998", "`udp.listen`", "this machine has no such address"]);
    let rest = "rest: { listen: \"192.0.2.1:8080\", insecure: true }";
    let output = place.start(&PRIVATE.replace("rest: { listen: \"127.0.0.1:0\" }", rest));
    fails_with(&output, &["192.0.2.1:8080", "`rest.listen`", "this machine has no such address"]);
    let output = place.start(&format!("{PRIVATE}udp: {{ listen: sense:9998 }}\n"));
    assert_eq!(output.code, 2, "{output:?}");
    says(
        &output.stderr,
        &[":5:", "udp.listen: must be an IP address with a port, such as `0.0.0.0:9998`, not `sense:9998`"],
    );
}

#[test]
fn a_rest_certificate_that_cannot_be_read() {
    let place = Place::new();
    let rest = "rest: { listen: \"127.0.0.1:0\", tls: { certificate: nowhere/rest.pem, key: nowhere/rest.key } }";
    let output = place.start(&PRIVATE.replace("rest: { listen: \"127.0.0.1:0\" }", rest));
    assert_eq!(output.code, 2, "{output:?}");
    says(&output.stderr, &[":3:", " rest.tls: ", "nowhere/rest.pem", "cannot be read", "is the path right"]);
}

#[tokio::test]
async fn a_file_of_schedules_that_is_not_there() {
    let butler = Butler::start("").await;
    let config = butler.config().to_str().unwrap().to_owned();
    let output = command(&["schedules", "import", "/nowhere/schedules.yaml", "-c", &config]).await;
    assert_eq!(output.code, 1, "{output:?}");
    says(&output.stderr, &["/nowhere/schedules.yaml cannot be read", "No such file"]);
}
