//! What a query gets: an answer from the table, an error, or the resolvers. Pure.

use super::Transport;
use super::table::{Found, Lookup, Table};
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

/// Decides about a message as it came from the network. `search` is the list of domains that clients append to names.
pub(super) fn decide(request: &[u8], table: &Table, search: &[String], transport: Transport) -> Decision {
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
    let response = match table.lookup(&question.name().to_ascii(), search) {
        Lookup::Foreign => return Decision::Forward,
        Lookup::Known(found) => known_name(&message, question, &found),
        Lookup::Domain => answer_to(&message, question),
        Lookup::Missing => {
            let mut response = answer_to(&message, question);
            response.metadata.response_code = ResponseCode::NXDomain;
            response
        }
        Lookup::NotYet => return failure(request, ResponseCode::ServFail).map_or(Decision::Ignore, Decision::Answer),
    };
    match encode(response, &message, transport) {
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

/// An answer cut to its question and marked, so that the client comes back over TCP.
pub(super) fn truncated(answer: &[u8]) -> Option<Vec<u8>> {
    Message::from_vec(answer).ok()?.truncate().to_vec().ok()
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
    let mut response = answer_to(request, question);
    let wants = |record_type| [record_type, RecordType::ANY].contains(&question.query_type());
    for address in found.addresses.iter() {
        let data = match address {
            IpAddr::V4(address) if wants(RecordType::A) => RData::A(A(*address)),
            IpAddr::V6(address) if wants(RecordType::AAAA) => RData::AAAA(AAAA(*address)),
            _ => continue,
        };
        response.add_answer(Record::from_rdata(question.name().clone(), found.ttl_seconds, data));
    }
    response
}

/// A response from the table, without any record yet.
fn answer_to(request: &Message, question: &Query) -> Message {
    let mut response = response_to(request);
    response.metadata.authoritative = true;
    response.add_query(question.clone());
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
            ..DnsUpdate::default()
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
        match decide(request, table, &[], transport) {
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
    fn names_that_the_mesh_does_not_have() {
        let missing = query("other.mzsvc.mesh.local.", RecordType::A, Some(1232));
        let code = |table: &Table| answer(&missing, table, Transport::Udp).metadata.response_code;
        assert_eq!(code(&Table::new()), ResponseCode::ServFail, "perhaps it has it");
        assert_eq!(code(&table(1)), ResponseCode::NXDomain);
        let domain = answer(
            &query("mzsvc.mesh.local.", RecordType::A, None),
            &table(1),
            Transport::Udp,
        );
        assert_eq!(
            (domain.metadata.response_code, domain.answers.len()),
            (ResponseCode::NoError, 0)
        );
    }

    #[test]
    fn a_name_with_a_search_domain_is_answered_as_it_was_asked() {
        let request = query("redis.mzsvc.mesh.local.corp.example.", RecordType::A, None);
        let Decision::Answer(bytes) = decide(&request, &table(1), &["corp.example".to_owned()], Transport::Udp) else {
            panic!("not answered")
        };
        let answers = Message::from_vec(&bytes).unwrap().answers;
        let names: Vec<String> = answers.iter().map(|record| record.name.to_ascii()).collect();
        assert_eq!(names, ["redis.mzsvc.mesh.local.corp.example."]);
    }

    #[test]
    fn unknown_names_are_forwarded() {
        let request = query("example.org.", RecordType::A, None);
        assert_eq!(decide(&request, &table(1), &[], Transport::Udp), Decision::Forward);
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
            decide(&message, &table, &[], Transport::Udp);
            message = query("redis.mzsvc.mesh.local.", RecordType::A, Some(1232));
            message.truncate(cut);
            if let Some(byte) = message.get_mut(change.0 % 60) {
                *byte = change.1;
            }
            if let Decision::Answer(answer) = decide(&message, &table, &[], Transport::Udp) {
                proptest::prop_assert!(Message::from_vec(&answer).is_ok());
            }
        }
    }

    #[test]
    fn garbage_is_refused_and_responses_are_ignored() {
        let table = table(1);
        assert_eq!(decide(b"", &table, &[], Transport::Udp), Decision::Ignore);
        assert_eq!(decide(&[0; 11], &table, &[], Transport::Udp), Decision::Ignore);
        let mut broken = query("redis.mzsvc.mesh.local.", RecordType::A, None);
        broken.truncate(20);
        assert_eq!(
            answer(&broken, &table, Transport::Udp).metadata.response_code,
            ResponseCode::FormErr
        );
        let mut response = query("redis.mzsvc.mesh.local.", RecordType::A, None);
        *response.get_mut(2).unwrap() |= 0x80;
        assert_eq!(decide(&response, &table, &[], Transport::Udp), Decision::Ignore);
    }
}
