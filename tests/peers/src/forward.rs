//! The server's side of Fluentd's forward protocol, version 1, mode Forward, on `rmp` alone.

use std::io::{self, Read, Write};

use rmp::Marker;
use rmp::decode::read_marker;
use rmp::encode::{write_map_len, write_str};
use serde_json::{Map, Value};

/// Longest text, and most members of a list or map.
const LENGTH_MAX: u64 = 4 << 20;
/// Lists within lists.
const DEPTH_MAX: usize = 16;

/// `[tag, [[time, record], …], {"chunk": …}]`
#[derive(Clone, Debug)]
pub struct Message {
    /// The tag.
    pub tag: String,
    /// Time and record of each entry; the time in seconds and nanoseconds.
    pub entries: Vec<((u32, u32), Value)>,
    /// What is to be acknowledged.
    pub chunk: String,
}

/// The next message of a connection; none at its end.
///
/// # Errors
/// Those of the socket, a message that is cut, and what is not of this protocol.
pub fn read(from: &mut impl Read) -> io::Result<Option<Message>> {
    let mut first = [0];
    if from.read(&mut first)? == 0 {
        return Ok(None);
    }
    let message = value(&mut first.chain(from), 0)?;
    let shape = || io::Error::other("not in mode Forward");
    let [Value::String(tag), Value::Array(entries), options] =
        message.as_array().ok_or_else(shape)?.as_slice()
    else {
        return Err(shape());
    };
    let mut read = Vec::with_capacity(entries.len());
    for entry in entries {
        let [Value::Array(time), record] = entry.as_array().ok_or_else(shape)?.as_slice() else {
            return Err(shape());
        };
        let part = |at: usize| time.get(at).and_then(Value::as_u64).and_then(|part| u32::try_from(part).ok());
        read.push(((part(0).ok_or_else(shape)?, part(1).ok_or_else(shape)?), record.clone()));
    }
    if options["size"] != entries.len() {
        return Err(io::Error::other("the size is wrong"));
    }
    let chunk = options["chunk"].as_str().ok_or_else(shape)?.to_owned();
    Ok(Some(Message { tag: tag.clone(), entries: read, chunk }))
}

/// Says that the chunk is taken.
///
/// # Errors
/// Those of the socket.
pub fn acknowledge(to: &mut impl Write, chunk: &str) -> io::Result<()> {
    let mut ack = Vec::new();
    write_map_len(&mut ack, 1)?;
    write_str(&mut ack, "ack")?;
    write_str(&mut ack, chunk)?;
    to.write_all(&ack)?;
    to.flush()
}

/// One value; an event time becomes a list of seconds and nanoseconds.
fn value(from: &mut dyn Read, depth: usize) -> io::Result<Value> {
    if depth > DEPTH_MAX {
        return Err(io::Error::other("too deep"));
    }
    let mut from = from;
    let marker = read_marker(&mut from).map_err(|error| error.0)?;
    Ok(match marker {
        Marker::Null => Value::Null,
        Marker::True => true.into(),
        Marker::False => false.into(),
        Marker::FixPos(small) => small.into(),
        Marker::FixNeg(small) => small.into(),
        Marker::U8 => number(from, 1)?.into(),
        Marker::U16 => number(from, 2)?.into(),
        Marker::U32 => number(from, 4)?.into(),
        Marker::U64 => number(from, 8)?.into(),
        Marker::I8 => (number(from, 1)? as u8).cast_signed().into(),
        Marker::I16 => (number(from, 2)? as u16).cast_signed().into(),
        Marker::I32 => (number(from, 4)? as u32).cast_signed().into(),
        Marker::I64 => number(from, 8)?.cast_signed().into(),
        Marker::FixStr(length) => text(from, length.into())?,
        Marker::Str8 => {
            let length = number(from, 1)?;
            text(from, length)?
        }
        Marker::Str16 => {
            let length = number(from, 2)?;
            text(from, length)?
        }
        Marker::Str32 => {
            let length = number(from, 4)?;
            text(from, length)?
        }
        Marker::FixArray(length) => list(from, length.into(), depth)?,
        Marker::Array16 => {
            let length = number(from, 2)?;
            list(from, length, depth)?
        }
        Marker::Array32 => {
            let length = number(from, 4)?;
            list(from, length, depth)?
        }
        Marker::FixMap(length) => map(from, length.into(), depth)?,
        Marker::Map16 => {
            let length = number(from, 2)?;
            map(from, length, depth)?
        }
        Marker::Map32 => {
            let length = number(from, 4)?;
            map(from, length, depth)?
        }
        Marker::FixExt8 => {
            if number(from, 1)? != 0 {
                return Err(io::Error::other("no event time"));
            }
            vec![number(from, 4)?, number(from, 4)?].into()
        }
        other => return Err(io::Error::other(format!("not of this protocol: {other:?}"))),
    })
}

fn number(from: &mut dyn Read, bytes: usize) -> io::Result<u64> {
    let mut whole = [0; 8];
    from.read_exact(&mut whole[8 - bytes..])?;
    Ok(u64::from_be_bytes(whole))
}

fn bounded(length: u64) -> io::Result<u64> {
    if length <= LENGTH_MAX { Ok(length) } else { Err(io::Error::other("too long")) }
}

fn text(from: &mut dyn Read, length: u64) -> io::Result<Value> {
    let mut bytes = vec![0; bounded(length)? as usize];
    from.read_exact(&mut bytes)?;
    String::from_utf8(bytes).map(Value::String).map_err(io::Error::other)
}

fn list(from: &mut dyn Read, length: u64, depth: usize) -> io::Result<Value> {
    (0..bounded(length)?).map(|_| value(from, depth + 1)).collect::<io::Result<Vec<_>>>().map(Value::Array)
}

fn map(from: &mut dyn Read, length: u64, depth: usize) -> io::Result<Value> {
    let mut pairs = Map::new();
    for _ in 0..bounded(length)? {
        let Value::String(key) = value(from, depth + 1)? else {
            return Err(io::Error::other("the key is no text"));
        };
        pairs.insert(key, value(from, depth + 1)?);
    }
    Ok(Value::Object(pairs))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `["a.b", [[time, {"n": -1}]], {"size": 1, "chunk": "c"}]`
    const WHOLE: &[u8] =
        b"\x93\xa3a.b\xdd\0\0\0\x01\x92\xd7\0\0\0\0\x07\0\0\0\x08\x81\xa1n\xff\x82\xa4size\x01\xa5chunk\xa1c";

    #[test]
    fn a_message_is_read_whole_and_what_is_cut_is_none() {
        let mut from = WHOLE;
        let message = read(&mut from).unwrap().unwrap();
        assert_eq!((message.tag.as_str(), message.chunk.as_str()), ("a.b", "c"));
        assert_eq!(message.entries, [((7, 8), serde_json::json!({"n": -1}))]);
        assert!(read(&mut from).unwrap().is_none());
        for cut in 1..WHOLE.len() {
            assert!(read(&mut &WHOLE[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn an_acknowledgement_names_the_chunk() {
        let mut ack = Vec::new();
        acknowledge(&mut ack, "c").unwrap();
        assert_eq!(ack, b"\x81\xa3ack\xa1c");
    }
}
