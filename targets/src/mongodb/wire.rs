//! What is needed of MongoDB's protocol: one connection, one command at a time (`OP_MSG`), and the login by
//! SCRAM-SHA-256 (RFC 5802 and 7677). TLS and addresses come from outside.

use std::io::ErrorKind;
use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bson::spec::BinarySubtype;
use bson::{Binary, Bson, Document, doc};
use ring::digest::{SHA256, digest};
use ring::hmac::{HMAC_SHA256, Key, sign};
use ring::pbkdf2::{PBKDF2_HMAC_SHA256, derive};
use ring::rand::{SecureRandom, SystemRandom};
use subtle::ConstantTimeEq;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use zeroize::Zeroizing;

use crate::reach::Stream;

const OP_MSG: i32 = 2013;
/// More than any answer of use has.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A server that asks for more rounds wants to keep rota busy; one that asks for fewer wants the password to be guessed.
const ROUNDS: std::ops::RangeInclusive<u32> = 4_096..=1_000_000;

/// A connection that broke, or answered what is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken(pub(super) ErrorKind);

impl From<std::io::Error> for Broken {
    fn from(error: std::io::Error) -> Self {
        Self(error.kind())
    }
}

const NO_ANSWER: Broken = Broken(ErrorKind::InvalidData);

/// An answer that says no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused(pub(super) i32);

/// A connection.
pub(super) struct Wire {
    stream: Box<dyn Stream>,
    next: i32,
}

impl Wire {
    pub(super) fn new(stream: Box<dyn Stream>) -> Self {
        Self { stream, next: 1 }
    }

    /// Runs a command in a database.
    pub(super) async fn run(
        &mut self,
        database: &str,
        mut command: Document,
    ) -> Result<Result<Document, Refused>, Broken> {
        command.insert("$db", database);
        let body = Zeroizing::new(command.to_vec().map_err(|_| NO_ANSWER)?);
        wipe(&mut command);
        let id = self.next;
        self.next += 1;
        let size = 16 + 4 + 1 + body.len();
        let mut message = Zeroizing::new(Vec::with_capacity(size));
        for number in [i32::try_from(size).map_err(|_| NO_ANSWER)?, id, 0, OP_MSG, 0] {
            message.extend_from_slice(&number.to_le_bytes());
        }
        // The one section: a document.
        message.push(0);
        message.extend_from_slice(&body);
        self.stream.write_all(&message).await?;
        self.stream.flush().await?;
        let answer = self.read(id).await?;
        if answer.get("ok").and_then(number) == Some(1) {
            return Ok(Ok(answer));
        }
        Ok(Err(Refused(answer.get("code").and_then(number).unwrap_or_default())))
    }

    async fn read(&mut self, id: i32) -> Result<Document, Broken> {
        let mut head = [0; 16];
        self.stream.read_exact(&mut head).await?;
        let field = |at: usize| i32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let size = usize::try_from(field(0)).map_err(|_| NO_ANSWER)?;
        if !(16 + 5..=ANSWER_BYTES_MAX).contains(&size) || field(8) != id || field(12) != OP_MSG {
            return Err(NO_ANSWER);
        }
        let mut body = Zeroizing::new(vec![0; size - 16]);
        self.stream.read_exact(&mut body).await?;
        if body[4] != 0 {
            return Err(NO_ANSWER);
        }
        Document::from_reader(&body[5..]).map_err(|_| NO_ANSWER)
    }

    /// Logs in. Whether user and password are good.
    pub(super) async fn log_in(
        &mut self,
        database: &str,
        username: &str,
        password: &str,
    ) -> Result<Result<(), Refused>, Broken> {
        let prepared = stringprep::saslprep(password).map_err(|_| NO_ANSWER)?;
        let mut random = [0; 24];
        SystemRandom::new().fill(&mut random).map_err(|_| NO_ANSWER)?;
        let nonce = STANDARD.encode(random);
        let first = format!("n={},r={nonce}", username.replace('=', "=3D").replace(',', "=2C"));
        let start = doc! {
            "saslStart": 1, "mechanism": "SCRAM-SHA-256", "payload": binary(format!("n,,{first}").into_bytes()),
            "options": { "skipEmptyExchange": true },
        };
        let answer = match self.run(database, start).await? {
            Ok(answer) => answer,
            Err(refused) => return Ok(Err(refused)),
        };
        let challenge = payload(&answer).ok_or(NO_ANSWER)?;
        let proof = prove(&first, &nonce, &challenge, &prepared).ok_or(NO_ANSWER)?;
        let conversation = answer.get("conversationId").cloned().unwrap_or(Bson::Int32(1));
        let next = doc! { "saslContinue": 1, "conversationId": conversation, "payload": binary(proof.message.into_bytes()) };
        let answer = match self.run(database, next).await? {
            Ok(answer) => answer,
            Err(refused) => return Ok(Err(refused)),
        };
        // Whoever can't show this has not known the password.
        let shown =
            payload(&answer).and_then(|text| text.strip_prefix("v=").and_then(|v| STANDARD.decode(v).ok()));
        let shown = shown.ok_or(NO_ANSWER)?;
        if !bool::from(shown.ct_eq(&proof.server)) || !is_true(&answer, "done") {
            return Err(NO_ANSWER);
        }
        Ok(Ok(()))
    }
}

/// A password in a command goes with it.
fn wipe(command: &mut Document) {
    if let Some(Bson::String(password)) = command.get_mut("pwd") {
        zeroize::Zeroize::zeroize(password);
    }
}

/// Whether a field is there and true.
pub(super) fn is_true(document: &Document, field: &str) -> bool {
    matches!(document.get(field), Some(Bson::Boolean(true)))
}

/// A whole number of any width.
pub(super) fn number(value: &Bson) -> Option<i32> {
    match value {
        Bson::Int32(number) => Some(*number),
        Bson::Int64(number) => i32::try_from(*number).ok(),
        Bson::Double(number) => Some(*number as i32),
        _ => None,
    }
}

fn binary(bytes: Vec<u8>) -> Bson {
    Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes })
}

fn payload(answer: &Document) -> Option<String> {
    match answer.get("payload") {
        Some(Bson::Binary(Binary { bytes, .. })) => String::from_utf8(bytes.clone()).ok(),
        _ => None,
    }
}

struct Proof {
    message: String,
    /// What the server has to show.
    server: Vec<u8>,
}

/// The answer to a challenge. None if it is no challenge to what was sent.
fn prove(first: &str, nonce: &str, challenge: &str, password: &str) -> Option<Proof> {
    let field = |name: &str| challenge.split(',').find_map(|part| part.strip_prefix(name));
    let (both, salt, rounds) =
        (field("r=")?, STANDARD.decode(field("s=")?).ok()?, field("i=")?.parse().ok()?);
    if !both.starts_with(nonce) || both.len() == nonce.len() || !ROUNDS.contains(&rounds) {
        return None;
    }
    let mut salted = Zeroizing::new([0; 32]);
    derive(PBKDF2_HMAC_SHA256, NonZeroU32::new(rounds)?, &salt, password.as_bytes(), &mut *salted);
    let salted = Key::new(HMAC_SHA256, &*salted);
    let client = sign(&salted, b"Client Key");
    let stored = digest(&SHA256, client.as_ref());
    let last = format!("c=biws,r={both}");
    let signed = format!("{first},{challenge},{last}");
    let signature = sign(&Key::new(HMAC_SHA256, stored.as_ref()), signed.as_bytes());
    let proof: Vec<u8> = client.as_ref().iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
    let server = sign(&Key::new(HMAC_SHA256, sign(&salted, b"Server Key").as_ref()), signed.as_bytes());
    Some(Proof { message: format!("{last},p={}", STANDARD.encode(proof)), server: server.as_ref().to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677.
    #[test]
    fn the_proof_is_the_standards() {
        let challenge =
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let proof =
            prove("n=user,r=rOprNGfwEbeRWgbNEkqO", "rOprNGfwEbeRWgbNEkqO", challenge, "pencil").unwrap();
        assert!(proof.message.ends_with(",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="));
        assert_eq!(STANDARD.encode(proof.server), "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        for wrong in [
            "r=other,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=1",
            "r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4000000000",
            "e=other-error",
        ] {
            assert!(
                prove("n=user,r=rOprNGfwEbeRWgbNEkqO", "rOprNGfwEbeRWgbNEkqO", wrong, "pencil").is_none()
            );
        }
    }
}
