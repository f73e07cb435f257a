//! Whether an answer is one that the vendor's schema allows.

use std::path::PathBuf;

use serde_json::{Value, json};

/// A vendor's description of its API.
pub struct Contract {
    document: Value,
}

pub fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/contracts").join(name)
}

impl Contract {
    pub fn read(name: &str) -> Self {
        let mut document: Value = serde_json::from_slice(&std::fs::read(file(name)).unwrap()).unwrap();
        allow_null(&mut document);
        Self { document }
    }

    /// What is wrong with an answer; nothing where the schema allows it.
    pub fn wrong(&self, method: &str, path: &str, status: u16, body: Option<&Value>) -> Option<String> {
        let Some(template) = self.template(path) else {
            return Some(format!("no path of the schema is {path}"));
        };
        let method = method.to_ascii_lowercase();
        let mut at = vec!["paths".to_owned(), template, method, "responses".to_owned(), status.to_string()];
        let mut response = self.at(&at)?;
        if response.is_null() {
            return Some(format!("{at:?} is not in the schema"));
        }
        while let Some(reference) = response["$ref"].as_str() {
            at = reference.trim_start_matches("#/").split('/').map(str::to_owned).collect();
            response = self.at(&at)?;
        }
        at.extend(["content", "application/json", "schema"].map(str::to_owned));
        let schema = self.at(&at).filter(|schema| !schema.is_null());
        match (schema, body) {
            (None, None) => None,
            // Some answers are documented in words only.
            (None, Some(_)) if status >= 400 => None,
            (None, Some(_)) => Some(format!("{at:?} has no body")),
            (Some(_), None) => Some(format!("{at:?} has a body")),
            (Some(_), Some(body)) => self.check(&at, body),
        }
    }

    fn check(&self, at: &[String], body: &Value) -> Option<String> {
        let pointer: Vec<_> = at.iter().map(|part| part.replace('~', "~0").replace('/', "~1")).collect();
        let mut schema = self.document.clone();
        schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
        schema["$ref"] = json!(format!("#/{}", pointer.join("/").replace('{', "%7B").replace('}', "%7D")));
        let validator = jsonschema::validator_for(&schema).expect("a JSON schema");
        validator.validate(body).err().map(|error| format!("{at:?}: {error}"))
    }

    fn at(&self, parts: &[String]) -> Option<&Value> {
        parts.iter().try_fold(&self.document, |value, part| value.get(part.as_str())).or(Some(&Value::Null))
    }

    /// The path of the schema that a path is of: the one with the fewest parts left open.
    fn template(&self, path: &str) -> Option<String> {
        let templates = self.document["paths"].as_object()?.keys();
        let fits = templates.filter_map(|template| Some((open_parts(template, path)?, template)));
        fits.min().map(|(_, template)| template.clone())
    }
}

fn open_parts(template: &str, path: &str) -> Option<usize> {
    let (template, path): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
    if template.len() != path.len() {
        return None;
    }
    let mut open = 0;
    for (wanted, found) in template.iter().zip(&path) {
        if wanted.starts_with('{') && !found.is_empty() {
            open += 1;
        } else if wanted != found {
            return None;
        }
    }
    Some(open)
}

/// `nullable`, which JSON Schema says otherwise.
fn allow_null(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(allow_null),
        Value::Object(fields) => {
            if fields.get("nullable") == Some(&Value::Bool(true))
                && let Some(Value::String(kind)) = fields.get("type").cloned()
            {
                fields.insert("type".to_owned(), json!([kind, "null"]));
            }
            fields.values_mut().for_each(allow_null);
        }
        _ => {}
    }
}

#[test]
fn the_check_finds_what_does_not_fit() {
    let contract = Contract::read("databricks.json");
    let path = "/api/2.0/accounts/servicePrincipals/7/credentials/secrets";
    let wrong = |method: &str, status, body: Value| contract.wrong(method, path, status, Some(&body));
    assert_eq!(wrong("POST", 200, json!({"id": "a", "secret": "s"})), None);
    assert_eq!(wrong("GET", 200, json!({"secrets": [{"id": "a"}]})), None);
    assert!(wrong("POST", 200, json!({"id": "a"})).is_some());
    assert!(wrong("POST", 200, json!({"id": 7, "secret": "s"})).is_some());
    assert!(wrong("GET", 200, json!({"secrets": [{"id": 7}]})).is_some());
    assert!(wrong("POST", 418, json!({})).is_some());
    assert!(contract.wrong("GET", "/elsewhere", 200, None).is_some());
    let graph = Contract::read("graph.json");
    let path = "/v1.0/applications/x/addPassword";
    assert_eq!(graph.wrong("POST", path, 200, Some(&json!({"customKeyIdentifier": null}))), None);
    assert!(graph.wrong("POST", path, 200, Some(&json!({"anything": 1}))).is_some());
    assert_eq!(graph.wrong("POST", "/v1.0/applications/x/removePassword", 204, None), None);
}
