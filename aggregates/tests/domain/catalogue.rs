//! The catalogue of events that people read (`docs/events.md`) is made of the schemas and says what they say.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use rota_aggregates::Event;
use rota_aggregates::record::leaf_schema;
use serde_json::{Map, Value};

const HEAD: &str = "\
# Events

Every type of event that rota records, with what its data holds. This page is made of the schemas in
[`aggregates/schemas`](../aggregates/schemas), which are made of the code: `ROTA_UPDATE_SCHEMAS=1 cargo test -p
rota-aggregates` writes both anew, and tests compare them.

A type is `rota.<aggregate>.<past-tense>.v<n>`. What is recorded under a type keeps its shape for ever; a new shape is
a new version beside the old one. The only types with `rotated` in them are those of a credential's own rotation, one
event for each. No event holds a secret, a digest that a secret could be checked against, a name or an address:
what is personal is sealed beside the event, and the event has its hash. How to get at events:
[analysts](analysts.md).
";

fn schema(schema: &schemars::Schema) -> Value {
    serde_json::to_value(schema).unwrap()
}

/// A text on one line of a table.
fn cell(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|")
}

/// The name that a reference points to, also where null is allowed beside it.
fn reference(property: &Value) -> Option<&str> {
    let direct = property["$ref"].as_str();
    let either = || property["anyOf"].as_array()?.iter().find_map(|one| one["$ref"].as_str());
    direct.or_else(either)?.rsplit('/').next()
}

fn constants(property: &Value) -> Option<Vec<&str>> {
    let one_of = property["oneOf"].as_array();
    let listed = one_of.map(|all| all.iter().filter_map(|one| one["const"].as_str()).collect());
    listed.or_else(|| property["enum"].as_array().map(|all| all.iter().filter_map(Value::as_str).collect()))
}

/// What a value is, in a few words; the shapes that it leads to go into `shapes`.
fn kind(property: &Value, defs: &Map<String, Value>, shapes: &mut BTreeSet<String>) -> String {
    if let Some(name) = reference(property) {
        let target = &defs[name];
        if target["properties"].is_object() {
            shapes.insert(name.to_owned());
            return format!("[{name}](#{})", name.to_lowercase());
        }
        return kind(target, defs, shapes);
    }
    if let Some(constants) = constants(property) {
        return constants.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    }
    let named = match &property["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).find(|name| *name != "null"),
        name => name.as_str(),
    };
    match named {
        Some("array") => format!("list of {}", kind(&property["items"], defs, shapes)),
        Some("string") => match (property["format"].as_str(), property["pattern"].as_str()) {
            (Some("uuid"), _) => "UUID".to_owned(),
            (Some("date-time"), _) => "time".to_owned(),
            (_, Some("^[0-9a-f]{64}$")) => "SHA-256, hexadecimal".to_owned(),
            _ => "text".to_owned(),
        },
        Some("integer") => "integer".to_owned(),
        Some("boolean") => "boolean".to_owned(),
        Some("object") => "object".to_owned(),
        _ => "any".to_owned(),
    }
}

/// The members of an object as a table.
fn members(object: &Value, defs: &Map<String, Value>, shapes: &mut BTreeSet<String>) -> String {
    let required: BTreeSet<_> =
        object["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut table = "| member | is | always | says |\n|---|---|---|---|\n".to_owned();
    for (name, property) in object["properties"].as_object().into_iter().flatten() {
        let described = property["description"].as_str();
        let target = reference(property).and_then(|name| defs[name]["description"].as_str());
        let says = cell(described.or(target).unwrap_or_default());
        let always = if required.contains(name.as_str()) { "yes" } else { "" };
        let is = kind(property, defs, shapes);
        writeln!(table, "| `{name}` | {is} | {always} | {says} |").unwrap();
    }
    table
}

fn catalogue() -> String {
    let mut page = HEAD.to_owned();
    let mut shapes: BTreeMap<String, Value> = BTreeMap::new();
    let mut section = |page: &mut String, title: &str, whole: &Value| {
        let none = Map::new();
        let defs = whole["$defs"].as_object().unwrap_or(&none);
        let mut named = BTreeSet::new();
        writeln!(page, "\n{title}\n\n{}\n", whole["description"].as_str().unwrap_or_default()).unwrap();
        page.push_str(&members(whole, defs, &mut named));
        // Shapes lead to shapes.
        while let Some(name) = named.pop_first() {
            let shape = &defs[&name];
            shapes.entry(name).or_insert_with(|| {
                let table = members(shape, defs, &mut named);
                let says = shape["description"].as_str().unwrap_or_default();
                Value::String(format!("{says}\n\n{table}"))
            });
        }
    };
    section(&mut page, "## What every event has", &schema(&leaf_schema()));
    page.push_str("\n## Types\n");
    for (name, data) in Event::schemas() {
        section(&mut page, &format!("### `{name}`"), &schema(&data));
    }
    page.push_str("\n## Shapes\n\nWhat members above refer to.\n");
    for (name, text) in shapes {
        write!(page, "\n### {name}\n\n{}", text.as_str().unwrap()).unwrap();
    }
    page
}

/// Somebody would build on a page that says something else than what is recorded.
#[test]
fn the_catalogue_says_what_the_schemas_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/events.md");
    let page = catalogue();
    if std::env::var_os("ROTA_UPDATE_SCHEMAS").is_some() {
        std::fs::write(path, page).unwrap();
        return;
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(kept == page, "if that is meant: ROTA_UPDATE_SCHEMAS=1 cargo test -p rota-aggregates\n{page}");
    for (name, _) in Event::schemas() {
        assert!(page.contains(&format!("### `{name}`")));
    }
}
