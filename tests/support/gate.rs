//! A way to a server that stops, for good, at a chosen word of the client's: before the server has read it, or after it
//! has answered and nobody has heard it.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// Which side of the word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The server has not read it.
    Before,
    /// The server has answered it, and the client has not heard.
    After,
}

#[derive(Default)]
struct Shared {
    trap: Mutex<Option<(Vec<u8>, Side)>>,
    sprung: AtomicBool,
}

/// A gate on a port of the loopback. It lives as long as the process.
#[derive(Clone)]
pub struct Gate {
    pub port: u16,
    shared: Arc<Shared>,
}

impl Gate {
    /// In front of a port.
    pub fn start(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let gate = Self { port: listener.local_addr().unwrap().port(), shared: Arc::default() };
        let shared = Arc::clone(&gate.shared);
        thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { return };
                let Ok(server) = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))) else {
                    continue;
                };
                let shared = Arc::clone(&shared);
                thread::spawn(move || pass(&shared, &client, &server));
            }
        });
        gate
    }

    /// Stops the first connection whose client says this.
    pub fn stop_at(&self, word: &[u8], side: Side) {
        self.shared.sprung.store(false, Ordering::SeqCst);
        *self.shared.trap.lock().unwrap() = Some((word.to_vec(), side));
    }

    /// Whether a connection was stopped since.
    pub fn has_stopped(&self) -> bool {
        self.shared.sprung.load(Ordering::SeqCst)
    }
}

fn pass(shared: &Arc<Shared>, client: &TcpStream, server: &TcpStream) {
    let muted = Arc::new(AtomicBool::new(false));
    let (mut from, mut to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    let (answers, hushed) = (Arc::clone(shared), Arc::clone(&muted));
    let back = thread::spawn(move || {
        let mut bytes = [0; 4_096];
        while let Ok(read @ 1..) = from.read(&mut bytes) {
            if hushed.load(Ordering::SeqCst) {
                answers.sprung.store(true, Ordering::SeqCst);
            } else if to.write_all(&bytes[..read]).is_err() {
                break;
            }
        }
        if !hushed.load(Ordering::SeqCst) {
            let _ = to.shutdown(Shutdown::Both);
        }
    });
    let (mut from, mut to) = (client, server);
    let mut bytes = [0; 4_096];
    let mut stopped = false;
    while let Ok(read @ 1..) = from.read(&mut bytes) {
        let said = &bytes[..read];
        let mut trap = shared.trap.lock().unwrap();
        let hit = trap.as_ref().is_some_and(|(word, _)| said.windows(word.len()).any(|here| here == word));
        let side = if hit { trap.take().map(|(_, side)| side) } else { None };
        drop(trap);
        match side {
            Some(Side::Before) => {
                stopped = true;
                shared.sprung.store(true, Ordering::SeqCst);
            }
            Some(Side::After) => muted.store(true, Ordering::SeqCst),
            None => {}
        }
        if !stopped && to.write_all(said).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = back.join();
}
