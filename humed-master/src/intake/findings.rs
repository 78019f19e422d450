//! The same door for what the master finds out itself: it is an event like any other, stored, shown, routed and told alike.

use std::sync::Arc;

use hume_core::Event;
use hume_proto::event::EventBytes;

use super::IntakeError;
use crate::store::{Note, Watching};

/// The door. Cheap to clone.
#[derive(Clone)]
pub struct Findings {
    store: Arc<dyn Watching>,
}

impl Findings {
    /// A door to this store.
    pub fn new(store: Arc<dyn Watching>) -> Findings {
        Findings { store }
    }

    /// Lets in what was found, in this order, and in the same transaction what follows from it.
    /// # Errors
    /// [`IntakeError`]: nothing of either was kept.
    pub async fn admit(&self, found: Vec<Event>, note: Note) -> Result<(), IntakeError> {
        let mut checked = Vec::with_capacity(found.len());
        for event in found {
            event.check().map_err(IntakeError::Finding)?;
            let body = EventBytes::encode(&event);
            checked.push((event, body));
        }
        Ok(self.store.note(Note { found: checked, ..note }).await?)
    }
}
