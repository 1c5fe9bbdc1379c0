//! Commas too many in JSON.

/// JSON without the commas that stand before the end of a list or an object.
pub(super) fn without_last(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    // Where the last comma stands, as long as nothing but blanks has followed.
    let mut comma = None;
    let (mut in_text, mut escaped) = (false, false);
    for letter in json.chars() {
        if in_text {
            (in_text, escaped) = (escaped || letter != '"', !escaped && letter == '\\');
        } else if matches!(letter, ']' | '}') {
            if let Some(at) = comma.take() {
                out.remove(at);
            }
        } else if letter == ',' {
            comma = Some(out.len());
        } else if !letter.is_whitespace() {
            comma = None;
            in_text = letter == '"';
        }
        out.push(letter);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_commas_at_the_end_go() {
        for (json, without) in [
            ("[1, 2, \n]", "[1, 2 \n]"),
            ("{\"a\": [1,],}", "{\"a\": [1]}"),
            ("[\",]\", \"a\\\",]\"]", "[\",]\", \"a\\\",]\"]"),
            ("[,,]", "[,]"),
            ("[\"\\\\\",]", "[\"\\\\\"]"),
        ] {
            assert_eq!(without_last(json), without);
        }
    }
}
