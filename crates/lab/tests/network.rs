//! What hosts of a lab can do. Needs root or user namespaces.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http::Request;
use meshspan_lab::workload::Echo;
use meshspan_lab::{
    Host, HostOptions, HttpConnection, HttpVersion, Lab, Proc, RedisConnection, eventually, http_get, http_request,
    isolated,
};

const LIMIT: Duration = Duration::from_secs(10);

fn workload(kind: &str, port: u16, zone: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshspan-lab"));
    command.args([kind, "--port", &port.to_string(), "--zone", zone]);
    command
}

async fn start_redis(host: &Host) -> Result<Proc> {
    let proc = host.spawn("redis", workload("lab-redis", 6379, host.name())).await?;
    zone_of_redis(host, redis_of(host)).await?;
    Ok(proc)
}

fn redis_of(host: &Host) -> SocketAddr {
    (host.address(), 6379).into()
}

/// Asks until an answer comes.
async fn zone_of_redis(from: &Host, to: SocketAddr) -> Result<String> {
    eventually("an answer of redis", LIMIT, || async {
        RedisConnection::open(from, to).await?.zone().await
    })
    .await
}

#[test]
fn hosts_have_names_addresses_and_files_of_their_own() {
    isolated(|| async {
        let lab = Lab::new().await?;
        let options = HostOptions {
            name_servers: vec!["10.9.9.9".parse()?],
            aliases: vec![("10.2.0.1".parse()?, "global.test".into())],
        };
        let east = lab.host_with("east", [10, 1, 0, 1].into(), options).await?;
        let west = lab.host("west", [10, 2, 0, 1].into()).await?;
        ensure!(east.output("uname", &["-n"]).await?.trim() == "east");
        ensure!(
            east.output("cat", &["/etc/resolv.conf"])
                .await?
                .starts_with("nameserver 10.9.9.9\n")
        );
        ensure!(
            west.output("cat", &["/etc/resolv.conf"])
                .await?
                .starts_with("nameserver 10.255.255.254\n")
        );
        ensure!(east.resolve("global.test").await? == ["10.2.0.1".parse::<IpAddr>()?]);
        ensure!(west.resolve("global.test").await?.is_empty());
        ensure!(east.resolve("east").await? == ["10.1.0.1".parse::<IpAddr>()?]);
        // A connection to an address nobody has must find a route, or interception never sees it.
        ensure!(
            east.output("ip", &["route", "get", "243.0.0.1"])
                .await?
                .contains("10.255.255.254")
        );
        for (name, address) in [
            ("east", [10, 1, 0, 2]),
            ("other", [10, 1, 0, 1]),
            ("other", [192, 0, 2, 1]),
            ("a b", [10, 1, 0, 3]),
        ] {
            ensure!(lab.host(name, address.into()).await.is_err(), "{name} {address:?}");
        }
        Ok(())
    });
}

#[test]
fn a_process_is_reached_from_other_hosts_and_from_here() {
    isolated(|| async {
        let lab = Lab::new().await?;
        let east = lab.host("east", [10, 1, 0, 1].into()).await?;
        let west = lab.host("west", [10, 2, 0, 1].into()).await?;
        let south = lab.host("south", [10, 3, 0, 1].into()).await?;
        let _east_redis = start_redis(&east).await?;
        let _west_redis = start_redis(&west).await?;
        ensure!(zone_of_redis(&south, redis_of(&east)).await? == "east");
        ensure!(zone_of_redis(&south, redis_of(&west)).await? == "west");
        // Each has its own loopback interface.
        let local = ([127, 0, 0, 1], 6379).into();
        ensure!(zone_of_redis(&east, local).await? == "east");
        ensure!(zone_of_redis(&west, local).await? == "west");
        ensure!(south.connect(local).await.is_err());
        let here = tokio::net::TcpStream::connect(redis_of(&west)).await?;
        ensure!(RedisConnection::over(here).zone().await? == "west");
        Ok(())
    });
}

#[test]
fn the_death_of_a_process_is_seen_and_it_can_come_back() {
    isolated(|| async {
        let lab = Lab::new().await?;
        let east = lab.host("east", [10, 1, 0, 1].into()).await?;
        let west = lab.host("west", [10, 2, 0, 1].into()).await?;
        let mut redis = start_redis(&east).await?;
        ensure!(redis.status()?.is_none());
        ensure!(
            redis.log_tail().contains("listening on 0.0.0.0:6379"),
            "{}",
            redis.log_tail()
        );
        let mut open = RedisConnection::open(&west, redis_of(&east)).await?;
        ensure!(!redis.kill9().await?.success());
        ensure!(open.zone().await.is_err());
        ensure!(west.connect(redis_of(&east)).await.is_err());
        let mut redis = start_redis(&east).await?;
        ensure!(zone_of_redis(&west, redis_of(&east)).await? == "east");
        redis.terminate(LIMIT).await?;
        ensure!(west.connect(redis_of(&east)).await.is_err());
        Ok(())
    });
}

#[test]
fn kill9_leaves_children_and_the_others_do_not() {
    isolated(|| async {
        let lab = Lab::new().await?;
        let east = lab.host("east", [10, 1, 0, 1].into()).await?;
        let redis = env!("CARGO_BIN_EXE_meshspan-lab");
        let parent = || {
            let mut command = Command::new("sh");
            command.args(["-c", &format!("{redis} lab-redis --port 6379 --zone east & wait")]);
            command
        };
        let gone = async || {
            eventually("the end of the child", LIMIT, || async {
                ensure!(east.connect(redis_of(&east)).await.is_err());
                Ok(())
            })
            .await
        };
        let mut shell = east.spawn("shell", parent()).await?;
        zone_of_redis(&east, redis_of(&east)).await?;
        shell.kill_tree().await?;
        gone().await?;

        let mut shell = east.spawn("shell", parent()).await?;
        zone_of_redis(&east, redis_of(&east)).await?;
        shell.kill9().await?;
        ensure!(
            zone_of_redis(&east, redis_of(&east)).await? == "east",
            "the child must live on"
        );
        ensure!(lab.logs().contains("listening on"), "{}", lab.logs());
        east.kill_all();
        gone().await
    });
}

#[test]
fn the_real_redis_and_our_client_understand_each_other() {
    isolated(|| async {
        let lab = Lab::new().await?;
        let east = lab.host("east", [10, 1, 0, 1].into()).await?;
        let west = lab.host("west", [10, 2, 0, 1].into()).await?;
        let mut command = Command::new("redis-server");
        command.args(["--port", "6379", "--save", "", "--protected-mode", "no"]);
        let _redis = east.spawn("redis", command).await?;
        let mut client = eventually("redis", LIMIT, || RedisConnection::open(&west, redis_of(&east))).await?;
        ensure!(client.command(&["SET", "zone", "east"]).await?.text()?.as_deref() == Some("OK"));
        ensure!(client.zone().await? == "east");
        ensure!(
            client
                .command(&["INFO"])
                .await?
                .text()?
                .is_some_and(|info| info.contains("redis_version"))
        );
        Ok(())
    });
}

/// Whether nothing comes of a connection to the Redis of 10.1.0.1 in half a second. That it is reached has no such limit: the
/// machine may be busy.
async fn cut_off(from: &Host) -> bool {
    let attempt = RedisConnection::open(from, ([10, 1, 0, 1], 6379).into());
    !tokio::time::timeout(Duration::from_millis(500), attempt)
        .await
        .is_ok_and(|opened| opened.is_ok())
}

#[test]
fn links_break_and_heal() {
    isolated(|| async {
        let lab = Lab::new().await?;
        let east = lab.host("east", [10, 1, 0, 1].into()).await?;
        let west = lab.host("west", [10, 2, 0, 1].into()).await?;
        let south = lab.host("south", [10, 3, 0, 1].into()).await?;
        let _redis = start_redis(&east).await?;
        for host in [&west, &south] {
            zone_of_redis(host, redis_of(&east)).await?;
        }

        east.partition().await?;
        ensure!(cut_off(&west).await && cut_off(&south).await);
        // Loopback traffic goes on.
        zone_of_redis(&east, redis_of(&east)).await?;
        east.heal().await?;
        zone_of_redis(&west, redis_of(&east)).await?;

        east.cut(&west).await?;
        ensure!(cut_off(&west).await);
        zone_of_redis(&south, redis_of(&east)).await?;
        east.mend(&west).await?;
        zone_of_redis(&west, redis_of(&east)).await?;
        Ok(())
    });
}

#[test]
fn http_over_both_versions() {
    isolated(|| async {
        let lab = Lab::new().await?;
        let east = lab.host("east", [10, 1, 0, 1].into()).await?;
        let options = HostOptions {
            aliases: vec![("10.1.0.1".parse()?, "echo.test".into())],
            ..HostOptions::default()
        };
        let west = lab.host_with("west", [10, 2, 0, 1].into(), options).await?;
        let _echo = east.spawn("echo", workload("lab-echo", 8080, "east")).await?;
        let url = "http://echo.test:8080/a?b=c";
        let response = eventually("the echo service", LIMIT, || http_get(&west, url)).await?;
        let echo: Echo = serde_json::from_slice(response.body())?;
        ensure!((echo.zone.as_str(), echo.path.as_str(), echo.version.as_str()) == ("east", "/a?b=c", "HTTP/1.1"));
        ensure!(
            echo.headers == BTreeMap::from([("host".into(), "echo.test:8080".into())]),
            "{:?}",
            echo.headers
        );

        let post = Request::post(url).header("x-a", "1").body(Bytes::from("hello"))?;
        let response = http_request(&west, HttpVersion::Http2, post).await?;
        ensure!(response.headers()["x-zone"] == "east");
        let echo: Echo = serde_json::from_slice(response.body())?;
        ensure!((echo.method.as_str(), echo.version.as_str(), echo.body.as_str()) == ("POST", "HTTP/2.0", "hello"));
        ensure!(echo.headers["x-a"] == "1");

        let call = Request::post("http://echo.test:8080/a.Service/Method")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Bytes::from_static(b"\0\0\0\0\x02hi"))?;
        let response = http_request(&west, HttpVersion::Http2, call).await?;
        ensure!(response.headers()["grpc-status"] == "0" && response.headers()["content-type"] == "application/grpc");
        let (prefix, message) = response.body().split_at(5);
        ensure!(prefix == [&[0], &(message.len() as u32).to_be_bytes()[..]].concat());
        let echo: Echo = serde_json::from_slice(message)?;
        ensure!((echo.path.as_str(), echo.body.as_str()) == ("/a.Service/Method", "hi"));

        for version in [HttpVersion::Http1, HttpVersion::Http2] {
            let mut connection = HttpConnection::open(&west, "10.1.0.1:8080", version).await?;
            for code in [503, 200] {
                let request = Request::get(format!("/status/{code}")).body(Bytes::new())?;
                ensure!(connection.send(request).await?.status() == code);
            }
        }
        Ok(())
    });
}

#[test]
fn sockets_of_this_process_live_on_a_host() {
    isolated(|| async {
        let lab = Lab::new().await?;
        let east = lab.host("east", [10, 1, 0, 1].into()).await?;
        let west = lab.host("west", [10, 2, 0, 1].into()).await?;
        let listener = east.listen(([10, 1, 0, 1], 0).into()).await?;
        let address = listener.local_addr()?;
        let (accepted, connected) = tokio::join!(listener.accept(), west.connect(address));
        ensure!(accepted?.1.ip() == west.address());
        connected?;
        let server = east.udp(([10, 1, 0, 1], 5300).into()).await?;
        let client = west.udp(([0, 0, 0, 0], 0).into()).await?;
        client.send_to(b"x", server.local_addr()?).await?;
        let mut buffer = [0; 8];
        let (length, from) = server.recv_from(&mut buffer).await?;
        ensure!(length == 1 && from.ip() == west.address());
        ensure!(
            west.listen(address).await.is_err(),
            "the address belongs to another host"
        );
        Ok(())
    });
}

#[test]
fn dropping_a_lab_leaves_nothing() {
    isolated(|| async {
        let before = interfaces()?;
        let lab = Lab::new().await?;
        let east = lab.host("east", [10, 1, 0, 1].into()).await?;
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 1000 & sleep 1000"]);
        std::mem::forget(east.spawn("shell", command).await?);
        ensure!(interfaces()? != before);
        let directory = lab.directory().to_owned();
        drop((lab, east));
        ensure!(!directory.exists());
        eventually("the end of everything", LIMIT, || async {
            let sleeping = Command::new("pgrep").args(["-r", "S,R", "sleep"]).output()?;
            ensure!(sleeping.stdout.is_empty(), "processes are left");
            let now = interfaces()?;
            ensure!(now == before, "interfaces are left: {now}");
            Ok(())
        })
        .await?;
        // The addresses are free for the next one.
        Lab::new().await?.host("east", [10, 1, 0, 1].into()).await?;
        Ok(())
    });
}

/// Interfaces in the network of the lab, by name.
fn interfaces() -> Result<String> {
    let output = Command::new("ip").args(["-o", "-br", "link"]).output()?;
    let text = String::from_utf8(output.stdout)?;
    Ok(text
        .lines()
        .filter_map(|line| line.split(['@', ' ']).next())
        .collect::<Vec<_>>()
        .join(" "))
}

#[test]
fn a_lab_needs_namespaces() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let error = runtime.block_on(Lab::new()).unwrap_err();
    assert!(error.to_string().contains("isolate()"), "{error}");
}

#[test]
fn the_lab_itself_stays_in_reach_while_hosts_join() {
    isolated(|| async {
        let lab = Lab::new().await?;
        let listener = tokio::net::TcpListener::bind((meshspan_lab::GATEWAY, 0)).await?;
        let lab_itself = listener.local_addr()?;
        tokio::spawn(async move { while listener.accept().await.is_ok() {} });
        let first = lab.host("first", Ipv4Addr::new(10, 0, 0, 1)).await?;
        // Each link has a random address, and a bridge likes the lowest.
        for number in 2..20 {
            tokio::time::timeout(LIMIT, first.connect(lab_itself))
                .await
                .context("no answer")??;
            lab.host(&format!("host-{number}"), Ipv4Addr::new(10, 0, 0, number))
                .await?;
        }
        Ok(())
    });
}
