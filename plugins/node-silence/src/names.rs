//! Names of nodes: log lines may have the first part only (`sense1`), or another letter case than QRS (`SENSE1.lab.local`).

use std::net::IpAddr;

/// Whether both are names of one node: alike in any letter case, or one is the first part of the other.
pub(crate) fn same(one: &str, other: &str) -> bool {
    let (one, other) = (one.trim_end_matches('.'), other.trim_end_matches('.'));
    if one.eq_ignore_ascii_case(other) {
        return true;
    }
    let is_address = |name: &str| name.parse::<IpAddr>().is_ok();
    let is_short = |name: &str| !name.contains('.');
    if is_address(one) || is_address(other) || is_short(one) == is_short(other) {
        return false;
    }
    first_part(one).eq_ignore_ascii_case(first_part(other))
}

fn first_part(name: &str) -> &str {
    name.split('.').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_full_names_are_of_one_node_and_two_full_ones_are_not() {
        for (one, other) in
            [("sense1", "SENSE1"), ("Sense1", "sense1.lab.local"), ("sense1.lab.local.", "sense1.LAB.local"), ("", "")]
        {
            assert!(same(one, other) && same(other, one), "{one} {other}");
        }
        for (one, other) in [
            ("sense1", "sense10.lab.local"),
            ("sense1.lab.local", "sense1.other.local"),
            ("10", "10.0.0.1"),
            ("10.0.0.1", "10.0.0.2"),
            ("", "sense1"),
        ] {
            assert!(!same(one, other) && !same(other, one), "{one} {other}");
        }
    }
}
