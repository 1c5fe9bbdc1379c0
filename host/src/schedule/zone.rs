//! Time zones by their names in the database of IANA.

use jiff::tz::{self, TimeZone};

/// How alike a name must be to be meant.
const ALIKE: f64 = 0.8;

/// A time zone with its name.
#[derive(Debug, Clone, PartialEq)]
pub struct Zone {
    name: String,
    zone: TimeZone,
}

/// There is no such time zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no time zone `{name}`: {}", suggestion.as_ref().map_or_else(
    || "write a name of the IANA database, such as `Europe/Oslo` or `UTC`".to_owned(),
    |suggestion| format!("is `{suggestion}` meant?")
))]
pub struct ZoneError {
    name: String,
    suggestion: Option<String>,
}

impl Zone {
    /// The zone of a name; case does not matter.
    pub fn named(name: &str) -> Result<Self, ZoneError> {
        // Otherwise a path, or something with rules of its own.
        let plain = |c: char| c.is_ascii_alphanumeric() || "/_-+".contains(c);
        let zone = (name.len() < 64 && name.chars().all(plain)).then(|| TimeZone::get(name).ok()).flatten();
        match zone {
            Some(zone) => Ok(Self { name: zone.iana_name().unwrap_or(name).to_owned(), zone }),
            None => Err(ZoneError { name: name.chars().take(64).collect(), suggestion: nearest(name) }),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The zone itself.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }
}

fn nearest(name: &str) -> Option<String> {
    let name: String = name.chars().take(64).collect::<String>().to_ascii_lowercase();
    let likeness = |known: &str| strsim::jaro_winkler(&name, &known.to_ascii_lowercase());
    let known = tz::db().available().map(|known| known.as_str().to_owned());
    let alike = known.map(|known| (likeness(&known), known)).filter(|(likeness, _)| *likeness > ALIKE);
    alike.max_by(|one, other| one.0.total_cmp(&other.0)).map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_database() {
        assert_eq!(Zone::named("Europe/Oslo").unwrap().name(), "Europe/Oslo");
        assert_eq!(Zone::named("europe/oslo").unwrap().name(), "Europe/Oslo");
        assert_eq!(Zone::named("UTC").unwrap().name(), "UTC");
        let error = |name: &str| Zone::named(name).unwrap_err().to_string();
        assert_eq!(error("Europe/Olso"), "there is no time zone `Europe/Olso`: is `Europe/Oslo` meant?");
        for wrong in ["", "../etc/passwd", "CET-1CEST", "Mars/Olympus Mons", "/etc/localtime", "nowhere at all"] {
            assert!(Zone::named(wrong).is_err(), "{wrong}");
        }
        assert!(error("#").contains("such as `Europe/Oslo`"));
    }
}
