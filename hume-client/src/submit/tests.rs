//! What comes back for every way an agent can answer, or not, and that nothing takes longer than it may.

use super::*;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread::JoinHandle;
use std::time::Instant;

const LIMIT: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(60);

struct Agent {
    folder: tempfile::TempDir,
    thread: JoinHandle<()>,
}

impl Agent {
    /// Takes one connection and hands it to `act`.
    fn new(act: impl FnOnce(UnixStream) + Send + 'static) -> Agent {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("s")).unwrap();
        let thread = std::thread::spawn(move || act(listener.accept().unwrap().0));
        Agent { folder, thread }
    }

    fn answering(answer: impl AsRef<[u8]> + Send + 'static) -> Agent {
        Agent::new(move |stream| {
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            // The other side may have seen enough.
            let _ = (&stream).write_all(answer.as_ref());
        })
    }

    fn submit(self, timeout: Duration) -> Result<Receipt, SubmitError> {
        let line = DraftLine { message: "hi".into(), ..DraftLine::default() };
        let result = submit(&line, &self.folder.path().join("s"), timeout);
        self.thread.join().unwrap();
        result
    }
}

#[test]
fn a_stored_event_has_a_receipt() {
    let answer = r#"{"ok":true,"id":"019abc00-0000-7000-8000-000000000001","seq":42,"run":"019abc00-0000-7000-8000-000000000002","new":1}"#;
    let receipt = Agent::answering(format!("{answer}\nmore")).submit(LIMIT).unwrap();
    assert_eq!(receipt.seq, Some(42));
    assert!(receipt.run.is_some());
}

#[test]
fn a_refusal_tells_class_reason_and_field() {
    let answer = "{\"ok\":false,\"code\":\"invalid\",\"error\":\"no\",\"field\":\"level\"}\n";
    let error = Agent::answering(answer).submit(LIMIT).unwrap_err();
    assert_eq!(error.to_string(), "the agent answered invalid: no");
    assert!(!error.may_retry());
    let SubmitError::Refused { class: ErrorClass::Invalid, field, .. } = error else { panic!("{error}") };
    assert_eq!(field.as_deref(), Some("level"));
    let error = Agent::answering("{\"ok\":false,\"code\":\"mood\"}\n").submit(LIMIT).unwrap_err();
    assert_eq!((error.class(), error.may_retry()), (ErrorClass::Internal, true));
}

#[test]
fn a_refusal_given_before_the_line_was_read_is_heard() {
    let agent = Agent::new(|stream| {
        (&stream).write_all(b"{\"ok\":false,\"code\":\"busy\",\"error\":\"too many\"}\n").unwrap();
    });
    // Whether the closed end is noticed while sending or the answer comes first is a race; both may be retried.
    let error = agent.submit(LIMIT).unwrap_err();
    assert!(error.may_retry(), "{error}");
}

#[test]
fn half_an_answer_is_none() {
    let error = Agent::answering("{\"ok\":true").submit(LIMIT).unwrap_err();
    assert!(matches!(error, SubmitError::Broken(_)) && error.may_retry(), "{error}");
}

#[test]
fn garbage_and_an_endless_answer_are_told_apart_from_an_answer() {
    for garbage in [b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), b"\xff\x00\n".to_vec(), b"\n".to_vec()] {
        let error = Agent::answering(garbage).submit(LIMIT).unwrap_err();
        assert!(matches!(error, SubmitError::Garbled), "{error}");
    }
    let error = Agent::answering(vec![b' '; ANSWER_BYTES_MAX + 4096]).submit(LIMIT).unwrap_err();
    assert!(matches!(error, SubmitError::Garbled), "{error}");
}

#[test]
fn an_answer_in_pieces_is_put_together() {
    let agent = Agent::new(|stream| {
        for piece in ["{\"ok\"", ":tr", "ue}", "\n"] {
            (&stream).write_all(piece.as_bytes()).unwrap();
        }
        // Held open until the other side has read its answer and gone.
        let _ = (&stream).read_to_end(&mut Vec::new());
    });
    assert!(agent.submit(LIMIT).is_ok());
}

#[test]
fn silence_ends_with_the_time_limit() {
    let started = Instant::now();
    let agent = Agent::new(|stream| {
        let _ = (&stream).read_to_end(&mut Vec::new());
    });
    let error = agent.submit(SHORT).unwrap_err();
    assert_eq!(error.to_string(), "no answer from the agent within 60 ms");
    assert!(started.elapsed() >= SHORT && started.elapsed() < LIMIT);
}

#[test]
fn an_agent_that_drips_its_answer_does_not_prolong_the_wait() {
    let agent = Agent::new(|stream| {
        // Ends when the other side hangs up.
        while (&stream).write_all(b" ").is_ok() {
            std::thread::park_timeout(Duration::from_millis(5));
        }
    });
    assert!(matches!(agent.submit(SHORT).unwrap_err(), SubmitError::NoAnswer { .. }));
}

#[test]
fn an_agent_that_does_not_read_does_not_hold_the_caller() {
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let agent = Agent::new(move |stream| {
        let _ = wait.recv_timeout(LIMIT);
        drop(stream);
    });
    let connection = Connection::open(&agent.folder.path().join("s"), &TimeLimit::new(LIMIT)).unwrap();
    rustix::net::sockopt::set_socket_send_buffer_size(&connection, 1).unwrap();
    let error = connection.send(&vec![b'x'; 1 << 20], &TimeLimit::new(SHORT)).unwrap_err();
    assert!(matches!(error, SubmitError::NoAnswer { .. }), "{error}");
    done.send(()).unwrap();
    agent.thread.join().unwrap();
}

#[test]
fn a_full_queue_of_an_agent_that_accepts_nobody_does_not_hold_the_caller() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let listener = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    let address = SocketAddrUnix::new(&path).unwrap();
    rustix::net::bind(&listener, &address).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let started = Instant::now();
    let mut waiting = Vec::new();
    let error = loop {
        match Connection::open(&path, &TimeLimit::new(SHORT)) {
            Ok(connection) => waiting.push(connection),
            Err(error) => break error,
        }
        assert!(waiting.len() < 1000, "the queue never filled");
    };
    assert!(matches!(error, SubmitError::NoAnswer { .. }), "{error}");
    assert!(started.elapsed() < LIMIT);
    assert!(matches!(Connection::open_at_once(&path), Err(SubmitError::NoAgent { .. })));
}

#[test]
fn answers_on_one_connection_come_one_by_one_and_are_not_waited_for_when_only_those_at_hand_are_asked_for() {
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    let agent = Agent::new(move |stream| {
        (&stream).write_all(b"{\"ok\":true,\"seq\":1}\n{\"ok\":true,\"seq\":2}\n{\"ok\"").unwrap();
        let _ = wait.recv_timeout(LIMIT);
        (&stream).write_all(b":true,\"seq\":3}\n").unwrap();
    });
    let mut connection = Connection::open_at_once(&agent.folder.path().join("s")).unwrap();
    let time = TimeLimit::new(LIMIT);
    assert_eq!(connection.answer(&time).unwrap().seq, Some(1));
    assert_eq!(connection.answer_at_once().unwrap().and_then(|answer| answer.seq), Some(2));
    assert!(connection.answer_at_once().unwrap().is_none(), "half an answer is none yet");
    go_on.send(()).unwrap();
    assert_eq!(connection.answer(&time).unwrap().seq, Some(3));
    assert!(matches!(connection.answer(&time).unwrap_err(), SubmitError::Broken(_)));
    agent.thread.join().unwrap();
}

#[test]
fn no_time_at_all_is_no_answer_and_not_an_endless_wait() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let _listener = UnixListener::bind(&path).unwrap();
    let error = submit(&DraftLine::default(), &path, Duration::ZERO).unwrap_err();
    assert!(matches!(error, SubmitError::NoAnswer { .. }), "{error}");
}

#[test]
fn nobody_there_is_told_with_path_and_cause() {
    let error = submit(&DraftLine::default(), Path::new("/nonexistent/s"), LIMIT).unwrap_err();
    assert!(error.to_string().starts_with("no agent at /nonexistent/s: No such file"), "{error}");
    assert_eq!(error.class(), ErrorClass::Unavailable);
}

#[test]
fn a_path_too_long_for_a_socket_is_told_with_its_length_and_the_limit() {
    let fits = format!("/{}", "x".repeat(SOCKET_PATH_BYTES_MAX - 1));
    let error = submit(&DraftLine::default(), Path::new(&fits), LIMIT).unwrap_err();
    assert!(matches!(error, SubmitError::NoAgent { .. }), "{error}");
    let error = submit(&DraftLine::default(), Path::new(&format!("{fits}y")), LIMIT).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("the socket path {fits}y has 108 bytes; a Unix socket has at most 107")
    );
}

#[test]
fn an_event_that_is_no_line_is_not_even_sent() {
    let line = DraftLine { message: "x".repeat(LINE_BYTES_MAX), ..DraftLine::default() };
    let error = submit(&line, Path::new("/nonexistent/s"), LIMIT).unwrap_err();
    assert!(matches!(error, SubmitError::LineTooLong { .. }) && !error.may_retry(), "{error}");
}
