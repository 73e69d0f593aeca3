#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use hickory_proto::op::{Message, Query};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use meshspan_xds::proto::agent::{DnsRecord, DnsUpdate};
use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

/// The server under test, its tasks, and its resolvers.
struct Dns {
    address: SocketAddr,
    table: Arc<Table>,
    _folder: tempfile::TempDir,
    _tasks: JoinSet<()>,
}

async fn start(resolvers: &[SocketAddr]) -> Dns {
    start_with(resolvers, "").await
}

async fn start_with(resolvers: &[SocketAddr], more: &str) -> Dns {
    start_on("127.0.0.1:0", resolvers, more).await
}

async fn start_on(listen: &str, resolvers: &[SocketAddr], more: &str) -> Dns {
    let folder = tempfile::tempdir().unwrap();
    let resolv_conf = folder.path().join("resolv.conf");
    let lines: String = resolvers
        .iter()
        .map(|address| format!("nameserver [{}]:{}\n", address.ip(), address.port()))
        .collect();
    std::fs::write(&resolv_conf, lines + more).unwrap();
    let settings = DnsSettings {
        listen: listen.parse().unwrap(),
        resolv_conf,
        mark: SocketMark::default(),
    };
    let table = Arc::new(Table::new());
    let server = DnsServer::bind(&settings, table.clone()).await.unwrap();
    let address = server.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(server.serve());
    Dns {
        address,
        table,
        _folder: folder,
        _tasks: tasks,
    }
}

fn set(table: &Table, name: &str, addresses: &[&str]) {
    let addresses = addresses.iter().map(|a| (*a).to_owned()).collect();
    let records = vec![DnsRecord {
        name: name.to_owned(),
        addresses,
    }];
    table.apply(DnsUpdate {
        full: false,
        records,
        removed_names: vec![],
        ttl_seconds: 3,
        ..DnsUpdate::default()
    });
}

fn query(name: &str, record_type: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), record_type));
    message
}

async fn ask_udp(server: SocketAddr, query: &Message) -> Message {
    ask_udp_from("127.0.0.1:0", server, query).await
}

async fn ask_udp_from(own: &str, server: SocketAddr, query: &Message) -> Message {
    let socket = UdpSocket::bind(own).await.unwrap();
    socket.connect(server).await.unwrap();
    socket.send(&query.to_vec().unwrap()).await.unwrap();
    let mut buffer = vec![0; 65535];
    let length = socket.recv(&mut buffer).await.unwrap();
    let answer = Message::from_vec(&buffer[..length]).unwrap();
    assert_eq!(answer.metadata.id, query.metadata.id);
    answer
}

async fn ask_tcp(stream: &mut TcpStream, query: &Message) -> Message {
    let bytes = query.to_vec().unwrap();
    stream.write_u16(u16::try_from(bytes.len()).unwrap()).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
    let mut answer = vec![0; stream.read_u16().await.unwrap().into()];
    stream.read_exact(&mut answer).await.unwrap();
    Message::from_vec(&answer).unwrap()
}

fn addresses(answer: &Message) -> Vec<String> {
    answer.answers.iter().map(|record| record.data.to_string()).collect()
}

/// A resolver that knows every name.
struct Upstream {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

fn upstream_answer(request: &[u8], code: ResponseCode, truncate: bool) -> Vec<u8> {
    let request = Message::from_vec(request).unwrap();
    let mut answer = Message::response(request.metadata.id, request.metadata.op_code);
    answer.metadata.response_code = code;
    answer.add_query(request.queries[0].clone());
    let data = RData::A(A(Ipv4Addr::new(192, 0, 2, 1)));
    answer.add_answer(Record::from_rdata(request.queries[0].name().clone(), 60, data));
    if truncate {
        answer.truncate().to_vec().unwrap()
    } else {
        answer.to_vec().unwrap()
    }
}

/// Over UDP it answers with `code`, truncated if asked for; over TCP whole.
async fn upstream(code: ResponseCode, truncate: bool) -> Upstream {
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    let udp = UdpSocket::bind(address).await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut buffer = vec![0; 65535];
        while let Ok((length, client)) = udp.recv_from(&mut buffer).await {
            udp.send_to(&upstream_answer(&buffer[..length], code, truncate), client)
                .await
                .unwrap();
        }
    });
    tasks.spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            let mut request = vec![0; stream.read_u16().await.unwrap().into()];
            stream.read_exact(&mut request).await.unwrap();
            let answer = upstream_answer(&request, code, false);
            stream.write_u16(u16::try_from(answer.len()).unwrap()).await.unwrap();
            stream.write_all(&answer).await.unwrap();
        }
    });
    Upstream { address, _tasks: tasks }
}

/// An address where nobody listens.
async fn dead() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn mesh_names_over_udp_and_tcp() {
    let dns = start(&[]).await;
    set(&dns.table, "redis.mzsvc.mesh.local", &["243.0.0.1", "fd00::1"]);
    let a = query("Redis.mzsvc.mesh.local.", RecordType::A);
    assert_eq!(addresses(&ask_udp(dns.address, &a).await), ["243.0.0.1"]);
    let mut stream = TcpStream::connect(dns.address).await.unwrap();
    assert_eq!(addresses(&ask_tcp(&mut stream, &a).await), ["243.0.0.1"]);
    let aaaa = query("redis.mzsvc.mesh.local.", RecordType::AAAA);
    assert_eq!(
        addresses(&ask_tcp(&mut stream, &aaaa).await),
        ["fd00::1"],
        "a second query on the connection"
    );
}

#[tokio::test]
async fn the_next_query_sees_an_update() {
    let dns = start(&[]).await;
    let a = query("redis.mzsvc.mesh.local.", RecordType::A);
    for address in ["243.0.0.1", "243.0.0.2"] {
        set(&dns.table, "redis.mzsvc.mesh.local", &[address]);
        assert_eq!(addresses(&ask_udp(dns.address, &a).await), [address]);
    }
}

#[tokio::test]
async fn other_names_go_to_the_resolvers_in_order() {
    let refusing = upstream(ResponseCode::Refused, false).await;
    let good = upstream(ResponseCode::NoError, false).await;
    let dns = start(&[dead().await, refusing.address, good.address]).await;
    let a = query("example.org.", RecordType::A);
    assert_eq!(addresses(&ask_udp(dns.address, &a).await), ["192.0.2.1"]);
    let mut stream = TcpStream::connect(dns.address).await.unwrap();
    assert_eq!(addresses(&ask_tcp(&mut stream, &a).await), ["192.0.2.1"]);
}

#[tokio::test]
async fn a_resolver_that_was_slow_once_is_still_the_first() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let first = socket.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut buffer = vec![0; 65535];
        socket.recv_from(&mut buffer).await.unwrap();
        while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
            let no = upstream_answer(&buffer[..length], ResponseCode::NXDomain, false);
            socket.send_to(&no, client).await.unwrap();
        }
    });
    let second = upstream(ResponseCode::NoError, false).await;
    let dns = start(&[first, second.address]).await;
    let slow = ask_udp(dns.address, &query("slow.example.", RecordType::A)).await;
    assert_eq!(slow.metadata.response_code, ResponseCode::NoError, "by the second");
    let next = ask_udp(dns.address, &query("next.example.", RecordType::A)).await;
    assert_eq!(next.metadata.response_code, ResponseCode::NXDomain, "by the first");
}

#[tokio::test]
async fn mesh_names_do_not_wait_for_others() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let dns = start(&[silent.local_addr().unwrap()]).await;
    set(&dns.table, "redis.mzsvc.mesh.local", &["243.0.0.1"]);
    // The server has begun.
    ask_udp(dns.address, &query("redis.mzsvc.mesh.local.", RecordType::A)).await;
    let outside = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let others = query("example.org.", RecordType::A).to_vec().unwrap();
    // The runtime of this test, which is the agent's, does nothing else meanwhile, as if the agent were busy.
    for _ in 0..100 {
        outside.send_to(&others, dns.address).unwrap();
    }
    let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let a = query("redis.mzsvc.mesh.local.", RecordType::A).to_vec().unwrap();
    client.send_to(&a, dns.address).unwrap();
    let mut buffer = vec![0; 512];
    let length = client.recv(&mut buffer).unwrap();
    assert_eq!(addresses(&Message::from_vec(&buffer[..length]).unwrap()), ["243.0.0.1"]);
}

#[tokio::test]
async fn names_of_the_mesh_domain_are_never_asked_elsewhere() {
    let resolver = upstream(ResponseCode::NoError, false).await;
    let dns = start_with(&[resolver.address], "search wildcard.example\n").await;
    let code = async |name: &str| {
        let answer = ask_udp(dns.address, &query(name, RecordType::A)).await;
        (answer.metadata.response_code, addresses(&answer).concat())
    };
    let name = "redis.mzsvc.mesh.local";
    let appended = "redis.mzsvc.mesh.local.wildcard.example.";
    let no = |code| (code, String::new());
    assert_eq!(code(name).await, no(ResponseCode::ServFail));
    assert_eq!(code(appended).await, no(ResponseCode::ServFail));
    set(&dns.table, name, &["243.0.0.1"]);
    assert_eq!(code(appended).await, (ResponseCode::NoError, "243.0.0.1".to_owned()));
    assert_eq!(code("other.mzsvc.mesh.local.").await, no(ResponseCode::NXDomain));
    assert_eq!(
        code("other.mzsvc.mesh.local.wildcard.example.").await,
        no(ResponseCode::NXDomain)
    );
    assert_eq!(
        code("other.wildcard.example.").await,
        (ResponseCode::NoError, "192.0.2.1".to_owned())
    );
}

#[tokio::test]
async fn a_resolvers_no_is_an_answer() {
    let first = upstream(ResponseCode::NXDomain, false).await;
    let second = upstream(ResponseCode::NoError, false).await;
    let dns = start(&[first.address, second.address]).await;
    let answer = ask_udp(dns.address, &query("example.org.", RecordType::A)).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
}

#[tokio::test]
async fn a_truncated_answer_sends_the_client_to_tcp() {
    let resolver = upstream(ResponseCode::NoError, true).await;
    let dns = start(&[resolver.address]).await;
    let a = query("example.org.", RecordType::A);
    let answer = ask_udp(dns.address, &a).await;
    assert!(answer.metadata.truncation && answer.answers.is_empty());
    let mut stream = TcpStream::connect(dns.address).await.unwrap();
    assert_eq!(addresses(&ask_tcp(&mut stream, &a).await), ["192.0.2.1"]);
}

#[tokio::test]
async fn without_a_working_resolver_the_client_hears_so() {
    for resolvers in [vec![], vec![dead().await]] {
        let dns = start(&resolvers).await;
        let answer = ask_udp(dns.address, &query("example.org.", RecordType::A)).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
        assert_eq!(answer.queries.len(), 1);
    }
}

#[tokio::test]
async fn answers_come_from_the_address_that_was_asked() {
    let resolver = upstream(ResponseCode::NoError, false).await;
    let dns = start_on("0.0.0.0:0", &[resolver.address], "").await;
    set(&dns.table, "redis.mzsvc.mesh.local", &["243.0.0.1"]);
    for host in ["127.0.0.1", "127.0.0.2"] {
        // The socket of the client is connected: it takes answers from nowhere else.
        let server = SocketAddr::new(host.parse().unwrap(), dns.address.port());
        let mesh = ask_udp(server, &query("redis.mzsvc.mesh.local.", RecordType::A)).await;
        assert_eq!(addresses(&mesh), ["243.0.0.1"]);
        let other = ask_udp(server, &query("example.org.", RecordType::A)).await;
        assert_eq!(addresses(&other), ["192.0.2.1"]);
    }
}

#[tokio::test]
async fn a_port_in_use_names_the_remedy() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = DnsSettings {
        listen: taken.local_addr().unwrap(),
        resolv_conf: "/nonexistent".into(),
        mark: SocketMark::default(),
    };
    let error = DnsServer::bind(&settings, Arc::new(Table::new()))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("--dns-proxy-port") && error.contains(&settings.listen.to_string()),
        "{error}"
    );
}

fn ip(line: &str) {
    let status = std::process::Command::new("ip").args(line.split(' ')).status().unwrap();
    assert!(status.success(), "ip {line}");
}

/// A host with a bridge, whose containers are led to this server by rules, and a container that asks from there. A client takes an
/// answer from nobody but whom it asked.
#[test]
fn queries_from_behind_a_bridge_are_answered_by_whom_was_asked() {
    meshspan_lab::isolated(|| async {
        for line in [
            "link set lo up",
            "link add br0 type bridge",
            "address add 172.17.0.1/16 dev br0",
            "link set br0 up",
            "link add veth0 type veth peer name veth1",
            "link set veth0 master br0 up",
            "netns add container",
            "link set veth1 netns container",
        ] {
            ip(line);
        }
        let install = meshspan_interception::InstallArgs {
            kuma_dp_user: Some(rustix::process::geteuid().as_raw().to_string()),
            redirect_all_dns_traffic: Some(true),
            vnet: vec!["br0:172.17.0.0/16".to_owned()],
            ip_family_mode: Some("ipv4".to_owned()),
            ..Default::default()
        };
        meshspan_interception::install(&install, &mut Vec::new()).map_err(|error| anyhow::anyhow!("{error}"))?;
        let dns = start_on("0.0.0.0:15053", &[], "").await;
        set(&dns.table, "redis.mesh.local", &["243.0.0.1"]);

        let container = std::fs::File::open("/run/netns/container")?;
        let asking = std::thread::spawn(move || {
            let network = Some(rustix::thread::LinkNameSpaceType::Network);
            rustix::thread::move_into_link_name_space(container.as_fd(), network).unwrap();
            for line in [
                "link set lo up",
                "address add 172.17.0.2/16 dev veth1",
                "link set veth1 up",
                "route add default via 172.17.0.1",
            ] {
                ip(line);
            }
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let query = query("redis.mesh.local", RecordType::A);
                for asked in ["8.8.8.8:53", "172.17.0.1:53", "192.0.2.7:53"] {
                    let asked = asked.parse().unwrap();
                    let answer = ask_udp_from("172.17.0.2:0", asked, &query).await;
                    assert_eq!(addresses(&answer), ["243.0.0.1"], "{asked}");
                }
            });
        });
        tokio::task::spawn_blocking(move || asking.join())
            .await?
            .map_err(|_| anyhow::anyhow!("the container was not answered"))
    });
}
