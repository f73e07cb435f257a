//! What a new password must look like, and how one is made.
//!
//! Making one is a pure function of 32 random bytes, which expand (HKDF, SHA-256) into as many as are needed. Every
//! choice is free of bias: a byte that would favour some of the possibilities is thrown away.

use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use rota_aggregates::secret::Secret;
use serde_json::{Value, json};
use zeroize::{Zeroize, Zeroizing};

use crate::issue::{Code, Issue, Reader, wrong_type};
use crate::kind::Kind;

const DIGITS: &str = "0123456789";
const LOWERCASE: &str = "abcdefghijklmnopqrstuvwxyz";
const UPPERCASE: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
/// Where the user allows no others.
const SYMBOLS: &str = "-_.~!*";
const LENGTH_MAX: u16 = 250;

/// How long a password is, and what it has in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirements {
    length: u16,
    digits: u16,
    lowercase: u16,
    uppercase: u16,
    symbols: u16,
    /// Where the user said which: without repetition.
    allowed_symbols: Option<String>,
}

impl Requirements {
    /// What holds where the user asks for nothing else.
    pub const fn of(kind: Kind) -> Self {
        // More than 30 bytes are too many for an Oracle Database.
        let length = if matches!(kind, Kind::OracledbCredentials) { 30 } else { 48 };
        Self { length, digits: 1, lowercase: 1, uppercase: 1, symbols: 0, allowed_symbols: None }
    }

    /// Reads what the user asks for. The paths of issues begin at `value`.
    pub fn check(kind: Kind, value: &Value) -> Result<Self, Vec<Issue>> {
        let mut reader = Reader::new(value)?;
        let given = reader.get("length");
        let length = whole(&mut reader.issues, &["length"], given, 1, LENGTH_MAX);
        let required = reader.get("required");
        let mut counts = [None; 4];
        match required {
            Some(Value::Object(_)) => {
                for (count, name) in counts.iter_mut().zip(["digits", "lowercase", "uppercase", "symbols"]) {
                    let given = required.and_then(|object| object.get(name));
                    *count = whole(&mut reader.issues, &["required", name], given, 0, LENGTH_MAX);
                }
            }
            other => reader.issues.push(wrong_type(&["required"], "object", other)),
        }
        let given = reader.optional_text("allowedSymbols", false, 1, 128);
        let allowed_symbols = given.map(|symbols| symbols_of(kind, symbols, &mut reader.issues));
        let ([Some(digits), Some(lowercase), Some(uppercase), Some(symbols)], Some(length)) =
            (counts, length)
        else {
            return Err(reader.issues);
        };
        let sum = digits + lowercase + uppercase + symbols;
        if sum == 0 {
            let message = "at least one of the required counts must be greater than 0";
            reader.issues.push(Issue::new(&["required"], Code::Custom, message));
        }
        if sum > length {
            let message = "the required counts must not add up to more than the length";
            reader.issues.push(Issue::new(&["required"], Code::Custom, message));
        }
        if kind == Kind::OracledbCredentials && length > 30 {
            let message = "an Oracle Database takes passwords of at most 30 characters";
            reader.issues.push(Issue::new(&["length"], Code::TooBig, message));
        }
        if !reader.issues.is_empty() {
            return Err(reader.issues);
        }
        Ok(Self { length, digits, lowercase, uppercase, symbols, allowed_symbols })
    }

    /// As it was given.
    pub fn to_value(&self) -> Value {
        let Self { length, digits, lowercase, uppercase, symbols, allowed_symbols } = self;
        let mut value = json!({
            "length": length,
            "required": {
                "digits": digits, "lowercase": lowercase, "uppercase": uppercase, "symbols": symbols,
            },
        });
        if let Some(allowed) = allowed_symbols {
            value["allowedSymbols"] = json!(allowed);
        }
        value
    }

    /// A password that is as required: so many of each class, the rest from all classes of which any is required,
    /// in any order. `random` must be fresh and of a cryptographic source; the same bytes give the same password.
    pub fn generate(&self, random: &[u8; 32]) -> Secret {
        let symbols = self.allowed_symbols.as_deref().unwrap_or(SYMBOLS);
        let classes = [
            (self.digits, DIGITS),
            (self.lowercase, LOWERCASE),
            (self.uppercase, UPPERCASE),
            (self.symbols, symbols),
        ];
        let mut draw = Draw::new(random);
        let length = usize::from(self.length);
        // Of its final size from the start: growing would leave a copy behind.
        let mut chosen = Zeroizing::new(Vec::with_capacity(length));
        let mut any: Vec<u8> = Vec::with_capacity(128);
        for (count, class) in classes {
            if count > 0 {
                any.extend_from_slice(class.as_bytes());
            }
            for _ in 0..count {
                chosen.push(draw.one_of(class.as_bytes()));
            }
        }
        while chosen.len() < length {
            chosen.push(draw.one_of(&any));
        }
        for last in (1..chosen.len()).rev() {
            chosen.swap(last, draw.below(last + 1));
        }
        let mut password = String::with_capacity(length);
        for byte in chosen.iter() {
            password.push(char::from(*byte));
        }
        Secret::new(password)
    }
}

/// A name that nobody can guess and no system minds: `length` characters of lower and upper case and digits, of each at
/// least five. `random` as for a password.
pub fn generate_name(length: u16, random: &[u8; 32]) -> String {
    let requirements = Requirements {
        length: length.max(15),
        digits: 5,
        lowercase: 5,
        uppercase: 5,
        symbols: 0,
        allowed_symbols: None,
    };
    requirements.generate(random).expose().to_owned()
}

fn whole(issues: &mut Vec<Issue>, path: &[&str], value: Option<&Value>, min: u16, max: u16) -> Option<u16> {
    let Some(Value::Number(number)) = value else {
        issues.push(wrong_type(path, "number", value));
        return None;
    };
    let number = number.as_f64().unwrap_or(f64::NAN);
    let (code, message) = if number.fract() != 0.0 {
        (Code::InvalidType, "must be a whole number".to_owned())
    } else if number < f64::from(min) {
        (Code::TooSmall, format!("must be at least {min}"))
    } else if number > f64::from(max) {
        (Code::TooBig, format!("must be at most {max}"))
    } else {
        return Some(number as u16);
    };
    issues.push(Issue::new(path, code, message));
    None
}

/// What a kind can't take in a password, and why.
const fn refused_symbols(kind: Kind) -> Option<(&'static str, &'static str)> {
    match kind {
        Kind::OracledbCredentials => Some(("\"", "an Oracle Database has no way to write them")),
        Kind::WindowsLocalAccount => {
            Some((";\"'`\\|&$()", "the client of Windows shares would cut them off"))
        }
        _ => None,
    }
}

/// Each symbol once, so that none is likelier than the others.
fn symbols_of(kind: Kind, given: &str, issues: &mut Vec<Issue>) -> String {
    let path = ["allowedSymbols"];
    if !given.bytes().all(|byte| byte.is_ascii_punctuation()) {
        let message = "must have nothing but ASCII punctuation in it";
        issues.push(Issue::new(&path, Code::InvalidString, message));
    } else if let Some((refused, why)) = refused_symbols(kind)
        && given.contains(|symbol| refused.contains(symbol))
    {
        let message = format!("must have none of {refused} in it: {why}");
        issues.push(Issue::new(&path, Code::Custom, message));
    }
    let mut once = String::with_capacity(given.len());
    for symbol in given.chars() {
        if !once.contains(symbol) {
            once.push(symbol);
        }
    }
    once
}

const BLOCK: usize = 64;

struct BlockLength;

impl KeyType for BlockLength {
    fn len(&self) -> usize {
        BLOCK
    }
}

/// Choices without bias from 32 bytes.
struct Draw {
    key: Prk,
    next: u32,
    block: [u8; BLOCK],
    at: usize,
}

impl Draw {
    fn new(random: &[u8; 32]) -> Self {
        let key = Salt::new(HKDF_SHA256, b"rota password v1").extract(random);
        Self { key, next: 0, block: [0; BLOCK], at: BLOCK }
    }

    fn byte(&mut self) -> u8 {
        if self.at == BLOCK {
            let number = self.next.to_be_bytes();
            self.next += 1;
            let info = [number.as_slice()];
            let expanded = self.key.expand(&info, BlockLength).and_then(|okm| okm.fill(&mut self.block));
            expanded.expect("64 bytes are no more than HKDF gives");
            self.at = 0;
        }
        self.at += 1;
        self.block[self.at - 1]
    }

    /// One of 0 to `count - 1`, each as likely; `count` is 1 to 256.
    fn below(&mut self, count: usize) -> usize {
        let fair = 256 - 256 % count;
        loop {
            let byte = usize::from(self.byte());
            if byte < fair {
                return byte % count;
            }
        }
    }

    fn one_of(&mut self, bytes: &[u8]) -> u8 {
        bytes[self.below(bytes.len())]
    }
}

impl Drop for Draw {
    fn drop(&mut self) {
        self.block.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const KIND: Kind = Kind::PostgresCredentials;

    fn random(seed: u64) -> [u8; 32] {
        let mut bytes = [7; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        bytes
    }

    fn classes(password: &str) -> [usize; 4] {
        let count = |is: fn(&u8) -> bool| password.bytes().filter(is).count();
        [
            count(u8::is_ascii_digit),
            count(u8::is_ascii_lowercase),
            count(u8::is_ascii_uppercase),
            count(u8::is_ascii_punctuation),
        ]
    }

    #[test]
    fn the_same_bytes_give_the_same_password_and_others_another() {
        let of = |seed| Requirements::of(KIND).generate(&random(seed)).expose().to_owned();
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
        assert_eq!(of(1).len(), 48);
        assert_eq!(Requirements::of(Kind::OracledbCredentials).generate(&random(1)).expose().len(), 30);
    }

    #[test]
    fn what_is_required_is_there_and_what_is_not_is_absent() {
        let all = json!({"length": 250, "required": {"digits": 60, "lowercase": 60, "uppercase": 60, "symbols": 70}});
        let only_digits =
            json!({"length": 6, "required": {"digits": 1, "lowercase": 0, "uppercase": 0, "symbols": 0}});
        let one = json!({"length": 1, "allowedSymbols": "!!!!",
            "required": {"digits": 0, "lowercase": 0, "uppercase": 0, "symbols": 1}});
        for seed in 0..200 {
            let of = |value| Requirements::check(KIND, value).unwrap().generate(&random(seed));
            assert_eq!(classes(of(&all).expose()), [60, 60, 60, 70]);
            assert_eq!(classes(of(&only_digits).expose()), [6, 0, 0, 0]);
            assert_eq!(of(&one).expose(), "!");
            let [digits, lowercase, uppercase, symbols] =
                classes(Requirements::of(KIND).generate(&random(seed)).expose());
            assert!(digits > 0 && lowercase > 0 && uppercase > 0 && symbols == 0);
        }
    }

    /// A generator that took a remainder of a byte would give the first letters a quarter more often.
    #[test]
    fn no_character_is_likelier_than_another_anywhere() {
        let value =
            json!({"length": 50, "required": {"digits": 0, "lowercase": 50, "uppercase": 0, "symbols": 0}});
        let requirements = Requirements::check(KIND, &value).unwrap();
        let (mut anywhere, mut first) = (BTreeMap::new(), BTreeMap::new());
        for seed in 0..4_000 {
            let password = requirements.generate(&random(seed));
            for (at, letter) in password.expose().bytes().enumerate() {
                *anywhere.entry(letter).or_insert(0_u32) += 1;
                if at == 0 {
                    *first.entry(letter).or_insert(0_u32) += 1;
                }
            }
        }
        // 200 000 / 26 = 7 692, with a standard deviation of 86; 4 000 / 26 = 154, of 12.
        assert_eq!(anywhere.len(), 26);
        assert!(
            anywhere.values().all(|count| (7_692 - 5 * 86..7_692 + 5 * 86).contains(count)),
            "{anywhere:?}"
        );
        assert!(first.values().all(|count| (154 - 5 * 12..154 + 5 * 12).contains(count)), "{first:?}");
    }

    #[test]
    fn names_for_users_have_five_of_each() {
        let name = generate_name(32, &random(3));
        assert_eq!(name.len(), 32);
        let [digits, lowercase, uppercase, symbols] = classes(&name);
        assert!(digits >= 5 && lowercase >= 5 && uppercase >= 5 && symbols == 0, "{name}");
    }

    #[test]
    fn every_bad_requirement_is_named() {
        let counts = json!({"digits": 1, "lowercase": 1, "uppercase": 1, "symbols": 1});
        let none = json!({"digits": 0, "lowercase": 0, "uppercase": 0, "symbols": 0});
        let half = json!({"digits": 0.5, "lowercase": 1, "uppercase": 1, "symbols": -1});
        for (value, found) in [
            (json!(7), vec![("", Code::InvalidType)]),
            (json!({}), vec![("length", Code::InvalidType), ("required", Code::InvalidType)]),
            (json!({"length": 0, "required": counts}), vec![("length", Code::TooSmall)]),
            (json!({"length": 251, "required": counts}), vec![("length", Code::TooBig)]),
            (json!({"length": 10.5, "required": counts}), vec![("length", Code::InvalidType)]),
            (json!({"length": "10", "required": counts}), vec![("length", Code::InvalidType)]),
            (json!({"length": 3, "required": counts}), vec![("required", Code::Custom)]),
            (json!({"length": 3, "required": none}), vec![("required", Code::Custom)]),
            (
                json!({"length": 9, "required": half}),
                vec![("required.digits", Code::InvalidType), ("required.symbols", Code::TooSmall)],
            ),
            (
                json!({"length": 9, "required": {"digits": 1, "lowercase": 1, "uppercase": 1}}),
                vec![("required.symbols", Code::InvalidType)],
            ),
            (
                json!({"length": 9, "required": counts, "allowedSymbols": ""}),
                vec![("allowedSymbols", Code::TooSmall)],
            ),
            (
                json!({"length": 9, "required": counts, "allowedSymbols": "!é"}),
                vec![("allowedSymbols", Code::InvalidString)],
            ),
        ] {
            let issues = Requirements::check(KIND, &value).unwrap_err();
            let issues: Vec<_> = issues.iter().map(|i| (i.path.join("."), i.code)).collect();
            let found: Vec<_> = found.into_iter().map(|(path, code)| (path.to_owned(), code)).collect();
            assert_eq!(issues, found, "{value}");
        }
        let quote = json!({"length": 9, "required": counts, "allowedSymbols": "!\""});
        assert!(Requirements::check(KIND, &quote).is_ok());
        assert!(Requirements::check(Kind::OracledbCredentials, &quote).is_err());
        assert!(Requirements::check(Kind::WindowsLocalAccount, &quote).is_err());
        assert_eq!(Requirements::check(KIND, &quote).unwrap().to_value(), quote);
    }
}
