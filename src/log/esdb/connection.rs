//! The connection to the cluster: every call with a time limit, and every failure told apart by what is known
//! after it.
//!
//! The client of the crate `eventstore` gives up for good after a failed connection attempt, and in a cluster it
//! stays with a node that has died. So it is thrown away after such a failure, and the next call makes another.

use std::error::Error as StdError;
use std::future::Future;
use std::path::Path;
use std::time::Duration;

use eventstore::{Client, ClientSettings, CurrentRevision, Error};
use parking_lot::Mutex;

use crate::log::LogError;

/// A call that changes something takes at most so long.
pub(super) const WRITE: Duration = Duration::from_secs(5);
/// A call that reads a page takes at most so long.
pub(super) const READ: Duration = Duration::from_secs(15);
/// How much longer the client waits than the server is told to work.
const GRACE: Duration = Duration::from_millis(500);
/// A call that may be made again is made so often at most.
const ATTEMPTS: u32 = 3;
/// The wait before the second attempt; it doubles.
const WAIT: Duration = Duration::from_millis(50);

type Cause = Box<dyn StdError + Send + Sync>;

/// How a call failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// The stream is not where it was expected to be; its next revision is this one.
    Elsewhere(u64),
    /// There is no such stream.
    Missing,
    /// The stream was deleted for ever.
    Deleted,
    /// It surely did not happen.
    Refused {
        cause: Cause,
        /// Whether it is worth trying again at once.
        again: bool,
    },
    /// It may have happened.
    Doubt(Cause),
}

impl Fault {
    fn new(error: Error) -> Self {
        let refused = |again, error: Error| Self::Refused { cause: error.into(), again };
        match error {
            Error::WrongExpectedVersion { current: CurrentRevision::Current(last), .. } => {
                Self::Elsewhere(last + 1)
            }
            Error::WrongExpectedVersion { current: CurrentRevision::NoStream, .. } => Self::Elsewhere(0),
            Error::ResourceNotFound => Self::Missing,
            Error::ResourceDeleted => Self::Deleted,
            Error::AccessDenied => Self::Refused {
                cause: "EventStoreDB denies access: the URL must name a user who may read and write the \
                        ledger's streams, as in esdb://USER:PASSWORD@HOST:PORT"
                    .into(),
                again: false,
            },
            Error::ConnectionClosed => Self::Refused {
                cause: "the client has closed its connection; if it never opens one, see whether this machine has \
                        root certificates, which the client wants even without TLS"
                    .into(),
                again: true,
            },
            // None of these was sent, or reached a node that could have done it.
            Error::NotLeaderException(_) | Error::GrpcConnectionError(_) => {
                refused(true, error)
            }
            Error::InitializationError(_) | Error::UnsupportedFeature => refused(false, error),
            Error::Grpc { code, ref message } if i32::from(code) == INVALID_ARGUMENT => {
                let cause = format!("EventStoreDB refuses the request: {message}").into();
                Self::Refused { cause, again: false }
            }
            other => Self::Doubt(other.into()),
        }
    }

    /// As the answer to a reader: whatever it was, it may be tried again.
    pub(super) fn unavailable(self) -> LogError {
        match self {
            Self::Refused { cause, .. } | Self::Doubt(cause) => LogError::Unavailable(cause),
            Self::Elsewhere(next) => LogError::unavailable(format!("the stream has grown to {next}")),
            Self::Missing => LogError::unavailable("the stream is not there"),
            Self::Deleted => LogError::unavailable("the stream was deleted"),
        }
    }
}

/// gRPC's code for a request that can't be right, such as one that is too large.
const INVALID_ARGUMENT: i32 = 3;

/// What a call came to, and whether some attempt of it before the last one left a doubt.
pub(super) struct Outcome<T> {
    pub(super) result: Result<T, Fault>,
    pub(super) doubted: bool,
}

struct Current {
    client: Client,
    /// Counts the clients, so that many calls that fail together replace one client once.
    number: u64,
}

/// The connection to the cluster.
pub(super) struct Connection {
    settings: ClientSettings,
    current: Mutex<Current>,
}

impl Connection {
    /// Prepares a connection; the first call makes it.
    pub(super) async fn new(settings: ClientSettings) -> Result<Self, LogError> {
        readable(&settings)?;
        prepare_tls().await?;
        let client = client(&settings)?;
        Ok(Self { settings, current: Mutex::new(Current { client, number: 0 }) })
    }

    /// Makes a call, and makes it again where that may help. So the call must come to the same when it is made
    /// twice.
    pub(super) async fn call<T, F, R>(&self, limit: Duration, call: F) -> Outcome<T>
    where
        F: Fn(Client) -> R + Send + Sync,
        R: Future<Output = eventstore::Result<T>> + Send,
        T: Send,
    {
        let mut doubted = false;
        let mut wait = WAIT;
        for attempt in 1.. {
            let (client, number) = {
                let current = self.current.lock();
                (current.client.clone(), current.number)
            };
            let result = match tokio::time::timeout(limit + GRACE, call(client)).await {
                Ok(Ok(value)) => Ok(value),
                Ok(Err(error)) => {
                    let lost = matches!(
                        error,
                        Error::ServerError(_) | Error::ConnectionClosed | Error::GrpcConnectionError(_)
                    );
                    if lost {
                        self.replace(number);
                    }
                    Err(Fault::new(error))
                }
                Err(_) => {
                    self.replace(number);
                    Err(Fault::Doubt(format!("no answer within {} s", limit.as_secs()).into()))
                }
            };
            let again = matches!(result, Err(Fault::Doubt(_) | Fault::Refused { again: true, .. }));
            if !again || attempt == ATTEMPTS {
                return Outcome { result, doubted };
            }
            doubted |= matches!(result, Err(Fault::Doubt(_)));
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
        unreachable!("the last attempt returns")
    }

    fn replace(&self, number: u64) {
        let mut current = self.current.lock();
        if current.number == number
            && let Ok(client) = client(&self.settings)
        {
            *current = Current { client, number: number + 1 };
        }
    }
}

fn client(settings: &ClientSettings) -> Result<Client, LogError> {
    Client::new(settings.clone()).map_err(LogError::unavailable)
}

/// The client does not survive a file that it can't read; and it tells nobody.
fn readable(settings: &ClientSettings) -> Result<(), LogError> {
    let (certificate, key) = settings.user_certificate().unzip();
    for path in [settings.tls_ca_file(), certificate, key].into_iter().flatten() {
        std::fs::File::open(Path::new(path)).map_err(|error| {
            LogError::unavailable(format!("the URL of the store names {path}, which can't be read: {error}"))
        })?;
    }
    Ok(())
}

/// The crate `eventstore` installs aws-lc as the process's TLS provider when it first connects, and dies of it if
/// there is one already. So it must come first; whoever would install another one after it finds this one there.
pub async fn prepare_tls() -> Result<(), LogError> {
    static PREPARED: tokio::sync::OnceCell<()> = tokio::sync::OnceCell::const_new();
    let prepare = || async {
        if rustls::crypto::CryptoProvider::get_default().is_some() {
            return Err(LogError::unavailable(
                "a TLS provider was installed before the EventStoreDB client could install its own",
            ));
        }
        // A client that is never used: what installs the provider is its start.
        let _starter = client(&ClientSettings::default())?;
        for _ in 0..1_000 {
            if rustls::crypto::CryptoProvider::get_default().is_some() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Err(LogError::unavailable("the EventStoreDB client does not start; are there root certificates?"))
    };
    PREPARED.get_or_try_init(prepare).await.copied()
}
