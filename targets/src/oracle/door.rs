//! A door of one's own to a database. The client library can neither be given a stream nor an authority, resolves names by
//! itself and goes wherever a listener sends it. So it is given a door on this machine that opens once, for whoever
//! knows a random word, and leads where the connection says: names, TLS and what a listener answers are looked at here.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use ring::rand::{SecureRandom, SystemRandom};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::failure::Failure;
use crate::reach::{CONNECT, Place, STEP, Stream, Tls, tls_failure};
use crate::target::Network;

/// The first packets of a conversation have this much before their content: length, type and flags are in it.
const HEADER: usize = 8;
const CONNECT_PACKET: u8 = 1;
const ACCEPT_PACKET: u8 = 2;
const REDIRECT_PACKET: u8 = 5;
const RESEND_PACKET: u8 = 11;
/// The server wants a handshake anew, with the process that will serve.
const HANDSHAKE_FLAG: u8 = 0x08;
/// What is said before a database lets anybody in is shorter.
const PACKET_MAX: usize = 8_192;

/// Ends with its value.
pub(super) struct Door {
    /// On this machine.
    pub(super) port: u16,
    /// Whoever enters has to say it with the first words: `CONNECTION_ID_PREFIX`.
    pub(super) word: String,
    found: Arc<Mutex<Option<Failure>>>,
    keeper: JoinHandle<()>,
}

impl Drop for Door {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl Door {
    /// Opens one.
    pub(super) async fn open(place: Place, tls: Tls, network: Arc<dyn Network>) -> Result<Self, Failure> {
        let shut =
            |_| Failure::unreachable("no port of this machine is free for the client of Oracle's databases");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(shut)?;
        let port = listener.local_addr().map_err(shut)?.port();
        let mut random = [0; 16];
        SystemRandom::new()
            .fill(&mut random)
            .map_err(|_| Failure::unreachable("there is no randomness to be had"))?;
        let word = format!("{:032x}", u128::from_be_bytes(random));
        let found = Arc::new(Mutex::new(None));
        let (noted, expected) = (Arc::clone(&found), word.clone());
        let keeper = tokio::spawn(async move {
            while let Ok((mut guest, _)) = listener.accept().await {
                // Anybody on this machine may knock.
                let Ok(Some(said)) = timeout(CONNECT, first_words(&mut guest, &expected)).await else {
                    continue;
                };
                drop(listener);
                // Why comes before the guest finds the door shut.
                if let Err(failure) = lead(&mut guest, said, &place, &tls, &*network).await {
                    *noted.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
                }
                return;
            }
        });
        Ok(Self { port, word, found, keeper })
    }

    /// Why it led nowhere.
    pub(super) fn failure(&self) -> Option<Failure> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What is said up to the word; none if it does not come.
async fn first_words(guest: &mut TcpStream, word: &str) -> Option<Vec<u8>> {
    let mut said = Vec::new();
    let mut part = [0; 2_048];
    loop {
        let read = guest.read(&mut part).await.ok().filter(|read| *read > 0)?;
        said.extend_from_slice(&part[..read]);
        if said.get(4).is_some_and(|kind| *kind != CONNECT_PACKET) || said.len() > PACKET_MAX {
            return None;
        }
        if said.windows(word.len()).any(|window| window == word.as_bytes()) {
            return Some(said);
        }
    }
}

/// The way to the database, with TLS or without.
enum Way {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Way {
    fn stream(&mut self) -> &mut dyn Stream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => &mut **stream,
        }
    }

    /// After a handshake with whoever is at the other end now.
    async fn secured(self, place: &Place, tls: &Tls) -> Result<Self, Failure> {
        let stream = match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.into_inner().0,
        };
        let name = ServerName::try_from(place.host.clone()).map_err(|_| {
            Failure::refused(format!("{} is no name that a certificate can have", place.host))
        })?;
        let connector = TlsConnector::from(tls.config()?);
        match timeout(CONNECT, connector.connect(name, stream)).await {
            Ok(Ok(stream)) => Ok(Self::Tls(Box::new(stream))),
            Ok(Err(error)) => Err(tls_failure(place, &error)),
            Err(_) => Err(place.unreachable("it does not answer to TLS")),
        }
    }
}

async fn lead(
    guest: &mut TcpStream,
    said: Vec<u8>,
    place: &Place,
    tls: &Tls,
    network: &dyn Network,
) -> Result<(), Failure> {
    let mut way = Way::Plain(place.dial(network).await?);
    if tls.enabled {
        way = way.secured(place, tls).await?;
    }
    let broken = |_| place.unreachable("it closed the connection");
    way.stream().write_all(&said).await.map_err(broken)?;
    // Until the database has taken the connection, its packets are read.
    loop {
        let Some(mut packet) = answer(guest, &mut way, place).await? else { return Ok(()) };
        let (kind, flags) = (packet[4], packet[5]);
        if kind == REDIRECT_PACKET {
            return Err(Failure::refused(format!(
                "{place} sends its clients on to another address; connect to that one, or have the listener hand \
                 connections over by itself"
            )));
        }
        if kind == RESEND_PACKET && flags & HANDSHAKE_FLAG != 0 && tls.enabled {
            way = way.secured(place, tls).await?;
            packet[5] &= !HANDSHAKE_FLAG;
        }
        guest.write_all(&packet).await.map_err(broken)?;
        if kind == ACCEPT_PACKET {
            break;
        }
    }
    // How it ends is the business of the two.
    let _ = copy_bidirectional(guest, &mut way.stream()).await;
    Ok(())
}

/// The next packet of the database; what the guest says meanwhile is passed on. None where the guest leaves.
async fn answer(guest: &mut TcpStream, way: &mut Way, place: &Place) -> Result<Option<Vec<u8>>, Failure> {
    let broken = |_| place.unreachable("it closed the connection");
    let (mut packet, mut wanted) = (Vec::with_capacity(HEADER), HEADER);
    let (mut from_guest, mut from_server) = ([0; 2_048], [0; 2_048]);
    while packet.len() < wanted {
        let most = from_server.len().min(wanted - packet.len());
        let step = async {
            tokio::select! {
                read = guest.read(&mut from_guest) => (true, read),
                read = way.stream().read(&mut from_server[..most]) => (false, read),
            }
        };
        let (guests, read) =
            timeout(STEP, step).await.map_err(|_| place.unreachable("it does not answer"))?;
        match (guests, read) {
            (true, Ok(read @ 1..)) => {
                way.stream().write_all(&from_guest[..read]).await.map_err(broken)?;
            }
            (true, _) => return Ok(None),
            (false, Ok(read @ 1..)) => packet.extend_from_slice(&from_server[..read]),
            (false, _) => return Err(place.unreachable("it closed the connection")),
        }
        if packet.len() == HEADER && wanted == HEADER {
            wanted = usize::from(u16::from_be_bytes([packet[0], packet[1]]));
            if !(HEADER..=PACKET_MAX).contains(&wanted) {
                return Err(Failure::refused(format!("{place} does not speak as an Oracle Database does")));
            }
        }
    }
    Ok(Some(packet))
}
