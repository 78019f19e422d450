//! Writes lines to an agent's socket and reads an answer for each: many on their way at once, or one at a time.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};

use crate::lines::Lines;
use crate::talk::Progress;

/// Bytes read at once: some hundred answers.
const READ_BYTES: usize = 64 * 1024;
/// How an answer begins that says the event is on disk.
const STORED: &[u8] = b"{\"ok\":true";
/// No answer takes so long.
const ANSWER_TIME_MAX: Duration = Duration::from_mins(1);

/// One connection, all lines on their way as fast as they go; the time until the last answer.
/// # Errors
/// If a line was refused or not answered.
pub(crate) fn pipelined(socket: &Path, lines: &Lines) -> anyhow::Result<Duration> {
    let mut writer = connect(socket)?;
    let mut reader = writer.try_clone().context("could not share a socket")?;
    let began = Instant::now();
    thread::scope(|scope| {
        let written = scope.spawn(move || writer.write_all(&lines.text));
        let read = read_answers(&mut reader, lines.count());
        let written = written.join().map_err(|_| anyhow!("the writing thread failed"))?;
        // What the agent said goes before how the writing ended because of it.
        read?;
        written.context("could not write to the agent")
    })?;
    Ok(began.elapsed())
}

fn read_answers(reader: &mut UnixStream, count: usize) -> anyhow::Result<()> {
    let mut progress = Progress::new("answered by the agent", count as u64);
    let mut buffer = vec![0; READ_BYTES];
    let (mut begun, mut answered) = (0, 0);
    while answered < count {
        let room = buffer.get_mut(begun..).unwrap_or_default();
        let read = reader.read(room).context("could not read from the agent")?;
        ensure!(read > 0, "the agent hung up after {answered} of {count} answers");
        let bytes = buffer.get(..begun + read).unwrap_or_default();
        let mut taken = 0;
        for line in bytes.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n")) {
            ensure!(line.starts_with(STORED), "refused: {}", String::from_utf8_lossy(line));
            taken += line.len();
            answered += 1;
        }
        let whole = begun + read;
        buffer.copy_within(taken..whole, 0);
        begun = whole - taken;
        progress.at(answered as u64);
    }
    Ok(())
}

/// So many connections, each with one line on its way at a time; the lines are dealt out evenly. The time until the last
/// answer.
/// # Errors
/// If a line was refused or not answered.
pub(crate) fn synchronous(socket: &Path, lines: &Lines, connections: usize) -> anyhow::Result<Duration> {
    let streams = (0..connections).map(|_| connect(socket)).collect::<anyhow::Result<Vec<_>>>()?;
    let began = Instant::now();
    thread::scope(|scope| {
        let share = |(first, stream)| {
            scope.spawn(move || {
                let mut reader = BufReader::new(stream);
                (first..lines.count())
                    .step_by(connections)
                    .try_for_each(|place| exchange(&mut reader, lines.line(place)))
            })
        };
        let threads: Vec<_> = streams.into_iter().enumerate().map(share).collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| anyhow!("a caller failed"))?)
    })?;
    Ok(began.elapsed())
}

/// One line, and its answer.
fn exchange(reader: &mut BufReader<UnixStream>, line: &[u8]) -> anyhow::Result<()> {
    reader.get_mut().write_all(line).context("could not write to the agent")?;
    let mut answer = Vec::new();
    reader.read_until(b'\n', &mut answer).context("could not read from the agent")?;
    ensure!(answer.starts_with(STORED), "refused: {}", String::from_utf8_lossy(&answer));
    Ok(())
}

/// A connection to an agent on which no read waits forever.
pub(crate) fn connect(socket: &Path) -> anyhow::Result<UnixStream> {
    let stream = UnixStream::connect(socket);
    let stream = stream.with_context(|| format!("could not connect to {}", socket.display()))?;
    stream.set_read_timeout(Some(ANSWER_TIME_MAX)).context("could not set up a socket")?;
    Ok(stream)
}
