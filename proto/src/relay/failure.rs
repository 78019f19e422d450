//! Why a frame could not be had: what the other end may do about it, and the whole chain of causes in one line.

use hume_core::ErrorClass;

/// A frame could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The frame breaks a bound of the protocol.
    #[error("malformed frame: {0}")]
    Malformed(&'static str),
    /// The stream broke, or the other end refused.
    #[error("{detail}")]
    Broken {
        /// What the caller can do.
        class: ErrorClass,
        /// The whole chain of causes.
        detail: String,
    },
}

impl From<tonic::Status> for FrameError {
    fn from(status: tonic::Status) -> FrameError {
        // The stream is as it should be; what came over it was not.
        if let Some(error) =
            std::error::Error::source(&status).and_then(<dyn std::error::Error>::downcast_ref)
        {
            return FrameError::clone(error);
        }
        // Nobody sends it: the length in front of a frame is beyond the bound.
        if status.code() == tonic::Code::OutOfRange {
            return FrameError::Malformed("it has too many bytes");
        }
        FrameError::Broken {
            class: crate::status::class_of_grpc(status.code() as i32),
            detail: chain(&status),
        }
    }
}

impl From<FrameError> for tonic::Status {
    fn from(error: FrameError) -> tonic::Status {
        let class = match &error {
            FrameError::Malformed(_) => ErrorClass::Invalid,
            FrameError::Broken { class, .. } => *class,
        };
        tonic::Status::new(tonic::Code::from_i32(crate::status::grpc_code(class)), error.to_string())
    }
}

/// An error with all its causes in one line: a refused handshake hides in the last of them. Of a connection that broke off
/// every layer has words of its own, and none says more than that.
fn chain(status: &tonic::Status) -> String {
    if broke_off(status) {
        return "the connection broke off".to_owned();
    }
    let mut text = match status.message() {
        "" => status.to_string(),
        message => message.to_owned(),
    };
    let mut source = std::error::Error::source(status);
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = cause.source();
    }
    text
}

/// True when the other end went away without a word.
fn broke_off(error: &(dyn std::error::Error + 'static)) -> bool {
    use std::io::{self, ErrorKind};
    let of_io = |error: &io::Error| {
        let gone = matches!(
            error.kind(),
            ErrorKind::UnexpectedEof
                | ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::BrokenPipe
        );
        // An I/O error names the cause of what it wraps as its own.
        gone || error.get_ref().is_some_and(|inner| broke_off(inner))
    };
    // HTTP/2 does not name it as its cause.
    let io = error.downcast_ref::<h2::Error>().and_then(h2::Error::get_io).or_else(|| error.downcast_ref());
    io.is_some_and(of_io) || error.source().is_some_and(broke_off)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn said(error: io::Error) -> String {
        FrameError::from(tonic::Status::from_error(Box::new(error))).to_string()
    }

    #[test]
    fn a_connection_that_broke_off_is_said_in_words_of_ours() {
        let eof = || {
            let words = "peer closed connection without sending TLS close_notify: https://docs.rs/rustls";
            io::Error::new(io::ErrorKind::UnexpectedEof, words)
        };
        for error in [eof(), io::Error::other(eof()), io::ErrorKind::ConnectionReset.into()] {
            assert_eq!(said(error), "the connection broke off");
        }
        assert!(said(io::Error::other("no route")).contains("no route"));
    }
}
