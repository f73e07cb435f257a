//! What the machine under a ledger is like.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rota::app::clock::{Clock, SystemClock};
use rota::log::sqlite::inspect::Inspection;

use super::{Finding, bad, good, note};
use crate::cli::error::chain;

/// With less, the next hours may fill the disk.
const FREE_KIB_MIN: u64 = 256 * 1_024;
/// A flush that takes longer makes every change slow.
const FLUSH_SLOW: Duration = Duration::from_millis(50);
/// No disk is that fast: something between here and it answers before the data is safe.
const FLUSH_SUSPECT: Duration = Duration::from_micros(20);

pub(super) fn mode(path: &Path) -> std::io::Result<u32> {
    Ok(std::fs::metadata(path)?.permissions().mode() & 0o777)
}

pub(super) fn folder_mode(folder: &Path) -> Finding {
    let mend = format!("run `chmod 700 {}`", folder.display());
    match mode(folder) {
        Err(error) => bad("folder", chain(&error), "run this as the user who runs rota"),
        Ok(mode) if mode & 0o022 != 0 => bad(
            "folder",
            format!("{} has mode {mode:04o}: others can replace what is in it", folder.display()),
            mend,
        ),
        Ok(mode) if mode & 0o055 != 0 => {
            note("folder", format!("{} has mode {mode:04o}: others can look into it", folder.display()), mend)
        }
        Ok(mode) => good("folder", format!("{} has mode {mode:04o}", folder.display())),
    }
}

pub(super) fn disk_space(folder: &Path) -> Finding {
    let asked = std::process::Command::new("df").arg("-Pk").arg(folder).output();
    let free = asked.ok().and_then(|output| {
        let text = String::from_utf8(output.stdout).ok()?;
        text.lines().nth(1)?.split_whitespace().nth(3)?.parse::<u64>().ok()
    });
    match free {
        None => note("disk", "df does not say how much is free", ""),
        Some(free) if free < FREE_KIB_MIN => bad(
            "disk",
            format!("{} MiB are free", free / 1_024),
            "make room: a full disk refuses every change",
        ),
        Some(free) => good("disk", format!("{} MiB are free", free / 1_024)),
    }
}

/// Writes and flushes a file in the folder, as every commit does.
pub(super) fn flush(folder: &Path) -> Finding {
    let path = folder.join(format!("doctor-{}.part", std::process::id()));
    let timed = (|| -> std::io::Result<Duration> {
        let mut file = File::options().write(true).create_new(true).open(&path)?;
        let started = Instant::now();
        for _ in 0..ROUNDS {
            file.write_all(&[0; 4_096])?;
            file.sync_data()?;
        }
        Ok(started.elapsed() / ROUNDS)
    })();
    let _ = std::fs::remove_file(&path);
    match timed {
        Err(error) => bad("flush", chain(&error), "rota must be able to write and flush files in its folder"),
        Ok(each) if each > FLUSH_SLOW => {
            note("flush", format!("{each:.1?} each: changes will be slow"), "put the store on a local disk")
        }
        Ok(each) if each < FLUSH_SUSPECT => note(
            "flush",
            format!("{each:.1?} each: too fast for a disk"),
            "this folder may not survive a power cut: is it in memory, or on a disk that lies?",
        ),
        Ok(each) => good("flush", format!("{each:.1?} each")),
    }
}

/// Flushes that are timed.
const ROUNDS: u32 = 8;

pub(super) fn clock(seen: &Inspection) -> Finding {
    let now = SystemClock.now();
    match seen.last_time {
        Some(last) if last > now => bad(
            "clock",
            format!("it is {now} here, and the last event is of {last}"),
            "set the clock: until then time stands still for the ledger, and nothing expires",
        ),
        Some(last) => good("clock", format!("{now}, the last event is of {last}")),
        None => good("clock", format!("{now}")),
    }
}
