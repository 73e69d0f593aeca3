//! Connections that were open before the rules were.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use meshspan_interception::InstallArgs;

use super::network::{Peer, in_own_network};
use super::{args, installed};

#[test]
fn open_sessions_go_on() {
    in_own_network("sessions::open_sessions_go_on", || {
        let peer = Peer::new();
        // Somebody is logged in here, and a program here is connected to another host. Nothing has asked for conntrack so far.
        let here = TcpListener::bind("10.0.0.2:22").unwrap();
        let (ready, is_ready) = mpsc::channel();
        let visitor = peer.spawn(move || {
            let there = TcpListener::bind("10.0.0.1:5432").unwrap();
            ready.send(()).unwrap();
            let (mut database, _) = there.accept().unwrap();
            let mut session = TcpStream::connect("10.0.0.2:22").unwrap();
            for stream in [&mut database, &mut session] {
                stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            }
            // Each session goes on with words from the side of the new rules.
            let words = (word(&mut session), word(&mut database));
            session.write_all(b"shell").unwrap();
            database.write_all(b"rows.").unwrap();
            words
        });
        is_ready.recv().unwrap();
        let mut database = TcpStream::connect("10.0.0.1:5432").unwrap();
        let (mut session, _) = here.accept().unwrap();

        installed(&InstallArgs {
            kuma_dp_mark: Some(77),
            ..args()
        });
        for stream in [&mut database, &mut session] {
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        }
        session.write_all(b"login").unwrap();
        database.write_all(b"query").unwrap();
        assert_eq!(
            (word(&mut session), word(&mut database)),
            ("shell".to_owned(), "rows.".to_owned())
        );
        assert_eq!(visitor.join().unwrap(), ("login".to_owned(), "query".to_owned()));
    });
}

fn word(stream: &mut TcpStream) -> String {
    let mut word = [0; 5];
    stream.read_exact(&mut word).expect("the session was cut");
    String::from_utf8(word.to_vec()).unwrap()
}
