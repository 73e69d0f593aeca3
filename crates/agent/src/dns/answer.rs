//! What a query gets: an answer from the table, an error, or the resolvers. Pure.

use super::Transport;
use super::table::{Found, Table};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA};
use hickory_proto::rr::{DNSClass, RData, Record, RecordType};
use std::net::IpAddr;

/// Largest UDP answer that is sent, whatever the client offers (its EDNS payload size); the value that avoids IP
/// fragments on loopback and everywhere else a proxy's applications run.
const MAX_UDP_PAYLOAD: u16 = 4096;
/// Without EDNS (RFC 1035 §4.2.1).
const MIN_UDP_PAYLOAD: u16 = 512;
const HEADER_LENGTH: usize = 12;

/// The decision about one message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Send this back.
    Answer(Vec<u8>),
    /// Not ours: ask the resolvers.
    Forward,
    /// Not a query: no reaction.
    Ignore,
}

/// Decides about a message as it came from the network.
pub(super) fn decide(request: &[u8], table: &Table, transport: Transport) -> Decision {
    let is_response = request.get(2).is_none_or(|flags| flags & 0x80 != 0);
    if request.len() < HEADER_LENGTH || is_response {
        return Decision::Ignore;
    }
    let Ok(message) = Message::from_vec(request) else {
        return failure(request, ResponseCode::FormErr).map_or(Decision::Ignore, Decision::Answer);
    };
    let [question] = message.queries.as_slice() else {
        return Decision::Forward;
    };
    if message.metadata.op_code != OpCode::Query || question.query_class() != DNSClass::IN {
        return Decision::Forward;
    }
    let Some(found) = table.lookup(&question.name().to_ascii()) else {
        return Decision::Forward;
    };
    match encode(known_name(&message, question, &found), &message, transport) {
        Some(bytes) => Decision::Answer(bytes),
        None => failure(request, ResponseCode::ServFail).map_or(Decision::Ignore, Decision::Answer),
    }
}

/// An error response to `request`, which needs nothing of it but a whole header.
pub(super) fn failure(request: &[u8], code: ResponseCode) -> Option<Vec<u8>> {
    let id = u16::from_be_bytes([*request.first()?, *request.get(1)?]);
    let mut response = match Message::from_vec(request) {
        Ok(message) => {
            let mut response = response_to(&message);
            response.add_queries(message.queries.iter().cloned());
            response
        }
        Err(_) => Message::response(id, OpCode::Query),
    };
    response.metadata.response_code = code;
    response.to_vec().ok()
}

fn response_to(request: &Message) -> Message {
    let mut response = Message::new(request.metadata.id, MessageType::Response, request.metadata.op_code);
    response.metadata.recursion_desired = request.metadata.recursion_desired;
    response.metadata.recursion_available = true;
    response
}

/// A name of the mesh exists with every type: asking for one that it has no data of gives an empty success, so that
/// clients do not take it for unknown and look elsewhere.
fn known_name(request: &Message, question: &Query, found: &Found) -> Message {
    let mut response = response_to(request);
    response.metadata.authoritative = true;
    response.add_query(question.clone());
    let wants = |record_type| [record_type, RecordType::ANY].contains(&question.query_type());
    for address in found.addresses.iter() {
        let data = match address {
            IpAddr::V4(address) if wants(RecordType::A) => RData::A(A(*address)),
            IpAddr::V6(address) if wants(RecordType::AAAA) => RData::AAAA(AAAA(*address)),
            _ => continue,
        };
        response.add_answer(Record::from_rdata(question.name().clone(), found.ttl_seconds, data));
    }
    if request.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(MAX_UDP_PAYLOAD);
        response.set_edns(edns);
    }
    response
}

/// Bytes of the response; over UDP an answer that does not fit is cut to nothing and marked, so that the client comes
/// back by TCP.
fn encode(response: Message, request: &Message, transport: Transport) -> Option<Vec<u8>> {
    let bytes = response.to_vec().ok()?;
    let limit = match (transport, &request.edns) {
        (Transport::Tcp, _) => u16::MAX,
        (Transport::Udp, Some(edns)) => edns.max_payload().clamp(MIN_UDP_PAYLOAD, MAX_UDP_PAYLOAD),
        (Transport::Udp, None) => MIN_UDP_PAYLOAD,
    };
    if bytes.len() <= usize::from(limit) {
        Some(bytes)
    } else {
        response.truncate().to_vec().ok()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use hickory_proto::rr::Name;
    use meshspan_xds::proto::agent::{DnsRecord, DnsUpdate};

    fn table(count: usize) -> Table {
        let table = Table::new();
        let mut addresses: Vec<String> = (0..count).map(|n| format!("243.0.{}.{}", n / 256, n % 256)).collect();
        addresses.push("fd00::1".to_owned());
        let record = DnsRecord {
            name: "redis.mzsvc.mesh.local".to_owned(),
            addresses,
        };
        table.apply(DnsUpdate {
            full: true,
            records: vec![record],
            removed_names: vec![],
            ttl_seconds: 7,
        });
        table
    }

    fn query(name: &str, record_type: RecordType, payload: Option<u16>) -> Vec<u8> {
        let mut message = Message::query();
        message.metadata.id = 4711;
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), record_type));
        if let Some(payload) = payload {
            let mut edns = Edns::new();
            edns.set_max_payload(payload);
            message.set_edns(edns);
        }
        message.to_vec().unwrap()
    }

    fn answer(request: &[u8], table: &Table, transport: Transport) -> Message {
        match decide(request, table, transport) {
            Decision::Answer(bytes) => Message::from_vec(&bytes).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn addresses_by_family_in_any_case() {
        let table = table(2);
        let a = answer(
            &query("REDIS.mzsvc.Mesh.local.", RecordType::A, None),
            &table,
            Transport::Udp,
        );
        assert_eq!(a.metadata.id, 4711);
        assert_eq!(
            a.answers.iter().map(|r| r.data.to_string()).collect::<Vec<_>>(),
            ["243.0.0.0", "243.0.0.1"]
        );
        assert!(a.answers.iter().all(|record| record.ttl == 7));
        let aaaa = answer(
            &query("redis.mzsvc.mesh.local.", RecordType::AAAA, None),
            &table,
            Transport::Udp,
        );
        assert_eq!(
            aaaa.answers.iter().map(|r| r.data.to_string()).collect::<Vec<_>>(),
            ["fd00::1"]
        );
    }

    #[test]
    fn a_known_name_without_such_data_is_an_empty_success() {
        let response = answer(
            &query("redis.mzsvc.mesh.local.", RecordType::MX, None),
            &table(1),
            Transport::Udp,
        );
        assert_eq!(response.metadata.response_code, ResponseCode::NoError);
        assert!(response.answers.is_empty());
    }

    #[test]
    fn unknown_names_are_forwarded() {
        let request = query("example.org.", RecordType::A, None);
        assert_eq!(decide(&request, &table(1), Transport::Udp), Decision::Forward);
    }

    #[test]
    fn what_does_not_fit_is_marked_over_udp_and_whole_over_tcp() {
        let table = table(100);
        let request = query("redis.mzsvc.mesh.local.", RecordType::A, None);
        let udp = answer(&request, &table, Transport::Udp);
        assert!(udp.metadata.truncation && udp.answers.is_empty());
        let tcp = answer(&request, &table, Transport::Tcp);
        assert!(!tcp.metadata.truncation);
        assert_eq!(tcp.answers.len(), 100);
        let edns = answer(
            &query("redis.mzsvc.mesh.local.", RecordType::A, Some(4096)),
            &table,
            Transport::Udp,
        );
        assert_eq!(edns.answers.len(), 100);
        assert!(edns.edns.is_some());
    }

    proptest::proptest! {
        #[test]
        fn no_message_does_harm(mut message: Vec<u8>, cut in 0..60usize, change: (usize, u8)) {
            let table = table(3);
            decide(&message, &table, Transport::Udp);
            message = query("redis.mzsvc.mesh.local.", RecordType::A, Some(1232));
            message.truncate(cut);
            if let Some(byte) = message.get_mut(change.0 % 60) {
                *byte = change.1;
            }
            if let Decision::Answer(answer) = decide(&message, &table, Transport::Udp) {
                proptest::prop_assert!(Message::from_vec(&answer).is_ok());
            }
        }
    }

    #[test]
    fn garbage_is_refused_and_responses_are_ignored() {
        let table = table(1);
        assert_eq!(decide(b"", &table, Transport::Udp), Decision::Ignore);
        assert_eq!(decide(&[0; 11], &table, Transport::Udp), Decision::Ignore);
        let mut broken = query("redis.mzsvc.mesh.local.", RecordType::A, None);
        broken.truncate(20);
        assert_eq!(
            answer(&broken, &table, Transport::Udp).metadata.response_code,
            ResponseCode::FormErr
        );
        let mut response = query("redis.mzsvc.mesh.local.", RecordType::A, None);
        *response.get_mut(2).unwrap() |= 0x80;
        assert_eq!(decide(&response, &table, Transport::Udp), Decision::Ignore);
    }
}
