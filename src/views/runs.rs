//! The runs in the file: writing one, and making one of several.

use std::sync::atomic::Ordering;

use sqlx::{Arguments, Executor, SqliteConnection, SqlitePool};

use super::Views;
use super::project::insert;
use super::run::{Entries, Entry, Packer, Page};
use crate::log::LogError;
use crate::log::sqlite::begin;

/// So many runs of a level become one of the next.
pub(super) const FAN: usize = 8;
/// Runs of this level are merged no further: a larger one would take long and spare few look-ups.
const LEVEL_MAX: i64 = 3;
/// Bits of a page's id that number it within its run.
const PAGE_BITS: u32 = 24;
/// Pages written or deleted in one transaction of a merge, so that others get their turn.
const PORTION: usize = 128;
/// Pages of each run that a merge reads at once.
const READ_AHEAD: i64 = 32;

/// The id of a run's page.
pub(super) fn page_id(run: i64, number: usize) -> i64 {
    run << PAGE_BITS | number as i64
}

/// Removes what a merge that did not end has left. Gives the number of the next run.
pub(super) async fn tidy(writer: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    let last: Option<i64> = sqlx::query_scalar("SELECT max(id) FROM pages").fetch_one(&mut *writer).await?;
    sqlx::query(
        "DELETE FROM pages WHERE run IN (SELECT DISTINCT run FROM pages EXCEPT SELECT run FROM runs)",
    )
    .execute(writer)
    .await?;
    Ok(last.map_or(0, |id| (id >> PAGE_BITS) + 1))
}

/// Writes pages of a run, from the page with this number on.
pub(super) async fn write_pages(
    writer: &mut SqliteConnection,
    run: i64,
    number: usize,
    pages: Vec<Page>,
) -> Result<(), sqlx::Error> {
    let pages = pages.into_iter().zip(number..).collect();
    insert(writer, "INSERT INTO pages (id, run, key, position, data) VALUES", 5, pages, |row, arguments| {
        let (Page { first: (key, position), data }, number) = row;
        arguments.add(page_id(run, number))?;
        arguments.add(run)?;
        arguments.add(key)?;
        arguments.add(position as i64)?;
        arguments.add(data)
    })
    .await
}

/// A run that is merged.
struct Source {
    first: i64,
    next: i64,
    run: i64,
    /// The last page that was read.
    page: i64,
    entries: std::vec::IntoIter<Entry>,
}

impl Source {
    /// The next entry, left in place.
    async fn peek(&mut self, readers: &SqlitePool) -> Result<Option<Entry>, sqlx::Error> {
        if let Some(entry) = self.entries.as_slice().first() {
            return Ok(Some(*entry));
        }
        let pages: Vec<(i64, Vec<u8>)> =
            sqlx::query_as("SELECT id, data FROM pages WHERE id > ? AND id < ? ORDER BY id LIMIT ?")
                .bind(self.page)
                .bind(page_id(self.run + 1, 0))
                .bind(READ_AHEAD)
                .fetch_all(readers)
                .await?;
        self.page = pages.last().map_or(self.page, |(id, _)| *id);
        let entries: Vec<Entry> = pages.iter().flat_map(|(_, data)| Entries::of(data)).collect();
        self.entries = entries.into_iter();
        Ok(self.entries.as_slice().first().copied())
    }
}

impl Views {
    /// Makes one run of several, if there are enough of them. Whether there were.
    pub(super) async fn merge(&self) -> Result<bool, LogError> {
        let Some((level, sources)) = self.mergeable().await.map_err(LogError::unavailable)? else {
            return Ok(false);
        };
        let run = self.next_run.fetch_add(1, Ordering::Relaxed);
        let mut gone: Vec<i64> = sources.iter().map(|source| source.run).collect();
        gone.push(run);
        let merged = self.merge_into(run, level + 1, sources).await;
        for run in gone {
            self.delete_pages(run).await.map_err(LogError::unavailable)?;
        }
        merged.map_err(LogError::unavailable)
    }

    /// The oldest runs of the lowest level that has enough of them.
    async fn mergeable(&self) -> Result<Option<(i64, Vec<Source>)>, sqlx::Error> {
        let level: Option<i64> = sqlx::query_scalar(
            "SELECT level FROM runs WHERE level < ? GROUP BY level HAVING count(*) >= ? ORDER BY level LIMIT 1",
        )
        .bind(LEVEL_MAX)
        .bind(FAN as i64)
        .fetch_optional(&self.readers)
        .await?;
        let Some(level) = level else { return Ok(None) };
        let runs: Vec<(i64, i64, i64)> =
            sqlx::query_as("SELECT first, next, run FROM runs WHERE level = ? ORDER BY first LIMIT ?")
                .bind(level)
                .bind(FAN as i64)
                .fetch_all(&self.readers)
                .await?;
        let sources = runs.into_iter().map(|(first, next, run)| Source {
            first,
            next,
            run,
            page: page_id(run, 0) - 1,
            entries: Vec::new().into_iter(),
        });
        Ok(Some((level, sources.collect())))
    }

    /// Writes the new run in portions and puts it in the place of the old ones at once. Whether those were there still.
    async fn merge_into(&self, run: i64, level: i64, mut sources: Vec<Source>) -> Result<bool, sqlx::Error> {
        let (mut packer, mut written) = (Packer::default(), 0);
        loop {
            let mut key = None;
            for source in &mut sources {
                if let Some((first, _)) = source.peek(&self.readers).await? {
                    key = Some(key.map_or(first, |key: i64| key.min(first)));
                }
            }
            let Some(key) = key else { break };
            // The runs are in order of position, and so are the entries of a key over them.
            for source in &mut sources {
                while let Some(entry) = source.peek(&self.readers).await?
                    && entry.0 == key
                {
                    packer.push(entry);
                    source.entries.next();
                }
            }
            if packer.full() >= PORTION {
                let pages = packer.take_full();
                let count = pages.len();
                self.write_portion(run, written, pages).await?;
                written += count;
            }
        }
        self.write_portion(run, written, packer.finish()).await?;
        let (first, next) = (sources.first().map(|s| s.first), sources.last().map(|s| s.next));
        let mut writer = self.writer.lock().await;
        begin(&mut writer).await?;
        let mut found = 0;
        for source in &sources {
            let deleted = sqlx::query("DELETE FROM runs WHERE run = ?").bind(source.run);
            found += deleted.execute(&mut *writer).await?.rows_affected();
        }
        if found < sources.len() as u64 {
            writer.execute("ROLLBACK").await?;
            return Ok(false);
        }
        sqlx::query("INSERT INTO runs (first, next, run, level) VALUES (?, ?, ?, ?)")
            .bind(first)
            .bind(next)
            .bind(run)
            .bind(level)
            .execute(&mut *writer)
            .await?;
        writer.execute("COMMIT").await?;
        Ok(true)
    }

    async fn write_portion(&self, run: i64, number: usize, pages: Vec<Page>) -> Result<(), sqlx::Error> {
        let mut writer = self.writer.lock().await;
        begin(&mut writer).await?;
        write_pages(&mut writer, run, number, pages).await?;
        writer.execute("COMMIT").await?;
        Ok(())
    }

    /// Deletes the pages of what is no run any more, or did not become one: in portions.
    async fn delete_pages(&self, run: i64) -> Result<(), sqlx::Error> {
        loop {
            let mut writer = self.writer.lock().await;
            begin(&mut writer).await?;
            let deleted = sqlx::query(
                "DELETE FROM pages WHERE id IN (SELECT id FROM pages WHERE id >= ? AND id < ? \
                 AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.run = pages.run) LIMIT ?)",
            )
            .bind(page_id(run, 0))
            .bind(page_id(run + 1, 0))
            .bind(PORTION as i64)
            .execute(&mut *writer)
            .await?;
            writer.execute("COMMIT").await?;
            if deleted.rows_affected() == 0 {
                return Ok(());
            }
        }
    }
}
