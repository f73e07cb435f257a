//! The secrets that rota issues: their shapes, how they are made from random bytes, and how a typo in one is
//! found without a look-up.
//!
//! Native secrets are a prefix, base62 (`0-9A-Za-z`, most significant digit first) and six characters of
//! checksum: scanners find them by the prefix, and a mistyped one fails before anything is asked. The shapes of
//! the dialects are kept as their clients know them. Random bytes are passed in; nothing here draws any.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Random bytes that [`generate`] takes: 16 for the public id, 32 for the secret.
pub const RANDOM_BYTES: usize = 48;

/// Characters of base62 that hold 128 bits.
const ID_WIDTH: usize = 22;
/// Characters of base62 that hold 256 bits.
const SECRET_WIDTH: usize = 43;
/// Characters of base62 that hold 32 bits of CRC.
const CHECKSUM_WIDTH: usize = 6;
/// Characters that tell one workspace key from another.
const WORKSPACE_ID_WIDTH: usize = 12;
/// Characters of a client id.
const CLIENT_ID_WIDTH: usize = 8;

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const HEX: &[u8; 16] = b"0123456789abcdef";

/// A secret in memory. It is zeroized on drop, `Debug` hides it, and it has neither `Display`, `Serialize`,
/// `Clone` nor `PartialEq`: to write, copy or compare one takes a deliberate [`Secret::expose`].
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes over `secret`; the allocation is zeroized when the value is dropped.
    pub fn new(secret: String) -> Self {
        Self(Zeroizing::new(secret))
    }

    /// The secret itself. Never log, store or compare what this returns with `==`.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The last four characters (all of them if there are fewer), by which people recognise a secret.
    pub fn hint(&self) -> String {
        let start = self.0.char_indices().rev().nth(3).map_or(0, |(at, _)| at);
        self.0[start..].to_owned()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(****)")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Not `deserialize_string`: serde_json then words the error itself and quotes a number that it met,
        // which may be someone's secret without its quotation marks.
        deserializer.deserialize_any(SecretVisitor)
    }
}

struct SecretVisitor;

fn not_a_string<E: de::Error>() -> Result<Secret, E> {
    Err(E::custom("expected a string"))
}

impl Visitor<'_> for SecretVisitor {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: de::Error>(self, secret: &str) -> Result<Secret, E> {
        Ok(Secret::new(secret.to_owned()))
    }

    fn visit_string<E: de::Error>(self, secret: String) -> Result<Secret, E> {
        Ok(Secret::new(secret))
    }

    // What follows would by default quote the value in the error.

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Secret, E> {
        not_a_string()
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Secret, E> {
        not_a_string()
    }

    fn visit_i128<E: de::Error>(self, _: i128) -> Result<Secret, E> {
        not_a_string()
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Secret, E> {
        not_a_string()
    }

    fn visit_u128<E: de::Error>(self, _: u128) -> Result<Secret, E> {
        not_a_string()
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Secret, E> {
        not_a_string()
    }
}

/// Which of a workspace's two kinds of key: `test` or `prod`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// `sk_workspace_test_…`
    Test,
    /// `sk_workspace_prod_…`
    Prod,
}

/// What a public id and its secret look like. `b62(n)` is `n` characters of base62, `crc` the checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SecretShape {
    /// Id `b62(8)`; secret 64 lower-case hexadecimal digits.
    Client,
    /// Id `fl_dev_` b62(22); secret `fl_sec_` b62(43) crc.
    Exchange,
    /// Id `int_` b62(22); secret `sk_live_` b62(43) crc.
    Signing,
    /// One token, `sk_workspace_test_` or `sk_workspace_prod_` b62(12) b62(43) crc. The id is the token up to
    /// and with the 12; the secret is the whole token.
    WorkspaceKey(Mode),
    /// Id `wh_` b62(22); secret `whsec_` and the standard base64 (44 characters) of 32 bytes.
    Webhook,
    /// Id `operator`; secret `rota_operator_` b62(43) crc.
    Operator,
}

/// A new public id and its first secret.
#[derive(Debug)]
pub struct Generated {
    /// Not secret. Of 128 bits, but for a client (47 bits) and a workspace key (71 bits): whoever issues those
    /// makes sure that the id is not taken.
    pub public_id: String,
    /// Of 256 bits.
    pub secret: Secret,
}

/// Makes a new public id and its first secret. `random` must be fresh and of a cryptographic source.
pub fn generate(shape: SecretShape, random: &[u8; RANDOM_BYTES]) -> Generated {
    let ([a, b, c, d], _) = split_random(random);
    let id = [a, b, c, d];
    let public_id = match shape {
        SecretShape::Client => prefixed_id("", id, CLIENT_ID_WIDTH),
        SecretShape::Exchange => prefixed_id("fl_dev_", id, ID_WIDTH),
        SecretShape::Signing => prefixed_id("int_", id, ID_WIDTH),
        SecretShape::WorkspaceKey(mode) => prefixed_id(workspace_prefix(mode), id, WORKSPACE_ID_WIDTH),
        SecretShape::Webhook => prefixed_id("wh_", id, ID_WIDTH),
        SecretShape::Operator => "operator".to_owned(),
    };
    let secret = generate_secret(shape, &public_id, random);
    Generated { public_id, secret }
}

/// Makes a further secret for a known `public_id`, which has to be one of the same shape. `random` must be fresh
/// and of a cryptographic source.
pub fn generate_secret(shape: SecretShape, public_id: &str, random: &[u8; RANDOM_BYTES]) -> Secret {
    match shape {
        SecretShape::Client => hex_secret(random),
        SecretShape::Exchange => checked_secret("fl_sec_", random),
        SecretShape::Signing => checked_secret("sk_live_", random),
        SecretShape::WorkspaceKey(_) => checked_secret(public_id, random),
        SecretShape::Webhook => base64_secret("whsec_", random),
        SecretShape::Operator => checked_secret("rota_operator_", random),
    }
}

/// Splits a workspace key into its public id and the whole key, which is the secret. `None` if the prefix, the
/// length, the alphabet or the checksum is wrong.
pub fn split_workspace_key(key: &str) -> Option<(&str, &str)> {
    let prefix = [Mode::Test, Mode::Prod].map(workspace_prefix).into_iter().find(|p| key.starts_with(p))?;
    let rest = key.as_bytes().get(prefix.len()..)?;
    let well_formed = rest.len() == WORKSPACE_ID_WIDTH + SECRET_WIDTH + CHECKSUM_WIDTH
        && rest.iter().all(u8::is_ascii_alphanumeric)
        && checksum_ok(key);
    if !well_formed {
        return None;
    }
    Some((key.get(..prefix.len() + WORKSPACE_ID_WIDTH)?, key))
}

/// Whether the last six characters of `token` are the checksum of everything before them. It says that a token
/// was not mistyped, not that it is anybody's. False for a token with nothing before the checksum.
pub fn checksum_ok(token: &str) -> bool {
    match token.as_bytes().split_last_chunk::<CHECKSUM_WIDTH>() {
        Some((body, written)) => !body.is_empty() && checksum(body) == *written,
        None => false,
    }
}

fn workspace_prefix(mode: Mode) -> &'static str {
    match mode {
        Mode::Test => "sk_workspace_test_",
        Mode::Prod => "sk_workspace_prod_",
    }
}

fn prefixed_id(prefix: &str, mut number: [u32; 4], width: usize) -> String {
    let mut id = String::with_capacity(prefix.len() + width);
    id.push_str(prefix);
    push_base62(&mut id, &mut number, width);
    id
}

// The secrets are written into strings of their final size: growing one would leave a copy behind.

fn checked_secret(prefix: &str, random: &[u8; RANDOM_BYTES]) -> Secret {
    let (_, number) = split_random(random);
    let mut number = Zeroizing::new(number);
    let mut secret = String::with_capacity(prefix.len() + SECRET_WIDTH + CHECKSUM_WIDTH);
    secret.push_str(prefix);
    push_base62(&mut secret, &mut *number, SECRET_WIDTH);
    let checksum = checksum(secret.as_bytes());
    push_ascii(&mut secret, &checksum);
    Secret::new(secret)
}

fn hex_secret(random: &[u8; RANDOM_BYTES]) -> Secret {
    let mut secret = String::with_capacity(64);
    for byte in &random[16..] {
        push_ascii(&mut secret, &[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
    Secret::new(secret)
}

fn base64_secret(prefix: &str, random: &[u8; RANDOM_BYTES]) -> Secret {
    let mut text = Zeroizing::new([0; 44]);
    STANDARD.encode_slice(&random[16..], &mut *text).expect("32 bytes are 44 characters of base64");
    let mut secret = String::with_capacity(prefix.len() + text.len());
    secret.push_str(prefix);
    push_ascii(&mut secret, &*text);
    Secret::new(secret)
}

fn push_ascii(text: &mut String, ascii: &[u8]) {
    for byte in ascii {
        text.push(char::from(*byte));
    }
}

/// The 16 bytes for the public id and the 32 for the secret, as big-endian numbers, most significant limb first.
fn split_random(random: &[u8; RANDOM_BYTES]) -> ([u32; 4], [u32; 8]) {
    let limb = |i: usize| {
        let at = i * 4;
        u32::from_be_bytes([random[at], random[at + 1], random[at + 2], random[at + 3]])
    };
    (std::array::from_fn(limb), std::array::from_fn(|i| limb(i + 4)))
}

/// 62⁵, the greatest power of 62 that a limb holds: one pass over the limbs gives five digits.
const CHUNK: u64 = 62 * 62 * 62 * 62 * 62;
const CHUNK_DIGITS: usize = 5;

/// Appends the last `width` (at most 43) base62 digits of a big-endian number, which is zero afterwards or what
/// the digits did not hold.
fn push_base62(text: &mut String, number: &mut [u32], width: usize) {
    let mut digits = Zeroizing::new([0_u8; SECRET_WIDTH]);
    let digits = &mut digits[..width];
    for chunk in digits.rchunks_mut(CHUNK_DIGITS) {
        let mut remainder = 0_u64;
        for limb in number.iter_mut() {
            let dividend = remainder << 32 | u64::from(*limb);
            *limb = (dividend / CHUNK) as u32;
            remainder = dividend % CHUNK;
        }
        write_base62(chunk, remainder);
    }
    push_ascii(text, digits);
}

fn write_base62(digits: &mut [u8], mut number: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[(number % 62) as usize];
        number /= 62;
    }
}

fn checksum(body: &[u8]) -> [u8; CHECKSUM_WIDTH] {
    let mut digits = [0; CHECKSUM_WIDTH];
    write_base62(&mut digits, u64::from(crc32fast::hash(body)));
    digits
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SHAPES: [SecretShape; 7] = [
        SecretShape::Client,
        SecretShape::Exchange,
        SecretShape::Signing,
        SecretShape::WorkspaceKey(Mode::Test),
        SecretShape::WorkspaceKey(Mode::Prod),
        SecretShape::Webhook,
        SecretShape::Operator,
    ];

    /// Some bytes without a pattern that a wrong digit order could hide in.
    fn bytes(seed: u8) -> [u8; RANDOM_BYTES] {
        std::array::from_fn(|i| (i as u8).wrapping_mul(151).wrapping_add(seed) ^ 0x5a)
    }

    fn base62(text: &str) -> bool {
        text.bytes().all(|b| b.is_ascii_alphanumeric())
    }

    /// Digit by digit over bytes: slow, and written differently on purpose.
    fn slow_base62(number: &[u8], width: usize) -> String {
        let mut number = number.to_vec();
        let mut digits = Vec::new();
        for _ in 0..width {
            let mut remainder = 0;
            for byte in &mut number {
                let dividend = remainder * 256 + u32::from(*byte);
                *byte = (dividend / 62) as u8;
                remainder = dividend % 62;
            }
            digits.push(char::from(BASE62[remainder as usize]));
        }
        digits.iter().rev().collect()
    }

    #[track_caller]
    fn check_shape(shape: SecretShape, random: &[u8; RANDOM_BYTES]) {
        let Generated { public_id, secret } = generate(shape, random);
        let secret = secret.expose();
        let (id_prefix, id_width, secret_prefix) = match shape {
            SecretShape::Client => {
                assert!(public_id.len() == 8 && base62(&public_id), "{public_id}");
                assert_eq!(secret.len(), 64);
                assert!(secret.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')), "{secret}");
                return;
            }
            SecretShape::Webhook => {
                let id = public_id.strip_prefix("wh_").unwrap();
                assert!(id.len() == 22 && base62(id), "{public_id}");
                let text = secret.strip_prefix("whsec_").unwrap();
                assert_eq!(text.len(), 44);
                assert_eq!(STANDARD.decode(text).unwrap(), random[16..]);
                return;
            }
            SecretShape::Exchange => ("fl_dev_", 22, "fl_sec_"),
            SecretShape::Signing => ("int_", 22, "sk_live_"),
            SecretShape::WorkspaceKey(Mode::Test) => ("sk_workspace_test_", 12, public_id.as_str()),
            SecretShape::WorkspaceKey(Mode::Prod) => ("sk_workspace_prod_", 12, public_id.as_str()),
            SecretShape::Operator => ("operator", 0, "rota_operator_"),
        };
        let id = public_id.strip_prefix(id_prefix).unwrap();
        assert!(id.len() == id_width && base62(id), "{public_id}");
        let body = secret.strip_prefix(secret_prefix).unwrap();
        assert!(body.len() == 43 + 6 && base62(body), "{secret}");
        assert!(checksum_ok(secret), "{secret}");
    }

    #[test]
    fn every_shape_has_its_prefix_width_and_alphabet() {
        for shape in SHAPES {
            for random in [[0; RANDOM_BYTES], [0xff; RANDOM_BYTES], bytes(1), bytes(77)] {
                check_shape(shape, &random);
            }
        }
    }

    #[test]
    fn the_digits_are_the_number() {
        assert_eq!(generate(SecretShape::Signing, &[0; RANDOM_BYTES]).public_id, format!("int_{:022}", 0));
        let random = [0xff; RANDOM_BYTES];
        let generated = generate(SecretShape::Signing, &random);
        assert_eq!(generated.public_id[4..], slow_base62(&random[..16], 22));
        assert_eq!(generated.secret.expose()[8..51], slow_base62(&random[16..], 43));
        let key = generate(SecretShape::WorkspaceKey(Mode::Prod), &random);
        assert_eq!(key.public_id[18..], slow_base62(&random[..16], 12));
    }

    #[test]
    fn the_checksum_is_the_crc32_of_zip_and_ethernet() {
        // 0xCBF43926, the check value of CRC-32/ISO-HDLC, is 3421780262.
        assert_eq!(&checksum(b"123456789"), b"3jZRME");
        assert!(checksum_ok("1234567893jZRME"));
        for token in ["", "00000", "000000", "123456789", "é23456", "1234567893jZRMé"] {
            assert!(!checksum_ok(token), "{token}");
        }
    }

    #[test]
    fn a_further_secret_differs_and_keeps_the_id() {
        for shape in SHAPES {
            let first = generate(shape, &bytes(1));
            let second = generate_secret(shape, &first.public_id, &bytes(2));
            assert_ne!(first.secret.expose(), second.expose());
            if let SecretShape::WorkspaceKey(_) = shape {
                assert_eq!(
                    split_workspace_key(second.expose()),
                    Some((first.public_id.as_str(), second.expose()))
                );
            }
        }
    }

    #[test]
    fn the_id_says_nothing_about_the_secret() {
        let mut random = bytes(3);
        let one = generate(SecretShape::Exchange, &random);
        random[16..].fill(9);
        assert_eq!(one.public_id, generate(SecretShape::Exchange, &random).public_id);
    }

    #[test]
    fn each_typo_of_one_character_is_found() {
        let key = generate(SecretShape::WorkspaceKey(Mode::Test), &bytes(5)).secret;
        for at in 0..key.expose().len() {
            for other in *BASE62 {
                let mut typo = key.expose().as_bytes().to_vec();
                if typo[at] == other {
                    continue;
                }
                typo[at] = other;
                let typo = String::from_utf8(typo).unwrap();
                assert!(!checksum_ok(&typo), "{typo}");
                assert_eq!(split_workspace_key(&typo), None);
            }
        }
    }

    #[test]
    fn a_workspace_key_of_another_form_is_refused() {
        let good = generate(SecretShape::WorkspaceKey(Mode::Prod), &bytes(6)).secret;
        let good = good.expose();
        // With a right checksum, so that it is the other rules that refuse.
        let resum = |body: &str| {
            let mut token = body.to_owned();
            push_ascii(&mut token, &checksum(body.as_bytes()));
            token
        };
        let body = &good[..good.len() - CHECKSUM_WIDTH];
        assert_eq!(resum(body), good);
        for wrong in [
            resum(&body.replace("prod", "live")),
            resum(&body[..body.len() - 1]),
            resum(&format!("{body}0")),
            resum(&format!("{}-", &body[..body.len() - 1])),
            resum(&format!("{}é", &body[..body.len() - 2])),
            good.replace("prod", "test"),
            format!(" {good}"),
            format!("{good}\n"),
        ] {
            assert_eq!(split_workspace_key(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn debug_hides_and_hint_shows_four_characters() {
        let secret = Secret::new("sk_live_abcdefgh".to_owned());
        assert_eq!(format!("{secret:?} {secret:#?}"), "Secret(****) Secret(****)");
        assert_eq!(secret.hint(), "efgh");
        assert_eq!(Secret::new("häßé…".to_owned()).hint(), "äßé…");
        assert_eq!(Secret::new("abc".to_owned()).hint(), "abc");
        let generated = generate(SecretShape::Client, &bytes(8));
        assert!(!format!("{generated:?}").contains(generated.secret.expose()));
    }

    #[test]
    fn a_body_that_is_no_string_is_refused_without_quoting_it() {
        assert_eq!(serde_json::from_str::<Secret>(r#""a\"b""#).unwrap().expose(), "a\"b");
        for body in ["4711471147114711", "-4711", "47.11", "true", "[4711]", r#"{"4711":1}"#, "null"] {
            let error = serde_json::from_str::<Secret>(body).unwrap_err().to_string();
            assert!(error.contains("expected a string"), "{error}");
            assert!(!error.contains("4711") && !error.contains("true"), "{error}");
        }
    }

    #[test]
    fn a_mode_is_written_in_lower_case() {
        assert_eq!(serde_json::to_string(&[Mode::Test, Mode::Prod]).unwrap(), r#"["test","prod"]"#);
    }

    proptest! {
        #[test]
        fn a_workspace_key_splits_into_what_it_was_made_of(id in any::<[u8; 16]>(), rest in any::<[u8; 32]>()) {
            let mut random = [0; RANDOM_BYTES];
            random[..16].copy_from_slice(&id);
            random[16..].copy_from_slice(&rest);
            let Generated { public_id, secret } = generate(SecretShape::WorkspaceKey(Mode::Test), &random);
            let at = public_id.len();
            prop_assert_eq!(&secret.expose()[at..at + 43], slow_base62(&rest, 43));
            prop_assert_eq!(split_workspace_key(secret.expose()), Some((public_id.as_str(), secret.expose())));
        }

        #[test]
        fn no_string_makes_the_parser_panic(text in any::<String>(), tail in ".{0,70}") {
            prop_assert_eq!(split_workspace_key(&text), None);
            let key = format!("sk_workspace_test_{tail}");
            prop_assert_eq!(split_workspace_key(&key), None);
            let _ = checksum_ok(&text);
        }
    }
}
