//! Secrets.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
/// Mode.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// t
    Test,
    /// p
    Prod,
}
