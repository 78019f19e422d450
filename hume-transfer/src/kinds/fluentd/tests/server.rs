//! The server's side of the forward protocol, written on `rmp` alone: no code of the kind is in it.

use std::io::{Read, Write};
use std::net::TcpStream;

use aws_lc_rs::digest::{SHA512, digest};
use rmp::Marker;
use rmp::decode::{RmpRead, read_marker};
use rmp::encode::{write_array_len, write_bin, write_bool, write_map_len, write_str};

/// What `MessagePack` can say, as far as this protocol does.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Nil,
    Bool(bool),
    Int(i128),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Value>),
    Map(Vec<(String, Value)>),
    Ext(i8, Vec<u8>),
}

impl Value {
    pub(super) fn list(&self) -> &[Value] {
        match self {
            Value::List(values) => values,
            other => panic!("no list: {other:?}"),
        }
    }

    pub(super) fn text(&self) -> &str {
        match self {
            Value::Text(text) => text,
            other => panic!("no text: {other:?}"),
        }
    }

    pub(super) fn get(&self, key: &str) -> &Value {
        let Value::Map(pairs) = self else { panic!("no map: {self:?}") };
        &pairs.iter().find(|(known, _)| known == key).unwrap_or_else(|| panic!("no {key} in {self:?}")).1
    }
}

/// The next value; none at the end of the stream.
pub(super) fn read(from: &mut impl Read) -> Option<Value> {
    let marker = read_marker(from).ok()?;
    let number = |from: &mut dyn Read, bytes: usize| -> u64 {
        let mut whole = [0; 8];
        from.read_exact(&mut whole[8 - bytes..]).unwrap();
        u64::from_be_bytes(whole)
    };
    let bytes = |from: &mut dyn Read, length: u64| -> Vec<u8> {
        let mut whole = vec![0; usize::try_from(length).unwrap()];
        from.read_exact(&mut whole).unwrap();
        whole
    };
    let text = |bytes: Vec<u8>| Value::Text(String::from_utf8(bytes).unwrap());
    Some(match marker {
        Marker::Null => Value::Nil,
        Marker::True => Value::Bool(true),
        Marker::False => Value::Bool(false),
        Marker::FixPos(small) => Value::Int(small.into()),
        Marker::FixNeg(small) => Value::Int(small.into()),
        Marker::U8 => Value::Int(number(from, 1).into()),
        Marker::U16 => Value::Int(number(from, 2).into()),
        Marker::U32 => Value::Int(number(from, 4).into()),
        Marker::U64 => Value::Int(number(from, 8).into()),
        Marker::I64 => Value::Int(number(from, 8).cast_signed().into()),
        Marker::FixStr(length) => text(bytes(from, length.into())),
        Marker::Str8 => {
            let length = number(from, 1);
            text(bytes(from, length))
        }
        Marker::Str16 => {
            let length = number(from, 2);
            text(bytes(from, length))
        }
        Marker::Str32 => {
            let length = number(from, 4);
            text(bytes(from, length))
        }
        Marker::Bin8 => {
            let length = number(from, 1);
            Value::Bytes(bytes(from, length))
        }
        Marker::FixArray(length) => list(from, length.into()),
        Marker::Array16 => {
            let length = number(from, 2);
            list(from, length)
        }
        Marker::Array32 => {
            let length = number(from, 4);
            list(from, length)
        }
        Marker::FixMap(length) => map(from, length.into()),
        Marker::Map16 => {
            let length = number(from, 2);
            map(from, length)
        }
        Marker::Map32 => {
            let length = number(from, 4);
            map(from, length)
        }
        Marker::FixExt8 => {
            let kind = from.read_data_i8().unwrap();
            Value::Ext(kind, bytes(from, 8))
        }
        other => panic!("not of this protocol: {other:?}"),
    })
}

fn list(from: &mut impl Read, length: u64) -> Value {
    Value::List((0..length).map(|_| read(from).unwrap()).collect())
}

fn map(from: &mut impl Read, length: u64) -> Value {
    let mut pair = || (read(from).unwrap().text().to_owned(), read(from).unwrap());
    Value::Map((0..length).map(|_| pair()).collect())
}

pub(super) fn hex512(parts: &[&[u8]]) -> String {
    let hash = digest(&SHA512, &parts.concat());
    let words: Vec<String> = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    words.concat()
}

/// What a server knows of those that it lets in.
#[derive(Clone, Copy)]
pub(super) struct Security {
    pub(super) shared_key: &'static str,
    pub(super) user: Option<(&'static str, &'static str)>,
}

const NONCE: [u8; 16] = [0xfe, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
const SALT: &str = "auth-salt";

/// Lets a client in that knows what it should. Whether it did.
pub(super) fn welcome(stream: &mut (impl Read + Write), security: Security) -> bool {
    let mut helo = Vec::new();
    write_array_len(&mut helo, 2).unwrap();
    write_str(&mut helo, "HELO").unwrap();
    write_map_len(&mut helo, 3).unwrap();
    write_str(&mut helo, "nonce").unwrap();
    write_bin(&mut helo, &NONCE).unwrap();
    write_str(&mut helo, "auth").unwrap();
    write_str(&mut helo, security.user.map_or("", |_| SALT)).unwrap();
    write_str(&mut helo, "keepalive").unwrap();
    write_bool(&mut helo, true).unwrap();
    // In two pieces, as networks like to.
    stream.write_all(&helo[..7]).unwrap();
    stream.flush().unwrap();
    stream.write_all(&helo[7..]).unwrap();
    stream.flush().unwrap();
    let Some(ping) = read(stream) else { return false };
    let fields: Vec<&str> = ping.list().iter().map(Value::text).collect();
    let [word, host, salt, key, user, password] = fields[..] else { panic!("no PING: {ping:?}") };
    assert_eq!((word, host), ("PING", "web1"));
    let proof =
        |name: &str| hex512(&[salt.as_bytes(), name.as_bytes(), &NONCE, security.shared_key.as_bytes()]);
    let is_user = match security.user {
        Some((name, secret)) => {
            user == name && password == hex512(&[SALT.as_bytes(), name.as_bytes(), secret.as_bytes()])
        }
        None => user.is_empty() && password.is_empty(),
    };
    let reason = match (key == proof(host), is_user) {
        (false, _) => "shared_key mismatch",
        (true, false) => "username/password mismatch",
        (true, true) => "",
    };
    pong(stream, reason, "logs.example.org", &proof("logs.example.org"));
    reason.is_empty()
}

pub(super) fn pong(stream: &mut impl Write, reason: &str, host: &str, proof: &str) {
    let mut pong = Vec::new();
    write_array_len(&mut pong, 5).unwrap();
    write_str(&mut pong, "PONG").unwrap();
    write_bool(&mut pong, reason.is_empty()).unwrap();
    for text in [reason, host, if reason.is_empty() { proof } else { "" }] {
        write_str(&mut pong, text).unwrap();
    }
    stream.write_all(&pong).unwrap();
    stream.flush().unwrap();
}

/// Says that it has the chunk.
pub(super) fn ack(stream: &mut impl Write, chunk: &str) {
    let mut ack = Vec::new();
    write_map_len(&mut ack, 1).unwrap();
    write_str(&mut ack, "ack").unwrap();
    write_str(&mut ack, chunk).unwrap();
    stream.write_all(&ack).unwrap();
    stream.flush().unwrap();
}

/// A message as it came.
#[derive(Clone, Debug)]
pub(super) struct Got {
    pub(super) tag: String,
    pub(super) entries: Vec<Value>,
    pub(super) chunk: String,
}

pub(super) fn message(stream: &mut impl Read) -> Option<Got> {
    let message = read(stream)?;
    let [tag, entries, options] = message.list() else { panic!("no message: {message:?}") };
    let entries = entries.list().to_vec();
    assert_eq!(options.get("size"), &Value::Int(entries.len() as i128));
    Some(Got { tag: tag.text().to_owned(), entries, chunk: options.get("chunk").text().to_owned() })
}

/// Takes all messages of a connection until its end, and says that it has them.
pub(super) fn take_all(mut stream: impl Read + Write) -> Vec<Got> {
    let mut all = Vec::new();
    while let Some(got) = message(&mut stream) {
        ack(&mut stream, &got.chunk);
        all.push(got);
    }
    all
}

/// Ends a connection that has been read to its end.
pub(super) fn drain(mut stream: TcpStream) {
    let _ = stream.read_to_end(&mut Vec::new());
}
