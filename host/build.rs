//! For Windows: what the executable says of itself (version, product), and the message table of its events.

use std::env;
use std::error::Error;

/// One text for each level of the crate `winlog2`, which is what the event is called with: `%1`, a line break. A message table as
/// `MESSAGE_RESOURCE_DATA` of winnt.h lays it out: the number of blocks; each with its first and last id and where its text
/// begins; the texts, with their length in bytes and 1 for UTF-16.
const EVENTS: &str = r"
1 11
BEGIN
  3L,
  0x40000003L, 0x40000003L, 40L,
  0x80000002L, 0x80000002L, 56L,
  0xC0000001L, 0xC0000001L, 72L,
  16, 1, 0x25, 0x31, 13, 10, 0, 0,
  16, 1, 0x25, 0x31, 13, 10, 0, 0,
  16, 1, 0x25, 0x31, 13, 10, 0, 0
END
";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var("CARGO_CFG_TARGET_OS")? == "windows" {
        let mut resource = winresource::WindowsResource::new();
        resource.set("ProductName", "Butler").append_rc_content(EVENTS).compile_for("butler")?;
    }
    Ok(())
}
