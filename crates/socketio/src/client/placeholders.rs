//! What a binary packet says about its attachments.

use crate::packet::Violation;

/// Every attachment that the JSON refers to must be there: found out here, not in some handler.
pub(super) fn check_placeholders(data: &str, attachments: usize) -> Result<(), Violation> {
    fn check(value: &serde_json::Value, attachments: usize) -> bool {
        match value {
            serde_json::Value::Object(map) if map.get("_placeholder") == Some(&true.into()) => map
                .get("num")
                .and_then(serde_json::Value::as_u64)
                .is_some_and(|num| usize::try_from(num).is_ok_and(|num| num < attachments)),
            serde_json::Value::Object(map) => map.values().all(|v| check(v, attachments)),
            serde_json::Value::Array(list) => list.iter().all(|v| check(v, attachments)),
            _ => true,
        }
    }
    let value = serde_json::from_str(data).map_err(|_| Violation::InvalidPayload)?;
    if check(&value, attachments) {
        Ok(())
    } else {
        Err(Violation::UnknownAttachment)
    }
}
