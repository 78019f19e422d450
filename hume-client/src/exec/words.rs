//! The command as its caller wrote it, in one line, for the text of the start event. Pure.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;

use hume_core::fit;

/// Most bytes of the line.
const LINE_BYTES_MAX: usize = 512;

/// The words, those in quotes that a shell would not take as one, cut to [`LINE_BYTES_MAX`].
pub(super) fn line(words: &[OsString]) -> String {
    let mut line = String::new();
    for word in words {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&quoted(&fit::text(word.as_bytes()).value));
        if line.len() > LINE_BYTES_MAX {
            let end = "…";
            return format!("{}{end}", fit::cut(&line, LINE_BYTES_MAX - end.len()));
        }
    }
    line
}

fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "%+,-./:=@_\\".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt as _;

    fn of(words: &[&str]) -> String {
        line(&words.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn words_that_a_shell_would_split_are_quoted() {
        assert_eq!(
            of(&["rsync", "-a", "--delete", "/srv/", "web1:/srv"]),
            "rsync -a --delete /srv/ web1:/srv"
        );
        assert_eq!(of(&["sh", "-c", "echo 'a b'; exit 3", ""]), r"sh -c 'echo '\''a b'\''; exit 3' ''");
        assert_eq!(line(&[OsString::from_vec(vec![b'a', 0xff])]), r"a\xFF");
    }

    #[test]
    fn a_long_line_is_cut_and_says_so() {
        let line = of(&["x", &"é".repeat(1000), "y"]);
        assert!(line.len() <= LINE_BYTES_MAX && line.ends_with("é…"), "{line}");
        assert_eq!(of(&vec!["word"; 100_000]).len(), LINE_BYTES_MAX);
    }
}
