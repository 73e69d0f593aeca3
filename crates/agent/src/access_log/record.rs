//! Records as Envoy sends them: messages of the Fluent forward protocol, `[tag, [[time, record], …], options]`, in
//! MessagePack. Only what such records can hold is read.

use serde_json::Value;
use std::fmt::Write;

/// Longest message that is waited for.
pub(super) const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;
/// How deep values may be nested.
const MAX_DEPTH: usize = 16;

/// A line and where it goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// `host:port`.
    pub(super) address: String,
    /// Without the end of the line.
    pub(super) line: String,
}

/// Why nothing more can be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RecordError {
    #[error("a message is longer than {MAX_MESSAGE_BYTES} bytes")]
    TooLong,
    #[error("a message is nested too deeply")]
    TooDeep,
    #[error("byte {0:#04x} begins no value of MessagePack")]
    Malformed(u8),
    #[error("a message is not of the Fluent forward protocol")]
    Unexpected,
}

/// The records of the first message, and its length; `None` if it has not come as a whole. Records of another form are
/// left out.
pub(super) fn take(bytes: &[u8]) -> Result<Option<(Vec<Record>, usize)>, RecordError> {
    let mut reader = Reader { rest: bytes };
    let message = match reader.value(MAX_DEPTH) {
        Ok(message) => message,
        Err(Stop::Incomplete) => return Ok(None),
        Err(Stop::Failed(error)) => return Err(error),
    };
    let entries = message
        .get(1)
        .and_then(Value::as_array)
        .ok_or(RecordError::Unexpected)?;
    let records = entries.iter().filter_map(|entry| record(entry.get(1)?)).collect();
    Ok(Some((records, bytes.len() - reader.rest.len())))
}

fn record(value: &Value) -> Option<Record> {
    let line = match value.get("message")? {
        Value::String(line) => line.clone(),
        Value::Array(fields) => object(fields),
        _ => return None,
    };
    Some(Record {
        address: value.get("address")?.as_str()?.to_owned(),
        // One record, one line.
        line: line.replace('\n', " "),
    })
}

/// A JSON object with the fields of many, in their order.
fn object(fields: &[Value]) -> String {
    let fields = fields.iter().filter_map(Value::as_object).flatten();
    let mut text = String::from("{");
    for (index, (key, value)) in fields.enumerate() {
        let comma = if index > 0 { "," } else { "" };
        // Writing to a string cannot fail.
        let _ = write!(text, "{comma}{}:{value}", Value::from(key.as_str()));
    }
    text + "}"
}

enum Stop {
    Incomplete,
    Failed(RecordError),
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> Result<&'a [u8], Stop> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Stop::Incomplete)?;
        self.rest = rest;
        Ok(taken)
    }

    /// An unsigned number of `count` bytes, at most 8.
    fn number(&mut self, count: usize) -> Result<u64, Stop> {
        Ok(self
            .bytes(count)?
            .iter()
            .fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn length(&mut self, count: usize) -> Result<usize, Stop> {
        let length = self.number(count)?;
        usize::try_from(length)
            .ok()
            .filter(|length| *length <= MAX_MESSAGE_BYTES)
            .ok_or(Stop::Failed(RecordError::TooLong))
    }

    fn value(&mut self, depth: usize) -> Result<Value, Stop> {
        let depth = depth.checked_sub(1).ok_or(Stop::Failed(RecordError::TooDeep))?;
        let kind = self.number(1)? as u8;
        Ok(match kind {
            0x00..=0x7f => Value::from(kind),
            0x80..=0x8f => self.map(usize::from(kind & 0x0f), depth)?,
            0x90..=0x9f => self.array(usize::from(kind & 0x0f), depth)?,
            0xa0..=0xbf => self.text(usize::from(kind & 0x1f))?,
            0xc0 => Value::Null,
            0xc2 => Value::Bool(false),
            0xc3 => Value::Bool(true),
            0xc4 | 0xd9 => self.sized_text(1)?,
            0xc5 | 0xda => self.sized_text(2)?,
            0xc6 | 0xdb => self.sized_text(4)?,
            // Extensions hold points in time, which lines have in their own form.
            0xc7 => self.extension(1)?,
            0xc8 => self.extension(2)?,
            0xc9 => self.extension(4)?,
            0xd4..=0xd8 => {
                self.bytes(1 + (1 << (kind - 0xd4)))?;
                Value::Null
            }
            0xca => Value::from(f32::from_bits(self.number(4)? as u32)),
            0xcb => Value::from(f64::from_bits(self.number(8)?)),
            0xcc => Value::from(self.number(1)?),
            0xcd => Value::from(self.number(2)?),
            0xce => Value::from(self.number(4)?),
            0xcf => Value::from(self.number(8)?),
            0xd0 => Value::from(self.number(1)? as u8 as i8),
            0xd1 => Value::from(self.number(2)? as u16 as i16),
            0xd2 => Value::from(self.number(4)? as u32 as i32),
            0xd3 => Value::from(self.number(8)? as i64),
            0xdc => {
                let length = self.length(2)?;
                self.array(length, depth)?
            }
            0xdd => {
                let length = self.length(4)?;
                self.array(length, depth)?
            }
            0xde => {
                let length = self.length(2)?;
                self.map(length, depth)?
            }
            0xdf => {
                let length = self.length(4)?;
                self.map(length, depth)?
            }
            0xe0..=0xff => Value::from(kind as i8),
            0xc1 => return Err(Stop::Failed(RecordError::Malformed(kind))),
        })
    }

    fn sized_text(&mut self, size: usize) -> Result<Value, Stop> {
        let length = self.length(size)?;
        self.text(length)
    }

    fn text(&mut self, length: usize) -> Result<Value, Stop> {
        Ok(Value::from(String::from_utf8_lossy(self.bytes(length)?)))
    }

    fn extension(&mut self, size: usize) -> Result<Value, Stop> {
        let length = self.length(size)?;
        self.bytes(1 + length)?;
        Ok(Value::Null)
    }

    // Not made in advance for `length` items: each takes at least a byte of what has come.
    fn array(&mut self, length: usize, depth: usize) -> Result<Value, Stop> {
        let mut items = Vec::new();
        for _ in 0..length {
            items.push(self.value(depth)?);
        }
        Ok(Value::Array(items))
    }

    fn map(&mut self, length: usize, depth: usize) -> Result<Value, Stop> {
        let mut fields = serde_json::Map::new();
        for _ in 0..length {
            let key = match self.value(depth)? {
                Value::String(key) => key,
                other => other.to_string(),
            };
            fields.insert(key, self.value(depth)?);
        }
        Ok(Value::Object(fields))
    }
}
