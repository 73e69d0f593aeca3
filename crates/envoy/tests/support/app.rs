//! Applications behind sidecars. They stop with their value.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Condvar, Mutex};

pub struct App {
    address: SocketAddr,
    status: Arc<AtomicU16>,
    gate: Arc<Gate>,
    stop: Arc<AtomicBool>,
}

/// Where requests wait while the application is held.
#[derive(Default)]
struct Gate {
    is_closed: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn pass(&self) {
        let is_closed = self.is_closed.lock().unwrap();
        drop(self.opened.wait_while(is_closed, |is_closed| *is_closed).unwrap());
    }

    fn set_closed(&self, is_closed: bool) {
        *self.is_closed.lock().unwrap() = is_closed;
        self.opened.notify_all();
    }
}

impl App {
    /// An HTTP/1.1 server that answers with its name, followed by the request's head. `/unavailable` is answered with 503 and
    /// `/reset` not at all; `x-answer-headers: 7` in a request asks for so many headers in the answer.
    pub fn http(name: &str) -> Self {
        Self::start(name, 0, http)
    }

    /// The same at this port.
    pub fn http_at(port: u16, name: &str) -> Self {
        Self::start(name, port, http)
    }

    /// A server that takes every upgrade and then answers `<name>: <line>` to one line.
    pub fn upgrading(name: &str) -> Self {
        Self::start(name, 0, upgrade)
    }

    /// A TCP server that reads one line, answers `<name>: <line>` and closes.
    pub fn line(name: &str) -> Self {
        Self::start(name, 0, line)
    }

    fn start(name: &str, port: u16, serve: fn(TcpStream, &str, u16) -> std::io::Result<()>) -> Self {
        let gate = Arc::<Gate>::default();
        let its_gate = Arc::clone(&gate);
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let address = listener.local_addr().unwrap();
        let (status, stop) = (Arc::new(AtomicU16::new(200)), Arc::new(AtomicBool::new(false)));
        let name = name.to_owned();
        let (its_status, its_stop) = (Arc::clone(&status), Arc::clone(&stop));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if its_stop.load(Ordering::SeqCst) {
                    return;
                }
                let (name, status) = (name.clone(), Arc::clone(&its_status));
                let gate = Arc::clone(&its_gate);
                std::thread::spawn(move || {
                    gate.pass();
                    serve(stream, &name, status.load(Ordering::SeqCst))
                });
            }
        });
        Self {
            address,
            status,
            gate,
            stop,
        }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// What an HTTP application answers on connections from now on.
    pub fn set_status(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    /// Connections from now on get no answer before [`App::release`].
    pub fn hold(&self) {
        self.gate.set_closed(true);
    }

    pub fn release(&self) {
        self.gate.set_closed(false);
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.release();
        // Wakes the thread, which closes the listener.
        let _ = TcpStream::connect(self.address);
    }
}

/// A port on which nobody listens.
pub fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn http(stream: TcpStream, name: &str, status: u16) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    let mut head = String::new();
    while reader.read_line(&mut head)? > 2 {}
    let path = head.split(' ').nth(1).unwrap_or_default();
    if path == "/reset" {
        return Ok(());
    }
    let status = if path == "/unavailable" { 503 } else { status };
    let asked = head.lines().find_map(|line| line.strip_prefix("x-answer-headers: "));
    let count = asked.map_or(0, |count| count.parse().unwrap());
    let headers: String = (0..count).map(|index| format!("x-{index}: y\r\n")).collect();
    let body = format!("{name}\n{head}");
    // One answer a connection, so that a changed status shows at once.
    write!(
        writer,
        "HTTP/1.1 {status} x\r\ncontent-length: {}\r\n{headers}connection: close\r\n\r\n{body}",
        body.len()
    )
}

fn upgrade(stream: TcpStream, name: &str, _: u16) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    let mut head = String::new();
    while reader.read_line(&mut head)? > 2 {}
    write!(
        writer,
        "HTTP/1.1 101 x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
    )?;
    let mut line = String::new();
    reader.read_line(&mut line)?;
    write!(writer, "{name}: {line}")
}

fn line(stream: TcpStream, name: &str, _: u16) -> std::io::Result<()> {
    let mut line = String::new();
    BufReader::new(stream.try_clone()?).read_line(&mut line)?;
    (&stream).write_all(format!("{name}: {line}").as_bytes())
}
