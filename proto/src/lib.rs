//! Every byte that crosses a process border of hume.
//!
//! | border | module |
//! |---|---|
//! | `hume` → agent: JSON Lines on a Unix socket, files in the drop folder | [`intake`] |
//! | agent ⇄ master: protobuf in gRPC (feature `grpc`) | `event`, `relay` |
//! | anybody → `/api/v1`: JSON over HTTP | [`rest`] |
//! | an administrator → `/admin/v1` on the master's socket: JSON over HTTP | [`admin`] |
//! | a host that joins → the enrolment port: JSON over HTTP and TLS | [`join`] |
//! | what its servers have in common (feature `web`) | `web` |
//! | how a failure is called on each of them | [`status`] |
//!
//! Generated types never leave this crate: what travels and what is meant are different types, converted here.

pub mod admin;
#[cfg(feature = "grpc")]
pub mod event;
pub mod intake;
pub mod join;
#[cfg(feature = "grpc")]
pub mod relay;
pub mod rest;
pub mod status;
#[cfg(feature = "web")]
pub mod web;

#[cfg(feature = "grpc")]
#[expect(
    clippy::pedantic,
    unreachable_pub,
    unused_qualifications,
    clippy::allow_attributes_without_reason,
    reason = "generated from hume/v1/*.proto"
)]
mod pb {
    tonic::include_proto!("hume.v1");
}
