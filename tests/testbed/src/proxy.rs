//! A way to a server that breaks: after so many bytes, or by saying nothing any more.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::thread;

/// Without a limit.
const ALL: i64 = i64::MAX / 2;

/// A proxy on a port of the loopback. It lives as long as the process.
#[derive(Debug, Clone)]
pub struct Proxy {
    /// Where it listens.
    pub port: u16,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    /// Bytes that may still pass, in both directions together.
    left: AtomicI64,
    /// Whether what may not pass breaks the connection, or is swallowed.
    swallow: AtomicUsize,
    connections: AtomicUsize,
    passed: AtomicUsize,
}

impl Proxy {
    /// In front of a port.
    pub fn start(port: u16) -> Self {
        Self::to(SocketAddr::from(([127, 0, 0, 1], port)))
    }

    /// In front of an address.
    pub fn to(address: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let state = State {
            left: AtomicI64::new(ALL),
            swallow: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            passed: AtomicUsize::new(0),
        };
        let proxy = Self { port: listener.local_addr().unwrap().port(), state: Arc::new(state) };
        let state = Arc::clone(&proxy.state);
        thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { return };
                state.connections.fetch_add(1, Ordering::SeqCst);
                let Ok(server) = TcpStream::connect(address) else {
                    continue;
                };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let state = Arc::clone(&state);
                    thread::spawn(move || pass(&state, from, to));
                }
            }
        });
        proxy
    }

    /// Lets everything pass.
    pub fn open(&self) {
        self.state.swallow.store(0, Ordering::SeqCst);
        self.state.left.store(ALL, Ordering::SeqCst);
    }

    /// Breaks every connection once so many bytes have passed from now on, counted over all of them.
    pub fn cut_after(&self, bytes: usize) {
        self.state.swallow.store(0, Ordering::SeqCst);
        self.state.left.store(i64::try_from(bytes).unwrap(), Ordering::SeqCst);
    }

    /// Says nothing any more once so many bytes have passed from now on.
    pub fn fall_silent_after(&self, bytes: usize) {
        self.state.swallow.store(1, Ordering::SeqCst);
        self.state.left.store(i64::try_from(bytes).unwrap(), Ordering::SeqCst);
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// How many bytes have passed in all.
    pub fn passed(&self) -> usize {
        self.state.passed.load(Ordering::SeqCst)
    }
}

fn pass(state: &State, mut from: TcpStream, mut to: TcpStream) {
    let mut bytes = [0; 4_096];
    while let Ok(read @ 1..) = from.read(&mut bytes) {
        let wanted = i64::try_from(read).unwrap();
        let left = state.left.fetch_sub(wanted, Ordering::SeqCst).clamp(0, wanted);
        let may_pass = usize::try_from(left).unwrap();
        state.passed.fetch_add(may_pass, Ordering::SeqCst);
        if to.write_all(&bytes[..may_pass]).is_err() {
            break;
        }
        if may_pass < read && state.swallow.load(Ordering::SeqCst) == 0 {
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
            return;
        }
    }
    // The other direction may have something to say yet.
    let _ = to.shutdown(Shutdown::Write);
}
