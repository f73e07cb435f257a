//! Copies of checkpoints: in a folder, or at an address that takes them by PUT and gives them back by GET.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Method, RequestBuilder, StatusCode, Url};
use zeroize::Zeroizing;

use super::{Trouble, no_answer, refused, text};
use crate::file::{sync_folder, write_whole};

/// The newest checkpoint, in a folder.
const NEWEST: &str = "checkpoint";
/// All that were ever copied there, each followed by an empty line.
const HISTORY: &str = "history";

/// Where a copy goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// A folder with the files `checkpoint` and `history`.
    Folder(PathBuf),
    /// An address.
    Url(Url),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("a place is a folder or an http(s) address".to_owned());
        }
        if !text.contains("://") {
            return Ok(Self::Folder(text.into()));
        }
        let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        url.map(Self::Url).ok_or_else(|| format!("{text} is no http or https address"))
    }
}

/// Without what may be secret in an address.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "{}", path.display()),
            Self::Url(url) => write!(f, "{}", url.origin().ascii_serialization()),
        }
    }
}

/// A place, and what opens it.
pub struct Copy {
    /// Where.
    pub place: Place,
    /// A file with the bearer token for addresses.
    bearer: Option<PathBuf>,
    client: Client,
}

impl Copy {
    /// A place. The token is read at each use, and so can be replaced.
    pub fn new(place: Place, bearer: Option<PathBuf>, client: Client) -> Self {
        Self { place, bearer, client }
    }

    /// The checkpoint that is there.
    pub async fn read(&self) -> Result<Option<String>, Trouble> {
        match &self.place {
            Place::Folder(folder) => match tokio::fs::read_to_string(folder.join(NEWEST)).await {
                Ok(note) => Ok(Some(note)),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error.into()),
            },
            Place::Url(url) => {
                let answer = self.request(Method::GET, url)?.send().await.map_err(no_answer)?;
                match answer.status() {
                    StatusCode::OK => text(answer).await.map(Some),
                    StatusCode::NOT_FOUND | StatusCode::NO_CONTENT => Ok(None),
                    status => Err(refused(status, answer).await),
                }
            }
        }
    }

    /// Puts a checkpoint there. It is on disk, or acknowledged, when this returns.
    pub async fn write(&self, note: &str) -> Result<(), Trouble> {
        match &self.place {
            Place::Folder(folder) => {
                let (folder, note) = (folder.clone(), note.to_owned());
                let written = tokio::task::spawn_blocking(move || put(&folder, &note)).await;
                Ok(written.map_err(io::Error::other)??)
            }
            Place::Url(url) => {
                let request = self.request(Method::PUT, url)?;
                let request = request.header(CONTENT_TYPE, "text/plain; charset=utf-8").body(note.to_owned());
                let answer = request.send().await.map_err(no_answer)?;
                match answer.status() {
                    status if status.is_success() => Ok(()),
                    status => Err(refused(status, answer).await),
                }
            }
        }
    }

    fn request(&self, method: Method, url: &Url) -> Result<RequestBuilder, Trouble> {
        let request = self.client.request(method, url.clone());
        let Some(path) = &self.bearer else { return Ok(request) };
        let token = Zeroizing::new(fs::read_to_string(path)?);
        let mut value = HeaderValue::from_str(&Zeroizing::new(format!("Bearer {}", token.trim())))
            .map_err(|_| io::Error::other("the bearer token has characters that no header can have"))?;
        value.set_sensitive(true);
        Ok(request.header(reqwest::header::AUTHORIZATION, value))
    }
}

/// Appends to the history first: what is the newest is always in there.
fn put(folder: &Path, note: &str) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let path = folder.join(HISTORY);
    let new = !path.exists();
    let mut history = File::options().create(true).read(true).append(true).open(&path)?;
    // What a crash cut short is closed, so that what follows can be read.
    let length = history.metadata()?.len();
    let mut end = [0; 2];
    if length >= 2 {
        history.seek(SeekFrom::Start(length - 2))?;
        history.read_exact(&mut end)?;
    }
    if length > 0 && end != *b"\n\n" {
        history.write_all(b"\n\n")?;
    }
    history.write_all(format!("{note}\n").as_bytes())?;
    history.sync_all()?;
    if new {
        sync_folder(&path)?;
    }
    write_whole(&folder.join(NEWEST), note.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_folders_or_addresses() {
        assert_eq!("/mnt/copies".parse(), Ok(Place::Folder("/mnt/copies".into())));
        let url: Place = "https://a.example/x?token=secret".parse().unwrap();
        assert_eq!(url.to_string(), "https://a.example");
        assert!("ftp://a.example/".parse::<Place>().is_err());
        assert!("".parse::<Place>().is_err());
    }

    #[tokio::test]
    async fn a_folder_has_the_newest_and_all_that_were() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("copies");
        let _ = rustls::crypto::ring::default_provider().install_default();
        let copy = Copy::new(Place::Folder(path.clone()), None, super::super::client().unwrap());
        assert_eq!(copy.read().await.unwrap(), None);
        copy.write("a\n1\nroot\n\n— a line\n").await.unwrap();
        // A crash in the middle of a write.
        let cut = fs::read_to_string(path.join(HISTORY)).unwrap() + "a\n2\nro";
        fs::write(path.join(HISTORY), cut).unwrap();
        copy.write("a\n3\nroot\n\n— a line\n").await.unwrap();
        assert_eq!(copy.read().await.unwrap().as_deref(), Some("a\n3\nroot\n\n— a line\n"));
        let history = fs::read_to_string(path.join(HISTORY)).unwrap();
        let whole = "a\n1\nroot\n\n— a line\n\na\n2\nro\n\na\n3\nroot\n\n— a line\n\n";
        assert_eq!(history, whole);
    }
}
