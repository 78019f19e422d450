//! Every power loss that a record could have met: at each boundary, in each way. Pure.

use crate::image::{Image, Replay, Way};
use crate::record::Record;

/// The power was lost.
#[derive(Clone, Debug)]
pub struct Loss {
    /// At this position of the record.
    pub at: usize,
    /// In this way.
    pub way: Way,
    /// And this is what was on the disk.
    pub image: Image,
}

/// One loss for each boundary and way. The same seed makes the same choices.
pub fn losses(record: &Record, seed: u64) -> impl Iterator<Item = Loss> {
    let boundaries = record.boundaries();
    Way::ALL.into_iter().flat_map(move |way| {
        let (mut replay, mut done) = (Replay::new(way, seed), 0);
        boundaries.clone().into_iter().map(move |at| {
            record.ops()[done..at].iter().for_each(|op| replay.apply(op));
            done = at;
            Loss { at, way, image: replay.image(seed.wrapping_add(at as u64)) }
        })
    })
}
