//! A way to a server that breaks: after so many bytes, or by saying nothing any more, from a message on if need be. A
//! message is what one side says on a connection until the other says something.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicUsize, Ordering};
use std::thread;

/// Without a limit.
const ALL: i64 = i64::MAX / 2;

/// Who says something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaker {
    /// Whoever connected.
    Client = 1,
    /// Whom it connected to.
    Server = 2,
}

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
    /// Messages so far, of all connections.
    messages: AtomicUsize,
    /// The first message of this side's, from a number on, does not pass, and nothing after it.
    stop_at: AtomicUsize,
    stop_side: AtomicU8,
    stopped: AtomicBool,
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
            messages: AtomicUsize::new(0),
            stop_at: AtomicUsize::new(usize::MAX),
            stop_side: AtomicU8::new(0),
            stopped: AtomicBool::new(false),
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
                let spoke = Arc::new(AtomicU8::new(0));
                for (who, from, to) in
                    [(Speaker::Client, &client, &server), (Speaker::Server, &server, &client)]
                {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let (state, spoke) = (Arc::clone(&state), Arc::clone(&spoke));
                    thread::spawn(move || pass(&state, &spoke, who, from, to));
                }
            }
        });
        proxy
    }

    /// Lets everything pass.
    pub fn open(&self) {
        self.state.stop_at.store(usize::MAX, Ordering::SeqCst);
        self.state.stopped.store(false, Ordering::SeqCst);
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

    /// Lets so many messages pass from now on and then nothing any more, beginning with what this side says next.
    pub fn stop_after(&self, messages: usize, speaker: Speaker) {
        self.state.stop_side.store(speaker as u8, Ordering::SeqCst);
        self.state.stop_at.store(self.messages() + messages, Ordering::SeqCst);
    }

    /// Whether something was stopped since.
    pub fn has_stopped(&self) -> bool {
        self.state.stopped.load(Ordering::SeqCst)
    }

    /// How many messages there were.
    pub fn messages(&self) -> usize {
        self.state.messages.load(Ordering::SeqCst)
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

fn pass(state: &State, spoke: &AtomicU8, who: Speaker, mut from: TcpStream, mut to: TcpStream) {
    let mut bytes = [0; 4_096];
    while let Ok(read @ 1..) = from.read(&mut bytes) {
        if spoke.swap(who as u8, Ordering::SeqCst) != who as u8
            && state.messages.fetch_add(1, Ordering::SeqCst) >= state.stop_at.load(Ordering::SeqCst)
            && state.stop_side.load(Ordering::SeqCst) == who as u8
        {
            state.stopped.store(true, Ordering::SeqCst);
        }
        if state.stopped.load(Ordering::SeqCst) {
            continue;
        }
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
