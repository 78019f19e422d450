//! Exit codes of daemons and `humeconfig`, after sysexits(3); scripts may rely on them. Those of `hume` are in `proto`.

/// All went well.
pub const OK: u8 = 0;
/// The command line was wrong.
pub const USAGE: u8 = 64;
/// What was given to work with is not what it should be.
pub const DATA: u8 = 65;
/// What was given to work with is not there.
pub const NO_INPUT: u8 = 66;
/// A service that was needed is away.
pub const UNAVAILABLE: u8 = 69;
/// A fault in hume itself.
pub const SOFTWARE: u8 = 70;
/// An output file or folder cannot be made.
pub const CANNOT_CREATE: u8 = 73;
/// Reading or writing failed.
pub const IO: u8 = 74;
/// Not now: try again later.
pub const TEMPORARY: u8 = 75;
/// The caller may not do this.
pub const NO_PERMISSION: u8 = 77;
/// The configuration is wrong.
pub const CONFIG: u8 = 78;
