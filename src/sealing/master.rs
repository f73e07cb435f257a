//! The master key: 32 bytes that are never in the store, and the file that may hold them.

use std::fmt;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use zeroize::Zeroizing;

/// Characters of standard base64, padding included, that hold 32 bytes.
const TEXT_LEN: usize = 44;

/// The key that wraps all other keys. Zeroized on drop; `Debug` prints only its id.
#[derive(Clone)]
pub struct MasterKey(Zeroizing<[u8; 32]>);

/// Why there is no master key. No message quotes what the key or the file holds.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// Not standard base64, with padding, of exactly 32 bytes.
    #[error("the master key must be base64 of exactly 32 bytes; `openssl rand -base64 32` makes one")]
    NotAKey,
    /// The file holds something else than a key.
    #[error("{} must hold base64 of exactly 32 bytes and nothing else but a newline at the end", path.display())]
    NotAKeyFile {
        /// The file.
        path: PathBuf,
    },
    /// Others than its owner could use the file.
    #[error("{} has mode {mode:04o}, and a master key only its owner may read: run `chmod 600 {}`", path.display(), path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A new key was to be made where there is a file already.
    #[error("{} exists, and a master key is never overwritten by a new one", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file system refused; the source says why.
    #[error("cannot {action} the master key file {}", path.display())]
    Io {
        /// What was tried: `read`, `create` or `replace`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl MasterKey {
    /// Reads a key from standard base64 with padding: 44 characters, no white space.
    pub fn from_base64(text: &str) -> Result<Self, MasterKeyError> {
        Self::decode(text.as_bytes()).ok_or(MasterKeyError::NotAKey)
    }

    /// Reads a key from a file of mode 0600 or 0400, which holds base64 of 32 bytes; one newline at the end is
    /// allowed. A symbolic link is followed, and the mode is that of the file it leads to.
    pub fn from_file(path: &Path) -> Result<Self, MasterKeyError> {
        let failed = |source| io_error("read", path, source);
        let file = File::open(path).map_err(failed)?;
        // Of the opened file, not of the path, which may by now lead elsewhere.
        let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
        if mode != 0o600 && mode != 0o400 {
            return Err(MasterKeyError::Mode { path: path.to_owned(), mode });
        }
        // Room for the key, "\r\n" and one byte that proves it too long: the buffer never grows, and so leaves
        // no copy behind.
        let limit = TEXT_LEN + 3;
        let mut text = Zeroizing::new(Vec::with_capacity(2 * limit));
        file.take(limit as u64).read_to_end(&mut text).map_err(failed)?;
        let line = text.strip_suffix(b"\n").unwrap_or(&text);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        Self::decode(line).ok_or_else(|| MasterKeyError::NotAKeyFile { path: path.to_owned() })
    }

    /// Makes a key of `random`, which must be fresh and of a cryptographic source, and a new file of mode 0600
    /// for it. When this returns, the file is durable. A file that is there already is left alone
    /// ([`MasterKeyError::Exists`]).
    pub fn create_file(path: &Path, random: &[u8; 32]) -> Result<Self, MasterKeyError> {
        let key = Self(Zeroizing::new(*random));
        match key.write_new(path) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                return Err(MasterKeyError::Exists { path: path.to_owned() });
            }
            Err(e) => return Err(io_error("create", path, e)),
        }
        sync_parent(path).map_err(|e| io_error("create", path, e))?;
        Ok(key)
    }

    /// Puts `key` in the place of what `path` holds, if anything: after a crash the file has either the old key
    /// or the new one. When this returns, the new one is durable.
    pub fn replace_file(path: &Path, key: &MasterKey) -> Result<(), MasterKeyError> {
        let failed = |source| io_error("replace", path, source);
        let mut next = path.as_os_str().to_owned();
        next.push(".next");
        let next = PathBuf::from(next);
        // What an earlier attempt may have left when it was cut short.
        match fs::remove_file(&next) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
            _ => {}
        }
        key.write_new(&next).map_err(failed)?;
        if let Err(e) = fs::rename(&next, path) {
            discard(&next);
            return Err(failed(e));
        }
        sync_parent(path).map_err(failed)
    }

    /// What a wrapped key names its master key by. It tells nothing about the key.
    pub fn id(&self) -> [u8; 4] {
        let tag = self.derive(b"rota master key id");
        [tag[0], tag[1], tag[2], tag[3]]
    }

    /// The key that derives the wrapping key of each item. By value: a ring needs nothing else of the master key,
    /// which is zeroized here.
    pub(super) fn into_wrapping(self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &*self.derive(b"rota master wrap key"))
    }

    fn derive(&self, purpose: &[u8]) -> Zeroizing<[u8; 32]> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &*self.0);
        let mut derived = Zeroizing::new([0; 32]);
        derived.copy_from_slice(hmac::sign(&key, purpose).as_ref());
        derived
    }

    fn decode(text: &[u8]) -> Option<Self> {
        if text.len() != TEXT_LEN {
            return None;
        }
        // 44 characters without padding would be 33 bytes.
        let mut bytes = Zeroizing::new([0; 33]);
        // The decoder's error is dropped: it quotes a character of the key.
        let 32 = STANDARD.decode_slice(text, &mut *bytes).ok()? else { return None };
        let mut key = Zeroizing::new([0; 32]);
        key.copy_from_slice(&bytes[..32]);
        Some(Self(key))
    }

    /// Writes and flushes a file that must not exist yet; one that could not be completed is removed again.
    fn write_new(&self, path: &Path) -> io::Result<()> {
        let mut text = Zeroizing::new([b'\n'; TEXT_LEN + 1]);
        STANDARD
            .encode_slice(self.0.as_slice(), &mut text[..TEXT_LEN])
            .expect("32 bytes are 44 characters of base64");
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let written = file
            // The process' umask may have taken away even the owner's rights.
            .set_permissions(Permissions::from_mode(0o600))
            .and_then(|()| file.write_all(&*text))
            .and_then(|()| file.sync_all());
        if written.is_err() {
            discard(path);
        }
        written
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({:08x})", u32::from_be_bytes(self.id()))
    }
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> MasterKeyError {
    MasterKeyError::Io { action, path: path.to_owned(), source }
}

/// Removes a file that is of no use. That it cannot be removed either adds nothing to the error at hand.
fn discard(path: &Path) {
    let _ = fs::remove_file(path);
}

/// Makes the directory entry of `path` durable.
fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(byte: u8) -> String {
        STANDARD.encode([byte; 32])
    }

    fn write(path: &Path, content: &str, mode: u32) {
        let _ = fs::remove_file(path);
        fs::write(path, content).unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn only_base64_of_32_bytes_is_a_key() {
        assert_eq!(*MasterKey::from_base64(&text(7)).unwrap().0, [7; 32]);
        let unpadded = text(7).trim_end_matches('=').to_owned();
        for wrong in [
            "",
            "secret",
            &unpadded,
            &STANDARD.encode([7; 31]),
            &STANDARD.encode([7; 33]),
            &format!("{}\n", text(7)),
            &format!("-{}", &text(7)[1..]),
            &format!("é{}", &text(7)[2..]),
            &"=".repeat(44),
        ] {
            let error = MasterKey::from_base64(wrong).unwrap_err();
            assert!(matches!(error, MasterKeyError::NotAKey));
            assert!(wrong.is_empty() || !format!("{error} {error:?}").contains(wrong));
        }
    }

    #[test]
    fn a_file_that_others_could_use_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master.key");
        for mode in [0o644, 0o640, 0o604, 0o660, 0o700, 0o4600, 0o440] {
            write(&path, &text(1), mode);
            let error = MasterKey::from_file(&path).unwrap_err();
            assert!(matches!(error, MasterKeyError::Mode { mode: found, .. } if found == mode));
            assert!(error.to_string().contains(&format!("`chmod 600 {}`", path.display())), "{error}");
        }
        for mode in [0o600, 0o400] {
            write(&path, &text(1), mode);
            assert_eq!(*MasterKey::from_file(&path).unwrap().0, [1; 32]);
        }
    }

    #[test]
    fn a_file_holds_a_key_and_at_most_a_newline() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master.key");
        for right in [text(2), text(2) + "\n", text(2) + "\r\n"] {
            write(&path, &right, 0o600);
            assert_eq!(*MasterKey::from_file(&path).unwrap().0, [2; 32]);
        }
        for wrong in
            [String::new(), text(2) + "\n\n", text(2) + " ", text(2) + "\nmore", text(2).repeat(50_000)]
        {
            write(&path, &wrong, 0o600);
            let error = MasterKey::from_file(&path).unwrap_err();
            assert!(matches!(error, MasterKeyError::NotAKeyFile { .. }), "{error}");
            assert!(!format!("{error} {error:?}").contains(&text(2)));
        }
        fs::write(&path, [0xff; 44]).unwrap();
        assert!(matches!(MasterKey::from_file(&path), Err(MasterKeyError::NotAKeyFile { .. })));
        let missing = MasterKey::from_file(&dir.path().join("none")).unwrap_err();
        assert!(matches!(missing, MasterKeyError::Io { action: "read", .. }));
        assert!(matches!(
            MasterKey::from_file(dir.path()),
            Err(MasterKeyError::Mode { .. } | MasterKeyError::Io { .. })
        ));
    }

    #[test]
    fn a_new_file_is_private_and_overwrites_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master.key");
        let made = MasterKey::create_file(&path, &[3; 32]).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(MasterKey::from_file(&path).unwrap().id(), made.id());
        let error = MasterKey::create_file(&path, &[4; 32]).unwrap_err();
        assert!(matches!(error, MasterKeyError::Exists { .. }));
        assert_eq!(*MasterKey::from_file(&path).unwrap().0, [3; 32]);
    }

    #[test]
    fn a_replaced_file_is_private_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master.key");
        MasterKey::create_file(&path, &[3; 32]).unwrap();
        write(&dir.path().join("master.key.next"), "cut short", 0o600);
        let new = MasterKey::from_base64(&text(5)).unwrap();
        MasterKey::replace_file(&path, &new).unwrap();
        assert_eq!(*MasterKey::from_file(&path).unwrap().0, [5; 32]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(fs::read_to_string(&path).unwrap(), text(5) + "\n");
    }

    #[test]
    fn debug_shows_the_id_and_no_key_byte() {
        let key = MasterKey::from_base64(&text(0xab)).unwrap();
        let id = key.id().map(|b| format!("{b:02x}")).concat();
        assert_eq!(format!("{key:?}"), format!("MasterKey({id})"));
        assert_ne!(key.id(), MasterKey::from_base64(&text(0xac)).unwrap().id());
    }
}
