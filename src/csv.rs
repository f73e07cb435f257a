//! Comma-separated values as in RFC 4180, with a line feed at the end of each line.

use std::borrow::Cow;

use serde_json::Value;

/// A cell. What a spreadsheet would take for a formula is shown as text.
pub fn quoted(cell: &str) -> Cow<'_, str> {
    let formula =
        cell.starts_with(['=', '+', '@']) || (cell.starts_with('-') && cell.parse::<f64>().is_err());
    let guard = if formula { "'" } else { "" };
    if formula || cell.contains([',', '"', '\n', '\r']) {
        Cow::Owned(format!("\"{guard}{}\"", cell.replace('"', "\"\"")))
    } else {
        Cow::Borrowed(cell)
    }
}

/// A line of cells.
pub fn line<'a>(cells: impl IntoIterator<Item = &'a str>) -> String {
    let cells: Vec<_> = cells.into_iter().map(quoted).collect();
    cells.join(",")
}

/// A value as a cell: nothing for what is not there.
pub fn cell(value: &Value) -> Cow<'_, str> {
    match value {
        Value::Null => Cow::Borrowed(""),
        Value::String(text) => Cow::Borrowed(text),
        other => Cow::Owned(other.to_string()),
    }
}

/// A table with a header.
pub fn table(columns: &[&str], rows: &[Vec<Value>]) -> String {
    let mut text = line(columns.iter().copied());
    text.push('\n');
    for row in rows {
        let cells: Vec<_> = row.iter().map(cell).collect();
        text.push_str(&line(cells.iter().map(AsRef::as_ref)));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_cell_stays_one_cell_and_no_formula_is_run() {
        assert_eq!(quoted("plain"), "plain");
        assert_eq!(quoted("a,b"), "\"a,b\"");
        assert_eq!(quoted("say \"no\""), "\"say \"\"no\"\"\"");
        assert_eq!(quoted("-1"), "-1");
        assert_eq!(quoted("=cmd()"), "\"'=cmd()\"");
        let rows = [vec![json!(1), json!(null)], vec![json!("x,y"), json!(true)]];
        assert_eq!(table(&["a", "b"], &rows), "a,b\n1,\n\"x,y\",true\n");
    }
}
