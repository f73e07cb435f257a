//! A file that is called `….partial` until it is complete.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rota::file::{named, sync_folder, write_whole};

use crate::cli::error::Stop;

/// Bytes looked at in one go for the last line feed.
const BLOCK: u64 = 64 * 1_024;

/// A file that is being written.
pub struct Partial {
    file: File,
    path: PathBuf,
    unfinished: PathBuf,
    how: PathBuf,
}

/// What an earlier run left.
pub enum Interrupted {
    /// Nothing.
    No(Partial),
    /// Whole lines; the last one with its line feed. What was cut short after it is gone.
    At(Partial, Vec<u8>),
    /// All of it.
    Whole(PathBuf),
}

impl Partial {
    /// Opens it. `how` says what it is an export of: only the same is taken up again.
    pub fn open(path: &Path, how: &str, resume: bool) -> Result<Interrupted, Stop> {
        let failed = |path: &Path| {
            let path = path.display().to_string();
            move |error| Stop::failed(format!("can't write {path}"), error)
        };
        let (partial, described) = (named(path, ".partial"), named(path, ".partial.json"));
        if path.exists() {
            return if resume {
                Ok(Interrupted::Whole(path.to_owned()))
            } else {
                Err(Stop::refused(format!("{} exists already", path.display()))
                    .advise("name another with --out"))
            };
        }
        let there = partial.exists();
        if there && !resume {
            return Err(Stop::refused(format!(
                "{} is left of an export that was cut short",
                partial.display()
            ))
            .advise("--resume goes on with it; or delete it"));
        }
        let before = fs::read_to_string(&described).ok();
        if there && before.as_deref() != Some(how) {
            let what = format!("{} is of other events, or of another format", partial.display());
            return Err(Stop::refused(what).advise("resume it with the same flags; or delete it"));
        }
        write_whole(&described, how.as_bytes()).map_err(failed(&described))?;
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(false).open(&partial);
        let mut file = file.map_err(failed(&partial))?;
        let last = last_line(&mut file).map_err(failed(&partial))?;
        let this = Self { file, path: path.to_owned(), unfinished: partial, how: described };
        Ok(match last {
            Some(line) => Interrupted::At(this, line),
            None => Interrupted::No(this),
        })
    }

    /// Where it will be.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Empties it.
    pub fn begin(mut self) -> io::Result<Self> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        Ok(self)
    }

    /// Appends.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Gives it its name, when it is on the disk.
    pub fn finish(self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.unfinished, &self.path)?;
        fs::remove_file(&self.how)?;
        sync_folder(&self.path)
    }
}

/// Cuts off what follows the last line feed and gives the last whole line. The file ends there afterwards.
fn last_line(file: &mut File) -> io::Result<Option<Vec<u8>>> {
    let length = file.metadata()?.len();
    // The ends of the last two lines.
    let mut ends = Vec::new();
    let mut end = length;
    while end > 0 && ends.len() < 2 {
        let start = end.saturating_sub(BLOCK);
        let mut block = vec![0; (end - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut block)?;
        let found = block.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
        ends.extend(found.map(|(at, _)| start + at as u64 + 1).take(2 - ends.len()));
        end = start;
    }
    let whole = ends.first().copied().unwrap_or(0);
    file.set_len(whole)?;
    let Some(last) = ends.first() else {
        file.seek(SeekFrom::Start(0))?;
        return Ok(None);
    };
    let start = ends.get(1).copied().unwrap_or(0);
    let mut line = vec![0; (last - start) as usize];
    file.seek(SeekFrom::Start(start))?;
    file.read_exact(&mut line)?;
    Ok(Some(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row that was cut short would stay, or a whole one would be lost.
    #[test]
    fn a_file_ends_after_its_last_whole_line() {
        let long = "x".repeat(3 * BLOCK as usize);
        for (text, whole, last) in [
            (String::new(), String::new(), None),
            ("torn".into(), String::new(), None),
            ("a\n".into(), "a\n".into(), Some("a\n".to_owned())),
            ("a\nbc\ntorn".into(), "a\nbc\n".into(), Some("bc\n".into())),
            (format!("a\n{long}\n{long}"), format!("a\n{long}\n"), Some(format!("{long}\n"))),
        ] {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            let line = last_line(&mut file).unwrap();
            assert_eq!(line.map(|line| String::from_utf8(line).unwrap()), last);
            let mut left = String::new();
            file.seek(SeekFrom::Start(0)).unwrap();
            file.read_to_string(&mut left).unwrap();
            assert_eq!(left, whole);
        }
    }
}
