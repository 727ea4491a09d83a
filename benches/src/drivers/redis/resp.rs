//! RESP2, as much of it as SET, GET, WAIT and INFO need.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::fmt;

/// Longest line: a type, a number or a message.
const LINE_BYTES_MAX: usize = 4 << 10;
/// Longest value.
const BULK_BYTES_MAX: usize = 16 << 20;

/// Room made ahead for a value that is still to come.
const RESERVED_BYTES_MAX: usize = 64 << 10;

/// What a server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// `+OK`
    Simple(String),
    /// `-ERR ...`
    Error(String),
    /// `:1`
    Integer(i64),
    /// `$5 hello`; none for `$-1`.
    Bulk(Option<Bytes>),
}

/// Bytes that are no RESP2. The connection is of no more use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(&'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Adds a command to what will be sent.
pub fn encode(out: &mut BytesMut, words: &[&[u8]]) {
    out.put_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.put_slice(format!("${}\r\n", word.len()).as_bytes());
        out.put_slice(word);
        out.put_slice(b"\r\n");
    }
}

/// Takes the first reply off the buffer. None, with the buffer as it was, while it is not there in full.
pub fn decode(buffer: &mut BytesMut) -> Result<Option<Reply>, Malformed> {
    let searched = &buffer[..buffer.len().min(LINE_BYTES_MAX)];
    let Some(end) = searched.windows(2).position(|pair| pair == b"\r\n") else {
        let too_long = buffer.len() >= LINE_BYTES_MAX;
        return if too_long { Err(Malformed("a line without an end")) } else { Ok(None) };
    };
    let [kind, text @ ..] = &buffer[..end] else {
        return Err(Malformed("an empty line"));
    };
    let text = std::str::from_utf8(text).map_err(|_| Malformed("a line that is no text"))?;
    let number = || text.parse::<i64>().map_err(|_| Malformed("a number that is none"));
    let reply = match kind {
        b'+' => Reply::Simple(text.to_owned()),
        b'-' => Reply::Error(text.to_owned()),
        b':' => Reply::Integer(number()?),
        b'$' => match number()? {
            -1 => Reply::Bulk(None),
            length => return bulk(buffer, end + 2, length),
        },
        _ => return Err(Malformed("a reply of a kind that was not asked for")),
    };
    buffer.advance(end + 2);
    Ok(Some(reply))
}

fn bulk(buffer: &mut BytesMut, start: usize, length: i64) -> Result<Option<Reply>, Malformed> {
    let length = usize::try_from(length).ok().filter(|length| *length <= BULK_BYTES_MAX);
    let length = length.ok_or(Malformed("a value of an impossible length"))?;
    let end = start + length;
    if buffer.len() < end + 2 {
        // Not for all of it at once: that it will come is only claimed.
        buffer.reserve((end + 2 - buffer.len()).min(RESERVED_BYTES_MAX));
        return Ok(None);
    }
    if buffer[end..end + 2] != *b"\r\n" {
        return Err(Malformed("a value that is longer than announced"));
    }
    buffer.advance(start);
    let value = buffer.split_to(length).freeze();
    buffer.advance(2);
    Ok(Some(Reply::Bulk(Some(value))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use isobar_fuzz::{config, damage, read_within};
    use proptest::prelude::*;

    #[test]
    fn replies_are_read_whatever_way_they_are_cut() {
        let stream = b"+OK\r\n:2\r\n$5\r\nhe\r\no\r\n$-1\r\n$0\r\n\r\n-ERR no\r\n";
        let expected = [
            Reply::Simple("OK".into()),
            Reply::Integer(2),
            Reply::Bulk(Some(Bytes::from_static(b"he\r\no"))),
            Reply::Bulk(None),
            Reply::Bulk(Some(Bytes::new())),
            Reply::Error("ERR no".into()),
        ];
        for piece in 1..=stream.len() {
            let (mut buffer, mut found) = (BytesMut::new(), Vec::new());
            for bytes in stream.chunks(piece) {
                buffer.extend_from_slice(bytes);
                while let Some(reply) = decode(&mut buffer).expect("legal") {
                    found.push(reply);
                }
            }
            assert_eq!(found, expected, "in pieces of {piece}");
            assert!(buffer.is_empty());
        }
    }

    #[test]
    fn hostile_bytes_are_an_error_and_take_no_memory() {
        let long = [b'+'; LINE_BYTES_MAX];
        let huge = format!("${}\r\n", BULK_BYTES_MAX + 1);
        for bytes in [
            &b"\r\n"[..],
            b"$-2\r\n",
            b"$99999999999999999999\r\n",
            b":one\r\n",
            b"*1\r\n",
            b"+\xff\r\n",
            b"$1\r\nabc",
            huge.as_bytes(),
            &long,
        ] {
            let mut buffer = BytesMut::from(bytes);
            assert!(decode(&mut buffer).is_err(), "{:?}", String::from_utf8_lossy(bytes));
        }
        let mut buffer = BytesMut::from(&b"$5\r\nhel"[..]);
        assert_eq!(decode(&mut buffer), Ok(None));
        assert_eq!(buffer, &b"$5\r\nhel"[..], "nothing is taken of half a reply");
    }

    #[test]
    fn a_command_is_an_array_of_its_words() {
        let mut out = BytesMut::new();
        encode(&mut out, &[b"SET", b"k", b"\r\n"]);
        assert_eq!(out, &b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\n\r\n\r\n"[..]);
    }

    fn written(reply: &Reply) -> Vec<u8> {
        match reply {
            Reply::Simple(text) => format!("+{text}\r\n").into(),
            Reply::Error(text) => format!("-{text}\r\n").into(),
            Reply::Integer(number) => format!(":{number}\r\n").into(),
            Reply::Bulk(None) => b"$-1\r\n".to_vec(),
            Reply::Bulk(Some(value)) => {
                [format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat()
            }
        }
    }

    fn reply() -> impl Strategy<Value = Reply> {
        prop_oneof![
            "[ -~]{0,20}".prop_map(Reply::Simple),
            "[ -~]{0,20}".prop_map(Reply::Error),
            any::<i64>().prop_map(Reply::Integer),
            any::<Option<Vec<u8>>>().prop_map(|value| Reply::Bulk(value.map(Bytes::from))),
        ]
    }

    /// Takes replies until there is none, or the bytes are no replies.
    fn decode_all(bytes: &[u8]) -> Vec<Reply> {
        read_within(bytes.len(), || {
            let (mut buffer, mut found) = (BytesMut::from(bytes), Vec::new());
            while let Ok(Some(reply)) = decode(&mut buffer) {
                found.push(reply);
            }
            found
        })
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn fuzz_replies(
            replies in prop::collection::vec(reply(), 0..5), damage in damage(), any: Vec<u8>,
            text in "[$:+*-]?-?[0-9]{0,20}(\r\n)?[a-z]{0,5}(\r\n)?",
        ) {
            let whole: Vec<u8> = replies.iter().flat_map(written).collect();
            prop_assert_eq!(decode_all(&whole), replies);
            for bytes in [damage.of(&whole), any, text.into_bytes()] {
                decode_all(&bytes);
            }
        }
    }
}
