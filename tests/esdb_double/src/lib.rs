//! A **protocol double** of EventStoreDB, for tests only.
//!
//! It is written from the vendor's protocol files, as the published crate `eventstore` carries them, and from the
//! published rules of the server. It keeps streams in memory and speaks gRPC over TCP. It shows that rota's client
//! code is right about the wire; **it does not show that a server agrees**. The same tests run against a real one
//! where `ROTA_TEST_ESDB_URL` names it.
//!
//! [`Double::start`] gives one on a free port. It can be told to fail chosen calls in every way that matters
//! ([`Fault`]), to cut all connections, to be gone for a while, and what time it is. [`rules`] has what it does with
//! streams, `service` what it does with calls.

/// The protocol, generated from the vendor's files.
#[expect(clippy::pedantic, clippy::allow_attributes, clippy::large_enum_variant, reason = "it is generated")]
pub mod protocol {
    include!(concat!(env!("OUT_DIR"), "/protocol.rs"));
}
pub mod rules;
mod service;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use self::rules::Streams;

/// What a call is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// Events are appended.
    Append,
    /// A stream or all of them is read.
    Read,
    /// A stream is deleted for ever.
    Tombstone,
}

/// A call as it comes in.
#[derive(Clone, Debug)]
pub struct Call {
    /// What it is.
    pub method: Method,
    /// The stream, or `$all`.
    pub stream: String,
    /// How many calls of this method on streams of any name came before it.
    pub number: u64,
}

/// How a call goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Nothing is done, and the answer is an error that leaves open whether it was.
    Lost,
    /// It is done, and the answer is the same error.
    Unheard,
    /// Nothing is done, and the connection breaks.
    CutBefore,
    /// It is done, and the connection breaks before the answer.
    CutAfter,
    /// It takes so long before it is done.
    Slow(Duration),
    /// It is done, and the answer takes so long.
    SlowAnswer(Duration),
    /// The answer is that another node leads. Nothing is done.
    NotLeader,
    /// Access is denied.
    Denied,
    /// A read ends after this many events, as if there were no more.
    Short(usize),
}

type Plan = Box<dyn Fn(&Call) -> Option<Fault> + Send + Sync>;

/// What all calls share.
struct Shared {
    streams: Mutex<Streams>,
    plan: Mutex<Plan>,
    calls: [AtomicU64; 3],
    /// Grows with each cut; connections of an earlier number are broken.
    cuts: watch::Sender<u64>,
    gone: AtomicBool,
    port: u16,
}

impl Shared {
    fn cut(&self) {
        self.cuts.send_modify(|cut| *cut += 1);
    }
}

/// A running double. It ends with the runtime.
#[derive(Clone)]
pub struct Double(Arc<Shared>);

impl Double {
    /// Starts one on a free port of this machine, on the current runtime.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared {
            streams: Mutex::new(Streams::default()),
            plan: Mutex::new(Box::new(|_| None)),
            calls: [const { AtomicU64::new(0) }; 3],
            cuts: watch::channel(0).0,
            gone: AtomicBool::new(false),
            port,
        });
        let (connections, incoming) = mpsc::channel(16);
        tokio::spawn(wire::listen(listener, Arc::clone(&shared), connections));
        tokio::spawn(service::serve(Arc::clone(&shared), incoming));
        Self(shared)
    }

    /// Its connection string.
    pub fn url(&self) -> String {
        format!("esdb://127.0.0.1:{}?tls=false", self.0.port)
    }

    /// Lets calls fail from now on as `plan` says.
    pub fn fail(&self, plan: impl Fn(&Call) -> Option<Fault> + Send + Sync + 'static) {
        *self.0.plan.lock() = Box::new(plan);
    }

    /// Lets no call fail any more.
    pub fn heal(&self) {
        self.fail(|_| None);
    }

    /// Breaks every connection. New ones are taken.
    pub fn cut(&self) {
        self.0.cut();
    }

    /// Breaks every connection and takes no new ones until [`Double::come_back`].
    pub fn go_away(&self) {
        self.0.gone.store(true, Ordering::SeqCst);
        self.0.cut();
    }

    /// Takes connections again.
    pub fn come_back(&self) {
        self.0.gone.store(false, Ordering::SeqCst);
    }

    /// Turns its clock on.
    pub fn pass(&self, time: Duration) {
        self.0.streams.lock().pass(time);
    }

    /// The names of the streams that hold something that can be read.
    pub fn streams(&self) -> Vec<String> {
        self.0.streams.lock().names()
    }

    /// What it keeps on its disk until it scavenges: every byte of data and metadata that was ever appended, and is
    /// not gone by a scavenge.
    pub fn scavenged(&self) -> Vec<Vec<u8>> {
        self.0.streams.lock().scavenge()
    }

    /// How many calls to delete a stream for ever came in.
    pub fn tombstones(&self) -> u64 {
        self.0.calls[Method::Tombstone as usize].load(Ordering::SeqCst)
    }
}
