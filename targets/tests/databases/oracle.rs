//! `oracledb-credentials` against listeners of ours that never let anybody in. There is no Oracle Database to be had: this
//! proves how it is reached and what refusals mean, and no login.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rota_targets::target::Intent;
use rota_targets::{App, Certainty, Connection, Failure, Kind, Parameters, Slot, Target};
use serde_json::json;
use testbed::process::Folder;
use testbed::{certificates, process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::around;

const KIND: Kind = Kind::OracledbCredentials;
const REFUSE: u8 = 4;
const REDIRECT: u8 = 5;
const DATA: u8 = 6;

/// What a listener of ours does with whoever comes.
#[derive(Clone)]
enum Manner {
    Answers(Vec<Vec<u8>>),
    Leaves,
    Waits,
}

/// A listener that notes what it hears.
struct Listener {
    port: u16,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Listener {
    async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&heard);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, manner.clone(), Arc::clone(&notes)));
            }
        });
        Self { port, heard }
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, manner: Manner, notes: Arc<Mutex<Vec<String>>>) {
    let mut heard = Vec::new();
    // What is said to whom comes after the packet's fixed part, in this packet or the next.
    while !String::from_utf8_lossy(&heard).contains("CONNECTION_ID=") {
        let mut part = [0; 2_048];
        match stream.read(&mut part).await {
            Ok(read @ 1..) => heard.extend_from_slice(&part[..read]),
            _ => break,
        }
    }
    notes.lock().unwrap().push(String::from_utf8_lossy(&heard).into_owned());
    match manner {
        Manner::Answers(packets) => {
            for packet in packets {
                let _ = stream.write_all(&packet).await;
            }
            let _ = stream.read(&mut [0]).await;
        }
        Manner::Leaves => {}
        Manner::Waits => {
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    }
}

fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len() + 8).unwrap().to_be_bytes();
    let mut packet = vec![length[0], length[1], 0, 0, kind, 0, 0, 0];
    packet.extend_from_slice(body);
    packet
}

fn refusal(number: u32) -> Manner {
    let text = format!("(DESCRIPTION=(TMP=)(VSNNUM=0)(ERR={number})(ERROR_STACK=(ERROR=(CODE={number}))))");
    let mut body = vec![0x22, 0];
    body.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
    body.extend(text.as_bytes());
    Manner::Answers(vec![packet(REFUSE, &body)])
}

fn connection(host: &str, port: u16, service: &str, authority: Option<&str>) -> Connection {
    let mut credentials = json!({"host": host, "port": port, "database": service, "username": "system",
        "password": "rota's-own-password", "sslEnabled": authority.is_some(), "sslRejectUnauthorized": true});
    if let Some(authority) = authority {
        credentials["sslCertificate"] = json!(authority);
    }
    Connection::check(App::Oracledb, "username-and-password", &credentials).unwrap()
}

fn target(connection: &Connection) -> Box<dyn Target> {
    let parameters = json!({"username1": "APP_A", "username2": "APP_B"});
    let parameters = Parameters::check(KIND, &parameters, None).unwrap();
    rota_targets::open(KIND, connection, &parameters, &around()).unwrap()
}

fn unchanged(failure: &Failure, may_pass: bool, word: &str) {
    assert!(failure.text().contains(word), "{failure}");
    assert_eq!((failure.certainty, failure.may_pass), (Certainty::Unchanged, may_pass), "{failure}");
    assert!(!failure.text().contains("own-password"), "{failure}");
}

/// Every step says the same of a listener that lets nobody in, and says that nothing changed.
#[tokio::test]
async fn a_listener_that_refuses_is_understood() {
    for (number, may_pass, word) in [
        (12_514, false, "knows no service ORCLPDB1"),
        (12_505, false, "knows no service"),
        (12_519, true, "is busy"),
        (12_537, false, "ORA-12537"),
    ] {
        let listener = Listener::start(refusal(number)).await;
        let oracle = target(&connection("localhost", listener.port, "ORCLPDB1", None));
        unchanged(&oracle.check().await.unwrap_err(), may_pass, word);
        unchanged(&oracle.plan(Slot(0)).await.unwrap_err(), may_pass, word);
        let intent = oracle.intend(Slot(0), None, [7; 32]).await.unwrap();
        let Intent::Set { credential, .. } = &intent else { panic!("rota chooses") };
        assert_eq!(credential.secret.expose().len(), 30);
        unchanged(&oracle.set(&intent, None).await.unwrap_err(), may_pass, word);
        unchanged(&oracle.log_in(credential).await.unwrap_err(), may_pass, word);
        unchanged(&oracle.retire(credential, credential, true).await.unwrap_err(), may_pass, word);
        unchanged(&oracle.revoke(credential, [8; 32]).await.unwrap_err(), may_pass, word);
        // What it was told has the service in it, and neither the password nor this machine's names.
        let heard = listener.heard();
        assert_eq!(heard.len(), 6);
        for said in heard {
            assert!(
                said.contains("(SERVICE_NAME=ORCLPDB1)")
                    && said.contains("(PROGRAM=rota)(HOST=rota)(USER=rota)")
            );
            assert!(!said.contains("own-password") && !said.contains(credential.secret.expose()), "{said}");
        }
    }
}

#[tokio::test]
async fn nobody_there_is_no_refusal() {
    let free = process::free_port();
    let oracle = target(&connection("127.0.0.1", free, "ORCL", None));
    unchanged(&oracle.check().await.unwrap_err(), true, "nothing listens there");
    let leaves = Listener::start(Manner::Leaves).await;
    let oracle = target(&connection("127.0.0.1", leaves.port, "ORCL", None));
    unchanged(&oracle.check().await.unwrap_err(), true, "closed the connection");
    let silent = Listener::start(Manner::Waits).await;
    let oracle = target(&connection("127.0.0.1", silent.port, "ORCL", None));
    let began = Instant::now();
    unchanged(&oracle.check().await.unwrap_err(), true, "does not answer");
    assert!(began.elapsed() < Duration::from_secs(40));
    let other = Listener::start(Manner::Answers(vec![b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()])).await;
    let oracle = target(&connection("127.0.0.1", other.port, "ORCL", None));
    unchanged(&oracle.check().await.unwrap_err(), false, "does not speak as an Oracle Database does");
}

/// The client would go wherever a listener sends it, and resolve names on its own.
#[tokio::test]
async fn nobody_is_reached_but_whom_the_network_lets_through() {
    let elsewhere = Listener::start(Manner::Leaves).await;
    let place =
        format!("(ADDRESS=(PROTOCOL=tcp)(HOST=127.0.0.1)(PORT={}))\0(CONNECT_DATA=x)", elsewhere.port);
    let length = u16::try_from(place.len()).unwrap().to_be_bytes();
    let sends_on = vec![packet(REDIRECT, &length), packet(DATA, place.as_bytes())];
    let listener = Listener::start(Manner::Answers(sends_on)).await;
    let oracle = target(&connection("127.0.0.1", listener.port, "ORCL", None));
    unchanged(&oracle.check().await.unwrap_err(), false, "sends its clients on");
    assert_eq!((listener.heard().len(), elsewhere.heard().len()), (1, 0));

    let oracle = target(&connection("metadata.internal", listener.port, "ORCL", None));
    unchanged(&oracle.check().await.unwrap_err(), false, "no such name");
    // Nor can a name smuggle an address into the description of the connection.
    let smuggled = format!("x)(ADDRESS=(PROTOCOL=tcp)(HOST=127.0.0.1)(PORT={}", elsewhere.port);
    let oracle = target(&connection("127.0.0.1", listener.port, &smuggled, None));
    unchanged(&oracle.check().await.unwrap_err(), false, "no name of a service");
    assert_eq!((listener.heard().len(), elsewhere.heard().len()), (1, 0));
}

/// TLS is rota's own: by the connection's authority and for its name.
#[tokio::test]
async fn tls_is_as_the_connection_says() {
    let folder = Folder::make();
    certificates::make(&folder);
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let (authority, other) = (read("ca.pem"), read("other.pem"));
    let server = process::free_port();
    let mut openssl = tokio::process::Command::new("openssl");
    openssl.args([
        "s_server",
        "-quiet",
        "-port",
        &server.to_string(),
        "-cert",
        "server.pem",
        "-key",
        "server.key",
    ]);
    openssl.current_dir(folder.path()).kill_on_drop(true).stdin(std::process::Stdio::piped());
    openssl.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
    let mut openssl = openssl.spawn().unwrap();
    process::eventually("a server with TLS", || process::listens(server));

    let oracle = target(&connection("localhost", server, "ORCL", Some(&other)));
    unchanged(&oracle.check().await.unwrap_err(), false, "authority that is not believed");
    let plain = Listener::start(refusal(12_514)).await;
    let oracle = target(&connection("localhost", plain.port, "ORCL", Some(&authority)));
    let failure = oracle.check().await.unwrap_err();
    assert_eq!(failure.certainty, Certainty::Unchanged);
    assert!(!plain.heard().iter().any(|said| said.contains("SERVICE_NAME")), "nothing is said without TLS");

    // Trusted: what is said arrives, and what comes back does too.
    let oracle = target(&connection("localhost", server, "ORCL", Some(&authority)));
    let Manner::Answers(packets) = refusal(12_514) else { unreachable!() };
    let check = tokio::spawn(async move { oracle.check().await });
    let mut heard = String::new();
    let mut output = openssl.stdout.take().unwrap();
    while !heard.contains("SERVICE_NAME=ORCL") {
        let mut part = [0; 2_048];
        let read = output.read(&mut part).await.unwrap();
        assert!(read > 0);
        heard.push_str(&String::from_utf8_lossy(&part[..read]));
    }
    let mut input = openssl.stdin.take().unwrap();
    input.write_all(&packets[0]).await.unwrap();
    input.flush().await.unwrap();
    unchanged(&check.await.unwrap().unwrap_err(), false, "knows no service ORCL");
    openssl.kill().await.unwrap();
    std::fs::remove_dir_all(folder.path()).unwrap();
}
