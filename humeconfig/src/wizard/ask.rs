//! One question after the other: on a terminal with patience, from a pipe a line for each question.

use std::io::{self, BufRead, Read, Write};

use anstyle::Style;

use super::WizardError;

/// So often a question is put before the wizard gives up.
const TRIES_MAX: usize = 5;
/// Longest answer.
const ANSWER_BYTES_MAX: u64 = 4096;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();

/// Who is asked.
pub(crate) struct Asker<'a> {
    pub(crate) input: &'a mut dyn BufRead,
    /// Where questions go.
    pub(crate) talk: &'a mut dyn Write,
    /// Somebody sits there, who can be asked again.
    pub(crate) is_terminal: bool,
}

/// What is asked, in a word, and what it is about, in a line.
#[derive(Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) word: &'a str,
    pub(crate) about: &'a str,
    /// What an empty answer means.
    pub(crate) default: &'a str,
}

impl Asker<'_> {
    /// The answer, once `read` can make something of it.
    pub(crate) fn ask<T>(
        &mut self,
        question: Question<'_>,
        mut read: impl FnMut(&str) -> Result<T, String>,
    ) -> Result<T, WizardError> {
        let Question { word, about, default } = question;
        self.say(&format!("{DIM}{about}{DIM:#}\n"))?;
        for _ in 0..TRIES_MAX {
            let shown = if default.is_empty() { String::new() } else { format!(" [{default}]") };
            self.say(&format!("{BOLD}{word}{BOLD:#}{shown}: "))?;
            let answer = self.line(word)?;
            let answer = if answer.is_empty() { default } else { &answer };
            match read(answer) {
                Ok(value) => {
                    if !self.is_terminal {
                        self.say("\n")?;
                    }
                    return Ok(value);
                }
                Err(reason) if self.is_terminal => self.say(&format!("  {reason}\n"))?,
                Err(reason) => return Err(WizardError::Answer { word: word.to_owned(), reason }),
            }
        }
        Err(WizardError::Patience { word: word.to_owned() })
    }

    /// Yes or no.
    pub(crate) fn confirm(&mut self, word: &str, about: &str, default: &str) -> Result<bool, WizardError> {
        self.ask(Question { word, about, default }, |answer| match answer.to_ascii_lowercase().as_str() {
            "y" | "yes" => Ok(true),
            "n" | "no" => Ok(false),
            _ => Err("expected yes or no".to_owned()),
        })
    }

    /// Says something that is no question.
    pub(crate) fn say(&mut self, text: &str) -> Result<(), WizardError> {
        self.talk.write_all(text.as_bytes()).and_then(|()| self.talk.flush()).map_err(WizardError::Talk)
    }

    fn line(&mut self, word: &str) -> Result<String, WizardError> {
        let mut line = Vec::new();
        let mut bounded = (&mut *self.input).take(ANSWER_BYTES_MAX);
        bounded.read_until(b'\n', &mut line).map_err(WizardError::Talk)?;
        if line.is_empty() {
            return Err(WizardError::NoAnswer { word: word.to_owned() });
        }
        let too_long =
            || io::Error::new(io::ErrorKind::InvalidData, format!("longer than {ANSWER_BYTES_MAX} bytes"));
        if line.len() as u64 == ANSWER_BYTES_MAX && !line.ends_with(b"\n") {
            return Err(WizardError::Talk(too_long()));
        }
        Ok(String::from_utf8_lossy(&line).trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(input: &str, is_terminal: bool) -> (Result<u8, WizardError>, String) {
        let (mut input, mut talk) = (input.as_bytes(), Vec::new());
        let mut asker = Asker { input: &mut input, talk: &mut talk, is_terminal };
        let question = Question { word: "Number", about: "Any will do.", default: "7" };
        let answer = asker.ask(question, |text| text.parse().map_err(|_| "no number".to_owned()));
        (answer, anstream::adapter::strip_str(&String::from_utf8(talk).unwrap()).to_string())
    }

    #[test]
    fn an_empty_answer_is_the_default() {
        let (answer, talk) = asked("\n", true);
        assert_eq!((answer.unwrap(), talk.as_str()), (7, "Any will do.\nNumber [7]: "));
    }

    #[test]
    fn somebody_at_a_terminal_is_asked_again_but_not_for_ever() {
        let (answer, talk) = asked("x\n3\n", true);
        assert_eq!(answer.unwrap(), 3);
        assert!(talk.contains("  no number\nNumber [7]: "), "{talk}");
        let (answer, _) = asked(&"x\n".repeat(9), true);
        assert!(matches!(answer, Err(WizardError::Patience { .. })));
    }

    #[test]
    fn a_pipe_is_asked_once_and_its_end_is_no_answer() {
        assert!(matches!(asked("x\n3\n", false).0, Err(WizardError::Answer { .. })));
        assert!(matches!(asked("", false).0, Err(WizardError::NoAnswer { .. })));
        assert!(matches!(asked(&"1".repeat(5000), false).0, Err(WizardError::Talk(_))));
    }
}
