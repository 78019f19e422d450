//! Answers as text: the list of forms.

pub mod csv;
mod escape;
pub mod format;
pub mod json;
mod latest;
mod layout;
mod moment;
pub mod ndjson;
mod report;
pub mod table;
pub mod text;

pub use format::Format;
pub use table::View;

use crate::args::FormatName;

/// The form with this name.
pub fn format(name: FormatName, view: View) -> Box<dyn Format> {
    match name {
        FormatName::Table => Box::new(table::Table::new(view)),
        FormatName::Json => Box::new(json::Json),
        FormatName::Ndjson => Box::new(ndjson::Ndjson),
        FormatName::Csv => Box::new(csv::Csv::new(view.width.is_some())),
    }
}
