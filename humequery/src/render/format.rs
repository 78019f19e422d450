//! What every form of output must be able to do. Sits below all of them, and below the list of them.

use std::io::{self, Write};

use crate::answer::Answer;
use crate::ask::Pages;

/// One form of output.
pub trait Format {
    /// Whether it can write pages as they come, or needs them all at once.
    fn pages(&self) -> Pages;

    /// Writes one answer, or one page of it.
    ///
    /// # Errors
    /// Those of `to`.
    fn write(&mut self, answer: &Answer, to: &mut dyn Write) -> io::Result<()>;
}
