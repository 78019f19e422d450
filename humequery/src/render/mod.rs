//! Answers as text: the list of forms.

pub mod csv;
mod diff;
mod escape;
mod fleet;
pub mod format;
pub mod json;
mod latest;
mod layout;
mod moment;
pub mod ndjson;
mod report;
mod stream;
pub mod table;
pub mod text;
mod timeline;

pub use format::Format;
pub(crate) use latest::missing_max;
pub(crate) use moment::duration;
pub use stream::Stream;
pub use table::View;
pub(crate) use table::beyond;

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
