//! The Redis protocol (RESP2), as much as the stand-in and the client need.

use std::future::Future;
use std::pin::Pin;

use anyhow::{Context, Result, bail, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

/// Longest line, in bytes.
const MAX_LINE: u64 = 64 * 1024;
/// Longest string, in bytes.
const MAX_STRING: usize = 1 << 20;
/// Most elements of an array.
const MAX_ELEMENTS: usize = 1024;
/// Deepest nesting of arrays.
const MAX_DEPTH: u8 = 8;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `+OK`
    Simple(String),
    /// `-ERR …`
    Error(String),
    /// `:1`
    Integer(i64),
    /// `$3`, or `$-1` for none
    Bulk(Option<Bytes>),
    /// `*2`
    Array(Vec<Value>),
}

impl Value {
    /// Appends the form on the wire.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Simple(text) => out.put_slice(format!("+{text}\r\n").as_bytes()),
            Self::Error(text) => out.put_slice(format!("-{text}\r\n").as_bytes()),
            Self::Integer(number) => out.put_slice(format!(":{number}\r\n").as_bytes()),
            Self::Bulk(None) => out.put_slice(b"$-1\r\n"),
            Self::Bulk(Some(bytes)) => {
                out.put_slice(format!("${}\r\n", bytes.len()).as_bytes());
                out.put_slice(bytes);
                out.put_slice(b"\r\n");
            }
            Self::Array(values) => {
                out.put_slice(format!("*{}\r\n", values.len()).as_bytes());
                for value in values {
                    value.encode(out);
                }
            }
        }
    }

    /// The text of a simple or bulk string, `None` for a missing one.
    ///
    /// # Errors
    /// An error answer, or another type.
    pub fn text(&self) -> Result<Option<String>> {
        match self {
            Self::Simple(text) => Ok(Some(text.clone())),
            Self::Bulk(bytes) => Ok(bytes.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned())),
            Self::Error(text) => bail!("redis answered: {text}"),
            other => bail!("redis answered {other:?} instead of a string"),
        }
    }
}

/// A command on the wire.
pub fn encode_command(words: &[&[u8]]) -> Bytes {
    let words = words.iter().map(|word| Value::Bulk(Some(Bytes::copy_from_slice(word))));
    let mut out = BytesMut::new();
    Value::Array(words.collect()).encode(&mut out);
    out.freeze()
}

/// Reads a command, as an array of strings or as a line of words. `None` at the end of the connection.
pub async fn read_command(reader: &mut (impl AsyncBufRead + Unpin)) -> Result<Option<Vec<Bytes>>> {
    let Some(line) = read_line(reader).await? else {
        return Ok(None);
    };
    let Some(count) = line.strip_prefix('*') else {
        let words = line
            .split_whitespace()
            .map(|word| Bytes::copy_from_slice(word.as_bytes()));
        return Ok(Some(words.collect()));
    };
    let count = length(count, MAX_ELEMENTS)?.unwrap_or(0);
    let mut words = Vec::new();
    for _ in 0..count {
        let line = read_line(reader)
            .await?
            .context("the connection ended within a command")?;
        let bytes = line.strip_prefix('$').context("a command is an array of strings")?;
        let length = length(bytes, MAX_STRING)?.context("a word of a command is missing")?;
        words.push(read_string(reader, length).await?);
    }
    Ok(Some(words))
}

/// Reads an answer.
pub async fn read_value(reader: &mut (impl AsyncBufRead + Unpin + Send)) -> Result<Value> {
    read_nested(reader, MAX_DEPTH).await
}

fn read_nested<'a, R: AsyncBufRead + Unpin + Send>(
    reader: &'a mut R,
    depth: u8,
) -> Pin<Box<dyn Future<Output = Result<Value>> + Send + 'a>> {
    Box::pin(async move {
        let line = read_line(reader)
            .await?
            .context("the connection ended before an answer")?;
        let mut rest = line.chars();
        let kind = rest.next();
        let rest = rest.as_str();
        match kind {
            Some('+') => Ok(Value::Simple(rest.to_owned())),
            Some('-') => Ok(Value::Error(rest.to_owned())),
            Some(':') => Ok(Value::Integer(rest.parse().context("an integer was expected")?)),
            Some('$') => match length(rest, MAX_STRING)? {
                None => Ok(Value::Bulk(None)),
                Some(length) => Ok(Value::Bulk(Some(read_string(reader, length).await?))),
            },
            Some('*') => {
                let depth = depth.checked_sub(1).context("an answer is nested too deeply")?;
                let mut values = Vec::new();
                for _ in 0..length(rest, MAX_ELEMENTS)?.unwrap_or(0) {
                    values.push(read_nested(reader, depth).await?);
                }
                Ok(Value::Array(values))
            }
            _ => bail!("not an answer of redis: {line:?}"),
        }
    })
}

/// A length; -1 means that there is nothing.
fn length(text: &str, most: usize) -> Result<Option<usize>> {
    if text == "-1" {
        return Ok(None);
    }
    let length: usize = text.parse().with_context(|| format!("not a length: {text:?}"))?;
    ensure!(length <= most, "a length of {length} exceeds {most}");
    Ok(Some(length))
}

async fn read_line(reader: &mut (impl AsyncBufRead + Unpin)) -> Result<Option<String>> {
    let mut line = Vec::new();
    let read = (&mut *reader).take(MAX_LINE).read_until(b'\n', &mut line).await?;
    if read == 0 {
        return Ok(None);
    }
    ensure!(
        line.ends_with(b"\n"),
        "a line is longer than {MAX_LINE} bytes or not complete"
    );
    let line = String::from_utf8(line).context("a line is not text")?;
    Ok(Some(line.trim_end_matches(['\r', '\n']).to_owned()))
}

async fn read_string(reader: &mut (impl AsyncBufRead + Unpin), length: usize) -> Result<Bytes> {
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes).await?;
    let mut end = [0; 2];
    reader.read_exact(&mut end).await?;
    ensure!(&end == b"\r\n", "a string is longer than announced");
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
    use super::*;

    #[tokio::test]
    async fn commands_in_both_forms() {
        let mut wire: &[u8] = b"*2\r\n$3\r\nGET\r\n$4\r\nzone\r\nGET  zone\r\n\r\n";
        let expected = Some(vec![Bytes::from("GET"), Bytes::from("zone")]);
        assert_eq!(read_command(&mut wire).await.unwrap(), expected);
        assert_eq!(read_command(&mut wire).await.unwrap(), expected);
        assert_eq!(read_command(&mut wire).await.unwrap(), Some(vec![]));
        assert_eq!(read_command(&mut wire).await.unwrap(), None);
        let encoded = encode_command(&[b"GET", b"zone"]);
        assert_eq!(read_command(&mut &encoded[..]).await.unwrap(), expected);
    }

    #[tokio::test]
    async fn answers_round_trip() {
        let value = Value::Array(vec![
            Value::Simple("OK".into()),
            Value::Error("ERR no".into()),
            Value::Integer(-3),
            Value::Bulk(None),
            Value::Bulk(Some("a\r\nb".into())),
            Value::Array(vec![]),
        ]);
        let mut wire = BytesMut::new();
        value.encode(&mut wire);
        assert_eq!(read_value(&mut &wire[..]).await.unwrap(), value);
    }

    #[tokio::test]
    async fn bad_input_is_refused() {
        let nested = "*1\r\n".repeat(20);
        let long = "x".repeat(100_000);
        for wire in [
            "",
            "x\r\n",
            "$99999999999\r\n",
            "$5\r\nab\r\n",
            "*2000\r\n",
            ":x\r\n",
            "+OK",
            &nested,
            &long,
        ] {
            assert!(read_value(&mut wire.as_bytes()).await.is_err(), "{wire:.20}");
        }
        for wire in ["*1\r\n", "*1\r\n+a\r\n", "*-5\r\n", "*1\r\n$-1\r\n", "*1\r\n$1\r\nabc"] {
            assert!(read_command(&mut wire.as_bytes()).await.is_err(), "{wire}");
        }
    }
}
