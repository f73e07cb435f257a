//! A double of the wire protocol of SQL Server: packets, logins with passwords, and the few statements of a rotation.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

pub const ADMIN: (&str, &str) = ("rota", "rota's-own-password");

#[derive(Default)]
struct State {
    logins: BTreeMap<String, String>,
    statements: Vec<String>,
    seen: u32,
    /// The next change breaks the connection, after it was obeyed or before.
    breaks: Option<bool>,
}

pub struct Double {
    pub port: u16,
    state: Arc<Mutex<State>>,
}

impl Double {
    pub async fn start(users: &[&str]) -> Self {
        let mut logins: BTreeMap<_, _> =
            users.iter().map(|user| ((*user).to_owned(), "first".to_owned())).collect();
        logins.insert(ADMIN.0.to_owned(), ADMIN.1.to_owned());
        logins.insert("weak".to_owned(), "weak-password".to_owned());
        let state = Arc::new(Mutex::new(State { logins, ..State::default() }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A connection that breaks is of no interest here.
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self { port, state }
    }

    pub fn password(&self, login: &str) -> Option<String> {
        self.state.lock().unwrap().logins.get(login).cloned()
    }

    pub fn drop_login(&self, login: &str) {
        self.state.lock().unwrap().logins.remove(login);
    }

    pub fn statements(&self) -> Vec<String> {
        self.state.lock().unwrap().statements.clone()
    }

    /// How often somebody gave a name and a password.
    pub fn logins(&self) -> u32 {
        self.state.lock().unwrap().seen
    }

    pub fn break_at_the_next_change(&self, obeyed: bool) {
        self.state.lock().unwrap().breaks = Some(obeyed);
    }
}

const PRELOGIN: u8 = 0x12;
const LOGIN7: u8 = 0x10;
const BATCH: u8 = 0x01;

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>) -> std::io::Result<()> {
    let mut user = String::new();
    loop {
        let (kind, body) = read(&mut stream).await?;
        let answer = match kind {
            PRELOGIN => prelogin(),
            LOGIN7 => {
                let (name, password) = credentials(&body);
                let mut state = state.lock().unwrap();
                state.seen += 1;
                if state.logins.get(&name) == Some(&password) {
                    user = name;
                    [login_ack(), done(0)].concat()
                } else {
                    [error(18_456, 14, "Login failed for hunter2"), done(2)].concat()
                }
            }
            BATCH => match batch(&mut state.lock().unwrap(), &user, text_of(&body).trim()) {
                Some(answer) => answer,
                None => return Ok(()),
            },
            _ => return Ok(()),
        };
        write(&mut stream, &answer).await?;
    }
}

async fn read(stream: &mut TcpStream) -> std::io::Result<(u8, Vec<u8>)> {
    let mut all = Vec::new();
    loop {
        let mut header = [0; 8];
        stream.read_exact(&mut header).await?;
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let mut body = vec![0; length - 8];
        stream.read_exact(&mut body).await?;
        all.extend(body);
        if header[1] & 1 == 1 {
            return Ok((header[0], all));
        }
    }
}

async fn write(stream: &mut TcpStream, body: &[u8]) -> std::io::Result<()> {
    let length = u16::try_from(body.len() + 8).unwrap().to_be_bytes();
    let mut packet = vec![0x04, 1, length[0], length[1], 0, 0, 1, 0];
    packet.extend_from_slice(body);
    stream.write_all(&packet).await
}

/// Version 16, and no encryption to be had.
fn prelogin() -> Vec<u8> {
    let mut body = Vec::new();
    let options: [(u8, &[u8]); 4] = [(0, &[16, 0, 0, 0, 0, 0]), (1, &[2]), (2, &[0]), (4, &[0])];
    let mut at = u16::try_from(options.len() * 5 + 1).unwrap();
    for (option, value) in options {
        let length = u16::try_from(value.len()).unwrap();
        body.push(option);
        body.extend(at.to_be_bytes());
        body.extend(length.to_be_bytes());
        at += length;
    }
    body.push(0xff);
    for (_, value) in options {
        body.extend_from_slice(value);
    }
    body
}

/// Name and password stand where the fixed part says; the password's nibbles are swapped and mixed (XOR) with `0xA5`.
fn credentials(body: &[u8]) -> (String, String) {
    let part = |at: usize| {
        let number = |at: usize| usize::from(u16::from_le_bytes([body[at], body[at + 1]]));
        body[number(at)..number(at) + 2 * number(at + 2)].to_vec()
    };
    let password: Vec<u8> = part(44).iter().map(|byte| (byte ^ 0xa5).rotate_left(4)).collect();
    (utf16(&part(40)), utf16(&password))
}

fn utf16(bytes: &[u8]) -> String {
    let units: Vec<_> = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    String::from_utf16(&units).unwrap()
}

fn text_of(batch: &[u8]) -> String {
    let headers = u32::from_le_bytes(batch[..4].try_into().unwrap()) as usize;
    utf16(&batch[headers..])
}

fn wide(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn token(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_le_bytes();
    [&[kind], &length[..], body].concat()
}

fn login_ack() -> Vec<u8> {
    let name = "SQL";
    let mut body = vec![1, 0x74, 0, 0, 4, u8::try_from(name.len()).unwrap()];
    body.extend(wide(name));
    body.extend([16, 0, 0, 0]);
    token(0xad, &body)
}

fn error(number: u32, class: u8, message: &str) -> Vec<u8> {
    let mut body = number.to_le_bytes().to_vec();
    body.extend([1, class]);
    body.extend(u16::try_from(message.len()).unwrap().to_le_bytes());
    body.extend(wide(message));
    body.extend([0, 0, 0, 0, 0, 0]);
    token(0xaa, &body)
}

fn done(status: u16) -> Vec<u8> {
    let mut body = vec![0xfd];
    body.extend(status.to_le_bytes());
    body.extend([0; 10]);
    body
}

/// One column of a whole number, and a row of it.
fn number(value: Option<i32>) -> Vec<u8> {
    let mut body = vec![0x81, 1, 0, 0, 0, 0, 0, 9, 0, 0x26, 4, 0, 0xd1];
    match value {
        Some(value) => {
            body.push(4);
            body.extend(value.to_le_bytes());
        }
        None => body.push(0),
    }
    [body, done(0x10)].concat()
}

/// The answer to a statement; nothing if the connection breaks.
fn batch(state: &mut State, user: &str, sql: &str) -> Option<Vec<u8>> {
    state.statements.push(sql.to_owned());
    let refused = |number: u32, message: &str| Some([error(number, 16, message), done(2)].concat());
    let admin = user == ADMIN.0;
    if let Some(rest) = sql.strip_prefix("ALTER LOGIN ") {
        let Some((name, password)) = change(rest) else {
            return refused(102, "Incorrect syntax near hunter2");
        };
        if !admin || !state.logins.contains_key(&name) {
            return refused(15_151, "Cannot alter the login hunter2");
        }
        if password.len() < 8 {
            return refused(15_118, "Password validation failed: hunter2");
        }
        let breaks = state.breaks.take();
        if breaks != Some(false) {
            state.logins.insert(name, password);
        }
        return if breaks.is_some() { None } else { Some(done(0)) };
    }
    if let Some(rest) = sql.strip_prefix("SELECT SUSER_ID(N") {
        let name = unquoted(rest, '\'', '\'').map(|(name, _)| name);
        return Some(number(name.filter(|name| state.logins.contains_key(name)).map(|_| 270)));
    }
    if sql.starts_with("SELECT HAS_PERMS_BY_NAME(") {
        return Some(number(Some(i32::from(admin))));
    }
    if sql.starts_with("SELECT CAST(session_id AS int)") {
        return Some(number(Some(77)));
    }
    match sql {
        "KILL 77" if admin => Some(done(0)),
        "SET QUOTED_IDENTIFIER ON" => Some(done(0)),
        "SELECT 1" => Some(number(Some(1))),
        _ => refused(102, "Incorrect syntax near hunter2"),
    }
}

/// `[name] WITH PASSWORD = N'password'` and nothing after it.
fn change(text: &str) -> Option<(String, String)> {
    let (name, rest) = unquoted(text, '[', ']')?;
    let (password, rest) = unquoted(rest.strip_prefix(" WITH PASSWORD = N")?, '\'', '\'')?;
    rest.is_empty().then_some((name, password))
}

/// What stands in quotes at the beginning of a text, and the rest of it.
fn unquoted(text: &str, open: char, close: char) -> Option<(String, &str)> {
    let mut found = String::new();
    let inside = text.strip_prefix(open)?;
    let mut characters = inside.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        if character != close {
            found.push(character);
        } else if characters.peek().is_some_and(|(_, next)| *next == close) {
            found.push(close);
            characters.next();
        } else {
            return Some((found, &inside[at + close.len_utf8()..]));
        }
    }
    None
}
