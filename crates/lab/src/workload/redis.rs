//! A stand-in for redis-server: strings only, in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::resp::{Value, read_command};

/// Most keys that are kept.
const MAX_KEYS: usize = 10_000;

/// State shared by all connections.
struct Redis {
    zone: String,
    keys: Mutex<BTreeMap<Bytes, Bytes>>,
}

/// Serves PING, ECHO, SET, GET, DEL, DBSIZE, INFO, SELECT, CLIENT, COMMAND and QUIT. The key `zone` and the field `zone` of INFO name
/// the zone.
///
/// # Errors
/// The listener fails.
pub async fn redis(listener: TcpListener, zone: &str) -> Result<()> {
    let zone_key = (Bytes::from("zone"), Bytes::from(zone.to_owned()));
    let redis = Arc::new(Redis {
        zone: zone.to_owned(),
        keys: Mutex::new(BTreeMap::from([zone_key])),
    });
    let mut connections = JoinSet::new();
    loop {
        let (stream, peer) = listener.accept().await?;
        let redis = redis.clone();
        connections.spawn(async move {
            if let Err(error) = serve(stream, &redis).await {
                tracing::debug!("{peer}: {error:#}");
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, redis: &Redis) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    loop {
        let command = match read_command(&mut stream).await {
            Ok(Some(command)) => command,
            Ok(None) => return Ok(()),
            Err(error) => {
                send(&mut stream, &Value::Error(format!("ERR Protocol error: {error}"))).await?;
                return Err(error);
            }
        };
        let Some((name, arguments)) = command.split_first() else {
            continue;
        };
        let name = String::from_utf8_lossy(name).to_uppercase();
        let answer = redis.answer(&name, arguments);
        send(&mut stream, &answer).await?;
        if name == "QUIT" {
            return Ok(());
        }
    }
}

async fn send(stream: &mut BufReader<TcpStream>, value: &Value) -> Result<()> {
    let mut out = BytesMut::new();
    value.encode(&mut out);
    stream.write_all(&out).await?;
    Ok(())
}

impl Redis {
    fn answer(&self, name: &str, arguments: &[Bytes]) -> Value {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let ok = || Value::Simple("OK".to_owned());
        match (name, arguments) {
            ("PING", []) => Value::Simple("PONG".to_owned()),
            ("PING" | "ECHO", [message]) => Value::Bulk(Some(message.clone())),
            ("SET", [key, value]) => {
                if keys.len() >= MAX_KEYS && !keys.contains_key(key) {
                    return Value::Error(format!("OOM this stand-in keeps {MAX_KEYS} keys at most"));
                }
                keys.insert(key.clone(), value.clone());
                ok()
            }
            ("GET", [key]) => Value::Bulk(keys.get(key).cloned()),
            ("DEL", [_, ..]) => {
                let deleted = arguments.iter().filter(|key| keys.remove(*key).is_some()).count();
                Value::Integer(i64::try_from(deleted).unwrap_or(i64::MAX))
            }
            ("DBSIZE", []) => Value::Integer(i64::try_from(keys.len()).unwrap_or(i64::MAX)),
            ("INFO", _) => Value::Bulk(Some(
                format!(
                    "# Server\r\nredis_version:7.0.0\r\nredis_mode:standalone\r\nserver_name:meshspan-lab\r\nzone:{}\r\n",
                    self.zone
                )
                .into(),
            )),
            // What redis-cli asks on connecting.
            ("COMMAND", _) => Value::Array(Vec::new()),
            ("CLIENT" | "SELECT", [_, ..]) | ("QUIT", []) => ok(),
            ("PING" | "ECHO" | "SET" | "GET" | "DEL" | "DBSIZE" | "CLIENT" | "SELECT" | "QUIT", _) => {
                Value::Error(format!("ERR wrong number of arguments for '{}' command", name.to_lowercase()))
            }
            _ => Value::Error(format!("ERR unknown command '{name:.64}'")),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
    use super::*;
    use crate::redis_client::RedisConnection;

    #[tokio::test]
    async fn answers_a_client() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move { redis(listener, "east").await });
        let mut client = RedisConnection::over(TcpStream::connect(address).await.unwrap());
        assert_eq!(client.zone().await.unwrap(), "east");
        let info = client.command(&["INFO"]).await.unwrap().text().unwrap().unwrap();
        assert!(info.lines().any(|line| line == "zone:east"), "{info}");
        assert_eq!(client.command(&["ping"]).await.unwrap(), Value::Simple("PONG".into()));
        assert_eq!(
            client.command(&["SET", "a", "1"]).await.unwrap(),
            Value::Simple("OK".into())
        );
        assert_eq!(
            client.command(&["GET", "a"]).await.unwrap().text().unwrap().unwrap(),
            "1"
        );
        assert_eq!(client.command(&["DEL", "a", "b"]).await.unwrap(), Value::Integer(1));
        assert_eq!(client.command(&["GET", "a"]).await.unwrap(), Value::Bulk(None));
        for wrong in [&["GET"][..], &["SET", "a"], &["FLUSHALL"]] {
            assert!(matches!(client.command(wrong).await.unwrap(), Value::Error(_)));
        }
        server.abort();
    }
}
