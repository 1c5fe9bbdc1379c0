//! Names of Sense nodes: log lines may have the first part only (`sense1`), of which Windows keeps 15 letters, or another letter case
//! than QRS (`SENSE1.lab.local`).

use std::collections::BTreeSet;
use std::net::IpAddr;

/// Windows cuts short names to so many letters (NetBIOS).
const SHORT: usize = 15;

/// Whether both are names of one node: alike in any letter case, or one is the first part of the other, or what Windows leaves
/// of it.
pub fn same(one: &str, other: &str) -> bool {
    let (one, other) = (one.trim_end_matches('.'), other.trim_end_matches('.'));
    if one.eq_ignore_ascii_case(other) {
        return true;
    }
    let is_address = |name: &str| name.parse::<IpAddr>().is_ok();
    let is_short = |name: &str| !name.contains('.');
    if is_address(one) || is_address(other) || !is_short(one) && !is_short(other) {
        return false;
    }
    let is_cut = |short: &str, long: &str| {
        is_short(short)
            && short.len() == SHORT
            && long.get(..SHORT).is_some_and(|part| part.eq_ignore_ascii_case(short))
    };
    let (first, second) = (first_part(one), first_part(other));
    first.eq_ignore_ascii_case(second) || is_cut(one, second) || is_cut(other, first)
}

/// How a node may be written where only exact names can be asked for: in whole or by the first part, as it is and in small and
/// capital letters.
pub fn spellings(name: &str) -> BTreeSet<String> {
    let parts = [name, if name.parse::<IpAddr>().is_ok() { name } else { first_part(name) }];
    parts.into_iter().flat_map(|part| [part.to_owned(), part.to_ascii_lowercase(), part.to_ascii_uppercase()]).collect()
}

fn first_part(name: &str) -> &str {
    name.split('.').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_full_names_are_of_one_node_and_two_full_ones_are_not() {
        for (one, other) in [
            ("sense1", "SENSE1"),
            ("Sense1", "sense1.lab.local"),
            ("sense1.lab.local.", "sense1.LAB.local"),
            ("", ""),
            ("SENSE-PRODUCTIO", "sense-production1.lab.local"),
            ("SENSE-PRODUCTIO", "sense-production1"),
        ] {
            assert!(same(one, other) && same(other, one), "{one} {other}");
        }
        for (one, other) in [
            ("sense1", "sense10.lab.local"),
            ("sense1.lab.local", "sense1.other.local"),
            ("10", "10.0.0.1"),
            ("10.0.0.1", "10.0.0.2"),
            ("", "sense1"),
            ("sense-producti", "sense-production1.lab.local"),
            ("sense-production", "sense-production1.lab.local"),
            ("sense-productio.lab.local", "sense-production1.lab.local"),
            ("sense-productio.lab.local", "sense-production1"),
        ] {
            assert!(!same(one, other) && !same(other, one), "{one} {other}");
        }
    }

    #[test]
    fn a_node_has_few_spellings() {
        let all: Vec<_> = spellings("Sense1.lab").into_iter().collect();
        assert_eq!(all, ["SENSE1", "SENSE1.LAB", "Sense1", "Sense1.lab", "sense1", "sense1.lab"]);
        assert_eq!(spellings("10.0.0.1").len(), 1);
    }
}
