//! Parquet: typed columns, a folder for each day, files that appear whole.
//!
//! `day=2026-11-21/part-FIRST-LAST.parquet` has the events of a day (UTC) from one position to another. A file is
//! written under another name and gets its own when it is complete and on the disk, so what readers find is whole;
//! and an export that was cut short goes on after the last of them. `leaf` has the bytes that the ledger hashes, so
//! the root that a checkpoint signs can be computed from these files alone.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::parquet::basic::Compression;
use ::parquet::data_type::{ByteArray, ByteArrayType, DataType, FixedLenByteArray, FixedLenByteArrayType};
use ::parquet::data_type::{Int32Type, Int64Type};
use ::parquet::errors::ParquetError;
use ::parquet::file::properties::{EnabledStatistics, WriterProperties};
use ::parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use ::parquet::schema::parser::parse_message_type;
use ::parquet::schema::types::ColumnPath;
use bytes::Bytes;
use rota_aggregates::{Position, Timestamp};

use crate::Entry;
use crate::entry::name;

/// Rows that are held in memory and written together.
const GROUP_ROWS: usize = 16_384;
/// Bytes of leaves that are held in memory.
const GROUP_BYTES: usize = 16 << 20;
/// A file has at most so many rows.
const PART_ROWS: u64 = 1 << 20;
/// What a file is called until it is complete.
const PARTIAL: &str = "partial";

/// The columns, in order. Whoever changes them changes what analysts have built on.
const SCHEMA: &str = "message event {
    required int64 position;
    required int64 time (TIMESTAMP(MICROS, true));
    required binary type (STRING);
    required binary subject (STRING);
    optional binary credential (STRING);
    optional int32 version;
    required binary workspace (STRING);
    required binary actor_kind (STRING);
    required binary actor_id (STRING);
    required binary dialect (STRING);
    required binary proof (STRING);
    required binary id (STRING);
    required binary stream (STRING);
    required int32 sequence;
    required binary request (STRING);
    required binary causation (STRING);
    required binary correlation (STRING);
    required binary data (STRING);
    required fixed_len_byte_array(32) leaf_hash;
    required binary leaf;
}";

/// Columns of which few values are there, again and again.
const REPEATING: [&str; 8] =
    ["type", "subject", "credential", "workspace", "actor_kind", "actor_id", "dialect", "proof"];
/// Columns whose smallest and largest value say nothing.
const OPAQUE: [&str; 3] = ["data", "leaf_hash", "leaf"];

/// Why an export can't go on.
#[derive(Debug, thiserror::Error)]
pub enum PartsError {
    /// The disk.
    #[error("can't write {path}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The format.
    #[error("can't write Parquet")]
    Parquet(#[from] ParquetError),
}

/// Values of a column of bytes, one after the other.
#[derive(Default)]
struct Texts {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Texts {
    fn push(&mut self, text: impl AsRef<[u8]>) {
        self.bytes.extend_from_slice(text.as_ref());
        self.ends.push(self.bytes.len());
    }

    fn take(&mut self) -> Vec<ByteArray> {
        let bytes = Bytes::from(std::mem::take(&mut self.bytes));
        let mut start = 0;
        let values = self.ends.drain(..).map(|end| {
            let value = ByteArray::from(bytes.slice(start..end));
            start = end;
            value
        });
        values.collect()
    }
}

/// Rows that are not written yet, by column.
#[derive(Default)]
struct Rows {
    count: usize,
    position: Vec<i64>,
    time: Vec<i64>,
    r#type: Texts,
    subject: Texts,
    credential: Texts,
    credential_there: Vec<i16>,
    version: Vec<i32>,
    version_there: Vec<i16>,
    workspace: Texts,
    actor_kind: Texts,
    actor_id: Texts,
    dialect: Texts,
    proof: Texts,
    id: Texts,
    stream: Texts,
    sequence: Vec<i32>,
    request: Texts,
    causation: Texts,
    correlation: Texts,
    data: Texts,
    leaf_hash: Texts,
    leaf: Texts,
}

impl Rows {
    fn push(&mut self, entry: &Entry<'_>) {
        let leaf = &entry.leaf;
        let about = entry.about();
        self.count += 1;
        self.position.push(entry.position.0 as i64);
        self.time.push(leaf.time.micros());
        self.r#type.push(leaf.r#type.as_bytes());
        self.subject.push(match about.credential {
            Some(id) => format!("credential/{id}"),
            None => leaf.stream.to_string(),
        });
        self.credential_there.push(i16::from(about.credential.is_some()));
        if let Some(id) = about.credential {
            self.credential.push(id.to_string());
        }
        self.version_there.push(i16::from(about.version.is_some()));
        self.version.extend(about.version.map(|version| version as i32));
        self.workspace.push(leaf.workspace.to_string());
        self.actor_kind.push(name(&leaf.actor.kind));
        self.actor_id.push(leaf.actor.id.to_string());
        self.dialect.push(name(&leaf.dialect));
        self.proof.push(name(&leaf.proof.kind));
        self.id.push(leaf.id.to_string());
        self.stream.push(leaf.stream.to_string());
        self.sequence.push(leaf.sequence.0 as i32);
        self.request.push(leaf.request.to_string());
        self.causation.push(leaf.causation.to_string());
        self.correlation.push(leaf.correlation.to_string());
        self.data.push(leaf.data.get());
        self.leaf_hash.push(entry.leaf_hash().0);
        self.leaf.push(entry.bytes);
    }

    fn is_full(&self) -> bool {
        self.count >= GROUP_ROWS || self.leaf.bytes.len() >= GROUP_BYTES
    }

    fn write(&mut self, writer: &mut SerializedFileWriter<File>) -> Result<(), ParquetError> {
        self.count = 0;
        let mut group = writer.next_row_group()?;
        self.columns(&mut group)?;
        group.close()?;
        Ok(())
    }

    fn columns(&mut self, group: &mut Group<'_>) -> Result<(), ParquetError> {
        int64(group, &mut self.position)?;
        int64(group, &mut self.time)?;
        text(group, &mut self.r#type, None)?;
        text(group, &mut self.subject, None)?;
        text(group, &mut self.credential, Some(&mut self.credential_there))?;
        int32(group, &mut self.version, Some(&mut self.version_there))?;
        for values in [
            &mut self.workspace,
            &mut self.actor_kind,
            &mut self.actor_id,
            &mut self.dialect,
            &mut self.proof,
            &mut self.id,
            &mut self.stream,
        ] {
            text(group, values, None)?;
        }
        int32(group, &mut self.sequence, None)?;
        for values in [&mut self.request, &mut self.causation, &mut self.correlation, &mut self.data] {
            text(group, values, None)?;
        }
        let hashes: Vec<_> = self.leaf_hash.take().into_iter().map(FixedLenByteArray::from).collect();
        put::<FixedLenByteArrayType>(group, &hashes, None)?;
        text(group, &mut self.leaf, None)
    }
}

type Group<'a> = SerializedRowGroupWriter<'a, File>;

/// Writes the next column. `there` says of each row whether it has a value, where not every row must have one.
fn put<T: DataType>(
    group: &mut Group<'_>,
    values: &[T::T],
    there: Option<&mut Vec<i16>>,
) -> Result<(), ParquetError> {
    let too_few = || ParquetError::General("there are more values than columns".into());
    let mut column = group.next_column()?.ok_or_else(too_few)?;
    column.typed::<T>().write_batch(values, there.as_deref().map(Vec::as_slice), None)?;
    there.into_iter().for_each(Vec::clear);
    column.close()
}

fn int64(group: &mut Group<'_>, values: &mut Vec<i64>) -> Result<(), ParquetError> {
    put::<Int64Type>(group, values, None)?;
    values.clear();
    Ok(())
}

fn int32(
    group: &mut Group<'_>,
    values: &mut Vec<i32>,
    there: Option<&mut Vec<i16>>,
) -> Result<(), ParquetError> {
    put::<Int32Type>(group, values, there)?;
    values.clear();
    Ok(())
}

fn text(group: &mut Group<'_>, values: &mut Texts, there: Option<&mut Vec<i16>>) -> Result<(), ParquetError> {
    put::<ByteArrayType>(group, &values.take(), there)
}

/// A file that is being written.
struct Part {
    day: String,
    path: PathBuf,
    writer: SerializedFileWriter<File>,
    first: Position,
    last: Position,
    rows: u64,
}

/// A folder of Parquet files that grows by day.
pub struct Parts {
    folder: PathBuf,
    rows: Rows,
    open: Option<Part>,
    properties: Arc<WriterProperties>,
    files: u64,
}

/// The position of the last event in a file, by the file's name.
fn last_of(file: &str) -> Option<Position> {
    let (_, last) = file.strip_prefix("part-")?.strip_suffix(".parquet")?.split_once('-')?;
    last.parse().ok().map(Position)
}

/// The day of an instant in UTC.
fn day(time: Timestamp) -> String {
    time.to_string()[..10].to_owned()
}

impl Parts {
    /// Goes on in a folder, which is made if it is not there. What an earlier run left unfinished is removed. The
    /// position of the last event that is there.
    pub fn open(folder: &Path) -> Result<(Self, Option<Position>), PartsError> {
        let failed = |source| PartsError::Io { path: folder.to_owned(), source };
        fs::create_dir_all(folder).map_err(failed)?;
        let mut last = None;
        for day in fs::read_dir(folder).map_err(failed)? {
            let day = day.map_err(failed)?;
            if !day.file_name().to_string_lossy().starts_with("day=") {
                continue;
            }
            for file in fs::read_dir(day.path()).map_err(failed)? {
                let file = file.map_err(failed)?;
                if file.path().extension().is_some_and(|extension| extension == PARTIAL) {
                    fs::remove_file(file.path()).map_err(failed)?;
                }
                last = last.max(last_of(&file.file_name().to_string_lossy()));
            }
        }
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_dictionary_enabled(false)
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_created_by(concat!("rota ", env!("CARGO_PKG_VERSION")).to_owned());
        for column in REPEATING {
            properties = properties.set_column_dictionary_enabled(ColumnPath::from(column), true);
        }
        for column in OPAQUE {
            properties =
                properties.set_column_statistics_enabled(ColumnPath::from(column), EnabledStatistics::None);
        }
        let properties = Arc::new(properties.build());
        let parts =
            Self { folder: folder.to_owned(), rows: Rows::default(), open: None, properties, files: 0 };
        Ok((parts, last))
    }

    /// Adds an event. They come in the order of their positions.
    pub fn write(&mut self, entry: &Entry<'_>) -> Result<(), PartsError> {
        let day = day(entry.leaf.time);
        if self.open.as_ref().is_some_and(|part| part.day != day || part.rows >= PART_ROWS) {
            self.close()?;
        }
        let part = match &mut self.open {
            Some(part) => part,
            none => none.insert(part(&self.folder, day, entry.position, &self.properties)?),
        };
        self.rows.push(entry);
        part.rows += 1;
        part.last = entry.position;
        if self.rows.is_full() {
            self.rows.write(&mut part.writer)?;
        }
        Ok(())
    }

    /// Completes the file that is being written.
    fn close(&mut self) -> Result<(), PartsError> {
        let Some(mut part) = self.open.take() else { return Ok(()) };
        if self.rows.count > 0 {
            self.rows.write(&mut part.writer)?;
        }
        part.writer.finish()?;
        let whole =
            part.path.with_file_name(format!("part-{:020}-{:020}.parquet", part.first.0, part.last.0));
        let done = part.writer.inner().sync_all().and_then(|()| fs::rename(&part.path, &whole));
        let folder = part.path.parent().unwrap_or(&self.folder);
        done.and_then(|()| File::open(folder)?.sync_all())
            .map_err(|source| PartsError::Io { path: whole.clone(), source })?;
        self.files += 1;
        Ok(())
    }

    /// Completes the last file. How many were written.
    pub fn finish(mut self) -> Result<u64, PartsError> {
        self.close()?;
        let failed = |source| PartsError::Io { path: self.folder.clone(), source };
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        Ok(self.files)
    }
}

fn part(
    folder: &Path,
    day: String,
    first: Position,
    properties: &Arc<WriterProperties>,
) -> Result<Part, PartsError> {
    let folder = folder.join(format!("day={day}"));
    let path = folder.join(format!("part-{:020}.{PARTIAL}", first.0));
    let file = fs::create_dir_all(&folder).and_then(|()| File::create(&path));
    let file = file.map_err(|source| PartsError::Io { path: path.clone(), source })?;
    let schema = Arc::new(parse_message_type(SCHEMA)?);
    let writer = SerializedFileWriter::new(file, schema, Arc::clone(properties))?;
    Ok(Part { day, path, writer, first, last: first, rows: 0 })
}
