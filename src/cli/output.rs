//! What commands print: for people a table, for programs JSON, NDJSON or CSV.

use std::fmt;
use std::io::{ErrorKind, Write};

use comfy_table::{ContentArrangement, Table, presets};
use rota::csv;
use serde_json::Value;

/// Prints a line. A reader that has gone has read enough; anything else that keeps it from being written is an end,
/// since what is printed may be a secret that is shown only now.
pub fn say(line: fmt::Arguments<'_>) {
    match writeln!(std::io::stdout().lock(), "{line}") {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
        Err(error) => {
            eprintln!("rota: can't write to stdout: {error}");
            std::process::exit(1);
        }
    }
}

/// How results are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// One JSON document.
    Json,
    /// One JSON document a line.
    Ndjson,
    /// Comma-separated values with a header.
    Csv,
}

/// The flag.
#[derive(clap::Args, Clone, Copy)]
pub struct FormatArgs {
    /// How to print it
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "table")]
    pub format: Format,
}

/// Prints one thing: its fields below each other for people, as a row of a table for programs.
pub fn one(format: Format, document: &Value, fields: &[(&str, String)]) {
    match format {
        Format::Table => {
            let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
            for (name, value) in fields {
                say!("{name:width$}  {value}");
            }
        }
        Format::Json => say!("{document:#}"),
        Format::Ndjson => say!("{document}"),
        Format::Csv => {
            let (names, values): (Vec<_>, Vec<_>) = fields.iter().cloned().unzip();
            csv(&names, &[values]);
        }
    }
}

/// Prints many things of one kind.
pub fn many(format: Format, documents: &[Value], columns: &[&str], rows: &[Vec<String>]) {
    match format {
        Format::Table => say!("{}", table(columns, rows)),
        Format::Json => say!("{:#}", Value::from(documents)),
        Format::Ndjson => documents.iter().for_each(|document| say!("{document}")),
        Format::Csv => csv(columns, rows),
    }
}

/// A table for people.
pub fn table(columns: &[&str], rows: &[Vec<String>]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns);
    table.add_rows(rows);
    table
}

fn csv(columns: &[&str], rows: &[Vec<String>]) {
    say!("{}", csv::line(columns.iter().copied()));
    for row in rows {
        say!("{}", csv::line(row.iter().map(String::as_str)));
    }
}

/// A field of a document as text: nothing for what is not there.
pub fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
