//! Every door of hume through which bytes of others come in: nothing makes it panic, and what it lets in keeps its bounds.
//!
//! A door is a function of bytes: it gives them to the decoder that the programs use, and asserts what must hold of what
//! comes out. `tests/` gives it the kept corpus and a bounded number of mutations of that; `fuzz/` gives it whatever
//! libFuzzer finds. The bounds here are those of docs/PROTOCOL.md (faults 51 to 54).

mod accepted;
mod configuration;
mod enrolment;
mod event;
mod local;
mod question;
mod relay;
pub mod seeds;

/// Takes any bytes; panics when something does not hold.
pub type Door = fn(&[u8]);

/// All doors by name: the name of the target in `fuzz/`, and of the folder in `fuzz/corpus/`.
pub const DOORS: [(&str, Door); 13] = [
    ("agent_frame", relay::agent_frame),
    ("master_frame", relay::master_frame),
    ("batch", relay::batch),
    ("event", event::event),
    ("lines", local::lines),
    ("drop_file", local::drop_file),
    ("agent_toml", configuration::agent_toml),
    ("master_toml", configuration::master_toml),
    ("query", question::query),
    ("cursor", question::cursor),
    ("join_request", enrolment::join_request),
    ("recover_request", enrolment::recover_request),
    ("join_token", enrolment::join_token),
];

/// The door of this name.
pub fn door(name: &str) -> Option<Door> {
    DOORS.iter().find(|(known, _)| *known == name).map(|(_, door)| *door)
}
