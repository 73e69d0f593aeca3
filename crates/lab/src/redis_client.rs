//! A Redis client of an application on a host.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncWriteExt, BufStream};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::host::Host;
use crate::resp::{Value, encode_command, read_value};

/// Longest time for an answer.
const LIMIT: Duration = Duration::from_secs(10);

/// A connection to a Redis or to the stand-in.
#[derive(Debug)]
pub struct RedisConnection {
    stream: BufStream<TcpStream>,
}

impl RedisConnection {
    /// Connects from `host`.
    ///
    /// # Errors
    /// As for [`Host::connect`].
    pub async fn open(host: &Host, to: SocketAddr) -> Result<Self> {
        Ok(Self::over(host.connect(to).await?))
    }

    /// Looks `name` up on `host`, as an application does, and connects to its first IPv4 address.
    ///
    /// # Errors
    /// The name has no address, or as for [`Host::connect`].
    pub async fn open_name(host: &Host, name: &str, port: u16) -> Result<Self> {
        let addresses = host.resolve(name).await?;
        let address = addresses
            .iter()
            .find(|address| address.is_ipv4())
            .with_context(|| format!("{name} has no address on {}", host.name()))?;
        Self::open(host, (*address, port).into()).await
    }

    /// Uses an open connection.
    pub fn over(stream: TcpStream) -> Self {
        Self {
            stream: BufStream::new(stream),
        }
    }

    /// Sends a command and waits for the answer.
    ///
    /// # Errors
    /// The connection broke, no answer came within 10 seconds, or it is not one of Redis. An error answer is a [`Value::Error`].
    pub async fn command(&mut self, words: &[&str]) -> Result<Value> {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        let exchange = async {
            self.stream.write_all(&encode_command(&words)).await?;
            self.stream.flush().await?;
            read_value(&mut self.stream).await
        };
        timeout(LIMIT, exchange).await.context("redis did not answer")?
    }

    /// The zone that answers: `GET zone`.
    ///
    /// # Errors
    /// As for [`RedisConnection::command`], or the server has no such key.
    pub async fn zone(&mut self) -> Result<String> {
        self.command(&["GET", "zone"])
            .await?
            .text()?
            .context("the redis that answered names no zone")
    }
}
