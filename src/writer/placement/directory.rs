//! The Hive-style directory of a table partition, escaped as Spark does it and short enough for every store. Readers take values from the log, never from here.

use crate::writer::placement::murmur3;
use crate::writer::placement::value::Value;

const NULL: &str = "__HIVE_DEFAULT_PARTITION__";
/// A directory name on a local disk has at most 255 bytes.
const COMPONENT_BYTES_MAX: usize = 200;
/// S3 keys have at most 1024 bytes, of which the table's own path and the file name need some.
const DIRECTORY_BYTES_MAX: usize = 800;
const HASH_BYTES: usize = 9;

/// `a=1/b=x/`, or nothing for a table without partition columns.
pub(crate) fn directory<'a>(values: impl ExactSizeIterator<Item = (&'a str, &'a Value)>) -> String {
    let room = COMPONENT_BYTES_MAX.min(DIRECTORY_BYTES_MAX / values.len().max(1));
    let mut directory = String::new();
    for (name, value) in values {
        push_component(
            &mut directory,
            &format!("{name}="),
            value.text().as_deref().unwrap_or(NULL),
            room,
        );
        directory.push('/');
    }
    directory
}

/// Writes one component; what does not fit is cut between characters and replaced by a hash, so that names stay apart.
fn push_component(directory: &mut String, name: &str, value: &str, room: usize) {
    let start = directory.len();
    let mut cut = start;
    // The `=` behind the name is the one that is not escaped.
    let name_chars = name.chars().count();
    for (index, character) in name.chars().chain(value.chars()).enumerate() {
        push_character(directory, character, index + 1 == name_chars);
        if directory.len() - start <= room - HASH_BYTES {
            cut = directory.len();
        }
        if directory.len() - start > room {
            directory.truncate(cut);
            let hash = murmur3::hash(format!("{name}{value}").as_bytes());
            directory.push_str(&format!("~{:08x}", hash.cast_unsigned()));
            return;
        }
    }
}

fn push_character(directory: &mut String, character: char, is_separator: bool) {
    if is_separator || !needs_escape(character) {
        directory.push(character);
        return;
    }
    let mut utf8 = [0; 4];
    for byte in character.encode_utf8(&mut utf8).bytes() {
        directory.push_str(&format!("%{byte:02X}"));
    }
}

/// Spark's set (`ExternalCatalogUtils.escapePathName`), and the characters that XML listings of object stores cannot carry.
fn needs_escape(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '"' | '#'
                | '%'
                | '\''
                | '*'
                | '/'
                | ':'
                | '='
                | '?'
                | '\\'
                | '{'
                | '}'
                | '['
                | ']'
                | '^'
        )
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{fffe}' | '\u{ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &str) -> String {
        directory([("p", &Value::Text(value.into()))].into_iter())
    }

    #[test]
    fn hostile_values_stay_in_one_component() {
        assert_eq!(of("a/b"), "p=a%2Fb/");
        assert_eq!(of(".."), "p=../");
        assert_eq!(of("../../etc"), "p=..%2F..%2Fetc/");
        assert_eq!(of("50%"), "p=50%25/");
        assert_eq!(of("%2F"), "p=%252F/");
        assert_eq!(of("a=b:c"), "p=a%3Db%3Ac/");
        assert_eq!(of("a b"), "p=a b/");
        assert_eq!(of("\n\0\u{7f}\u{85}"), "p=%0A%00%7F%C2%85/");
        assert_eq!(of("ü漢🦀"), "p=ü漢🦀/");
        assert_eq!(
            directory([("p", &Value::Null)].into_iter()),
            "p=__HIVE_DEFAULT_PARTITION__/"
        );
        assert_eq!(
            directory([("a=b", &Value::Integer(1)), ("c", &Value::Boolean(false))].into_iter()),
            "a%3Db=1/c=false/"
        );
        assert_eq!(directory([].into_iter()), "");
    }

    #[test]
    fn file_1_long_values_are_cut_between_characters_and_stay_apart() {
        let (first, second) = (
            of(&"漢".repeat(5000)),
            of(&format!("{}x", "漢".repeat(5000))),
        );
        assert!(first.len() <= COMPONENT_BYTES_MAX + 1, "{}", first.len());
        assert_ne!(first, second);
        assert!(of(&"%".repeat(300)).trim_end_matches('/').len() <= COMPONENT_BYTES_MAX);
        assert!(!of(&"%".repeat(300)).contains("%~") && !of(&"%".repeat(300)).contains("%2~"));
        assert_eq!(of(&"x".repeat(198)), format!("p={}/", "x".repeat(198)));
    }

    #[test]
    fn file_1_many_long_columns_stay_below_the_limit_of_a_key() {
        let long = Value::Text("é".repeat(3000));
        let values: Vec<_> = (0..16)
            .map(|_| {
                (
                    "a_rather_long_column_name_for_a_partition_column_that_somebody_chose",
                    &long,
                )
            })
            .collect();
        assert!(directory(values.into_iter()).len() <= DIRECTORY_BYTES_MAX + 16);
    }
}
