//! The agent of one host: takes what scripts report, keeps it on disk, and replicates it to the master.
//!
//! ```text
//!  hume ── line ─→ intake ─submission→ runs ─event→ spool ─batch→ uplink ══ master
//!                                                     ├──page→ web ── humequery
//!                                                     └─events→ pump ── transfers
//! ```
//!
//! | room | promise |
//! |---|---|
//! | [`agent`] | wires the rooms, in the order of an event's journey |
//! | [`intake`] | what is within bounds is handed on, with the kernel's word on who said it |
//! | [`drops`] | what lies in the drop folder is known, and since when |
//! | [`hosts`] | for which hosts may be reported |
//! | [`redact`] | what is said holds no secret that a rule knows |
//! | [`runs`] | every event gets its run, once |
//! | [`spool`] | accepted is on disk |
//! | [`uplink`] | what is on disk reaches the master, in order, at least once |
//! | [`web`] | local questions |
//! | [`pump`] | the spool as transfers read it |
//! | [`metrics`] | numbers and state that several rooms write and read |

pub mod agent;
pub mod args;
pub mod config;
pub mod drops;
pub mod hosts;
pub mod intake;
pub mod metrics;
pub mod pump;
pub mod redact;
pub mod runs;
pub mod spool;
pub mod uplink;
pub mod web;
