//! Text of the programs of Windows: they write into a pipe in the code page of the console, which nothing in the output names.

/// Code page 850, from 0x80: consoles of Western Europe. Its letters are those of 437 (United States) as well.
const CP850: &str = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜø£Ø×ƒáíóúñÑªº¿®¬½¼¡«»░▒▓│┤ÁÂÀ©╣║╗╝¢¥┐\
                     └┴┬├─┼ãÃ╚╔╩╦╠═╬¤ðÐÊËÈıÍÎÏ┘┌█▄¦Ì▀ÓßÔÒõÕµþÞÚÛÙýÝ¯´\u{ad}±‗¾¶§÷¸°¨·¹³²■\u{a0}";
/// Windows-1252, from 0x80 to 0x9F; all else is that of Latin-1.
const CP1252: &str = "€\u{81}‚ƒ„…†‡ˆ‰Š‹Œ\u{8d}Ž\u{8f}\u{90}‘’“”•–—˜™š›œ\u{9d}žŸ";

/// What is usual in names: where both make letters of a byte (`ä` of one is `õ` of the other), that is what tells them apart.
const USUAL: &str = "äöüåéèêëàâáíìîïóòôúùûñçøæãßÄÖÜÅÉ’";

/// Reads UTF-8, else code page 850 or Windows-1252, whichever makes more of what is usual. Other code pages give other letters in
/// names for people; key names and numbers are ASCII in all of them.
pub(super) fn decode(bytes: &[u8]) -> String {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return text.trim_start_matches('\u{feff}').to_owned();
    }
    let decoded = |page: fn(u8) -> char| bytes.iter().map(|byte| page(*byte)).collect::<String>();
    let usual = |text: &str| text.chars().filter(|c| USUAL.contains(*c)).count();
    let (console, windows) = (decoded(cp850), decoded(cp1252));
    if usual(&console) >= usual(&windows) { console } else { windows }
}

fn cp850(byte: u8) -> char {
    upper(byte, CP850).unwrap_or(char::from(byte))
}

fn cp1252(byte: u8) -> char {
    upper(byte, CP1252).unwrap_or(char::from(byte))
}

/// The character of a byte from 0x80 on, by a table that begins there.
fn upper(byte: u8, table: &str) -> Option<char> {
    table.chars().nth(usize::from(byte.checked_sub(0x80)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tables_have_a_character_for_each_byte() {
        assert_eq!((CP850.chars().count(), CP1252.chars().count()), (128, 32));
        assert_eq!([0x80, 0x84, 0x99, 0xe1, 0xff].map(cp850), ['Ç', 'ä', 'Ö', 'ß', '\u{a0}']);
        assert_eq!([0x80, 0x9f, 0xa0, 0xe4, 0xff].map(cp1252), ['€', 'Ÿ', '\u{a0}', 'ä', 'ÿ']);
    }

    #[test]
    fn names_are_read_in_the_code_page_that_fits() {
        for (bytes, text) in [
            (b"Druckwarteschlange".as_slice(), "Druckwarteschlange"),
            (b"Ger\x84te-Setup f\x81r Gr\x94\xe1e", "Geräte-Setup für Größe"),
            (b"Ger\xe4te-Setup f\xfcr Gr\xf6\xdfe", "Geräte-Setup für Größe"),
            (b"Intelligent bakgrunds\x94verf\x94ring", "Intelligent bakgrundsöverföring"),
            (b"S\xe4kerhetsf\xf6nster \xe5 \xc5", "Säkerhetsfönster å Å"),
            (b"Servizio Acme di pi\xf9".as_slice(), "Servizio Acme di più"),
            (b"Qlik\x92s", "Qlik’s"),
            ("Größe".as_bytes(), "Größe"),
            ("\u{feff}a".as_bytes(), "a"),
        ] {
            assert_eq!(decode(bytes), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_ascii_stays(text in "[ -~\r\n]{0,40}", other in proptest::collection::vec(0x80..=0xffu8, 0..8)) {
            let bytes = [text.as_bytes(), &other].concat();
            prop_assert!(decode(&bytes).starts_with(&text));
        }
    }
}
