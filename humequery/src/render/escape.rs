//! JSON that a terminal can show: what could recolour or reorder what the reader sees is written as `\uXXXX`.
//!
//! For whoever parses it the data are the same.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter};

use super::text::is_unsafe;

/// Writes it in one line, without a line break.
pub(super) fn compact<T: Serialize>(value: &T, to: &mut dyn Write) -> io::Result<()> {
    Ok(value.serialize(&mut Serializer::with_formatter(to, Escaping(CompactFormatter)))?)
}

/// Writes it indented, without a line break at its end.
pub(super) fn pretty<T: Serialize>(value: &T, to: &mut dyn Write) -> io::Result<()> {
    Ok(value.serialize(&mut Serializer::with_formatter(to, Escaping(PrettyFormatter::new())))?)
}

/// The layout of another formatter, with its strings escaped further.
struct Escaping<F>(F);

/// Everything but strings is the other formatter's.
macro_rules! delegate {
    ($($name:ident($($argument:ident: $kind:ty),*);)*) => {
        $(fn $name<W: ?Sized + Write>(&mut self, writer: &mut W, $($argument: $kind),*) -> io::Result<()> {
            self.0.$name(writer, $($argument),*)
        })*
    };
}

impl<F: Formatter> Formatter for Escaping<F> {
    delegate! {
        begin_array();
        end_array();
        begin_array_value(first: bool);
        end_array_value();
        begin_object();
        end_object();
        begin_object_key(first: bool);
        end_object_key();
        begin_object_value();
        end_object_value();
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, found)) = rest.char_indices().find(|(_, c)| is_unsafe(*c)) {
            writer.write_all(&rest.as_bytes()[..at])?;
            for unit in found.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = &rest[at + found.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_terminal_gets_no_control_and_a_parser_the_same_data(
            data in proptest::collection::btree_map(any::<String>(), any::<Vec<String>>(), 0..4)
        ) {
            let (mut line, mut indented) = (Vec::new(), Vec::new());
            compact(&data, &mut line).unwrap();
            pretty(&data, &mut indented).unwrap();
            for written in [&line, &indented] {
                let text = std::str::from_utf8(written).unwrap();
                prop_assert!(!text.chars().any(|c| is_unsafe(c) && c != '\n'), "{:?}", text);
                prop_assert_eq!(&serde_json::from_str::<BTreeMap<String, Vec<String>>>(text).unwrap(), &data);
            }
            prop_assert!(!line.contains(&b'\n'));
        }
    }

    #[test]
    fn the_layout_is_that_of_serde_json() {
        let value = serde_json::json!({"a": [1, "b\u{9b}"], "c": {}, "d": []});
        let mut indented = Vec::new();
        pretty(&value, &mut indented).unwrap();
        let plain = serde_json::to_string_pretty(&value).unwrap();
        assert_eq!(String::from_utf8(indented).unwrap(), plain.replace('\u{9b}', "\\u009b"));
    }
}
