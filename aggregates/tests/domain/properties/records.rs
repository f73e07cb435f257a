//! Any record is read as it was written, and any bytes are read without harm.

use proptest::collection::vec;
use proptest::prelude::*;
use rota_aggregates::record::Record;
use serde_json::Value;

use super::any::{EXACT_MAX, record};
use crate::fixtures::encode;

proptest! {
    #[test]
    fn any_record_is_read_as_it_was_written(record in record()) {
        let leaf = encode(&record);
        let read = Record::decode(&leaf).unwrap();
        prop_assert_eq!(&read, &record);
        prop_assert_eq!(encode(&read), leaf);
    }

    #[test]
    fn no_number_in_a_leaf_is_a_fraction_or_too_large_for_a_double(record in record()) {
        let leaf: Value = serde_json::from_slice(&encode(&record)).unwrap();
        prop_assert!(numbers_are_exact(&leaf), "{leaf}");
    }

    #[test]
    fn reading_any_bytes_never_panics(bytes in vec(any::<u8>(), 0..512)) {
        let _ = Record::decode(&bytes);
    }
}

fn numbers_are_exact(value: &Value) -> bool {
    match value {
        Value::Number(n) => n.as_u64().is_some_and(|n| n <= EXACT_MAX),
        Value::Array(items) => items.iter().all(numbers_are_exact),
        Value::Object(fields) => fields.values().all(numbers_are_exact),
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
}
