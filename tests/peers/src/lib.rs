//! Receivers of what transfers send: HTTP, syslog in a stream and Fluentd's forward protocol, as their documents have them.
//!
//! No code of hume is in here, so that what they take is what any other receiver would.

pub mod forward;
pub mod http;
pub mod slack;
pub mod syslog;
