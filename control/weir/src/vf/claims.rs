//! What running daemons have of a machine's NICs.

use crate::client::{Client, parse};
use crate::failure::Failure;
use crate::locate;
use serde_json::Value;
use std::path::Path;
use weir_agent::vf::users::Claims;

/// The PCI devices that running daemons have. Fails if one runs and does not say: what it has must not be taken away unseen.
pub(super) fn claims() -> Result<Claims, Failure> {
    let mut claims = Claims::new();
    for socket in locate::running(Path::new(locate::FOLDER)) {
        let status: Value = parse(&Client::new(&socket).get("status")?)?;
        let daemon = socket.display().to_string();
        let devices = claimed(&status, &daemon).ok_or_else(|| {
            Failure::one(
                &daemon,
                "the daemon does not say which PCI devices it has: it is of an older version",
                "restart it",
            )
        })?;
        claims.extend(devices);
    }
    Ok(claims)
}

/// What a daemon's status says that it has; none if it says nothing about devices.
fn claimed(status: &Value, daemon: &str) -> Option<Claims> {
    let devices = status["devices"].as_object()?.iter();
    let claims = devices.filter_map(|(address, user)| {
        let user = format!("{} of the daemon at {daemon}", user.as_str()?);
        Some((address.clone(), user))
    });
    Some(claims.collect())
}

#[cfg(test)]
mod tests {
    use super::claimed;
    use serde_json::json;

    #[test]
    fn a_daemon_that_does_not_say_what_it_has_is_told_from_one_that_has_nothing() {
        let status = json!({"devices": {"0000:03:10.0": "uplink up0"}});
        let claims = claimed(&status, "/run/weir/h1.sock").unwrap();
        assert_eq!(
            claims["0000:03:10.0"],
            "uplink up0 of the daemon at /run/weir/h1.sock"
        );
        assert_eq!(claimed(&json!({"devices": {}}), "s"), Some([].into()));
        assert_eq!(claimed(&json!({"host": "h1"}), "s"), None);
    }
}
