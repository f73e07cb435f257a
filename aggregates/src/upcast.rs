//! Leads old event schemas to the newest one, on read. Stored bytes are never changed.

use serde_json::Value;

/// One step from a schema version to the next.
pub struct Upcaster {
    /// The type that is read, with its version.
    pub from: &'static str,
    /// The type that it becomes.
    pub to: &'static str,
    /// How the data changes.
    pub change: fn(Value) -> Value,
}

/// Every step, oldest first. A ledger written by any earlier rota can be read by following them.
pub const UPCASTERS: &[Upcaster] = &[];

/// Follows the steps from `name` as far as they lead. `None` if the data is in the newest version already.
pub fn upcast(steps: &[Upcaster], name: &str, data: &str) -> serde_json::Result<Option<(String, Value)>> {
    let Some(first) = steps.iter().find(|step| step.from == name) else { return Ok(None) };
    let mut data = (first.change)(serde_json::from_str(data)?);
    let mut name = first.to;
    while let Some(step) = steps.iter().find(|step| step.from == name) {
        data = (step.change)(data);
        name = step.to;
    }
    Ok(Some((name.to_owned(), data)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn steps_are_followed_to_the_newest_version() {
        let steps = [
            Upcaster {
                from: "t.v1",
                to: "t.v2",
                change: |v| json!({ "grace": v["graceMinutes"].as_u64().unwrap_or(0) * 60 }),
            },
            Upcaster { from: "t.v2", to: "t.v3", change: |v| json!({ "graceSeconds": v["grace"] }) },
        ];
        let newest = upcast(&steps, "t.v1", r#"{"graceMinutes":5}"#).unwrap();
        assert_eq!(newest, Some(("t.v3".to_owned(), json!({ "graceSeconds": 300 }))));
        assert_eq!(upcast(&steps, "t.v3", "{}").unwrap(), None);
    }
}
