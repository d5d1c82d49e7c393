//! What running daemons have of a machine's NICs.

use crate::client::{Client, parse};
use crate::failure::Failure;
use crate::locate;
use serde_json::Value;
use std::path::Path;
use weir_agent::vf::error::{Error, Name};
use weir_agent::vf::users::Claims;

/// The PCI devices that running daemons have. Fails as [`Name::InUse`] if one runs and does not say: what it has must not be taken away
/// unseen.
pub(super) fn claims() -> Result<Claims, Failure> {
    let mut claims = Claims::new();
    for socket in locate::running(Path::new(locate::FOLDER)) {
        claims.extend(of(&socket)?);
    }
    Ok(claims)
}

/// What one daemon has.
fn of(socket: &Path) -> Result<Claims, Failure> {
    let status = Client::new(socket).get("status");
    let status: Value = status
        .and_then(|body| parse(&body))
        .map_err(|failure| silent(socket, failure))?;
    claimed(&status, &socket.display().to_string()).ok_or_else(|| {
        let (problem, mend) = ("it is of an older version", "restart it");
        silent(socket, Failure::one("", problem, mend))
    })
}

/// That a daemon does not say what it has, as while it starts or ends: any VF may be its own.
fn silent(socket: &Path, failure: Failure) -> Failure {
    let Failure::Refused(mut errors) = failure else {
        return failure;
    };
    let why = errors.pop().unwrap_or_default();
    Error::new(
        Name::InUse,
        format!("daemon at {}", socket.display()),
        format!("may have it, and does not say: {}", why.problem),
        why.mend,
    )
    .into()
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
    use super::{claimed, of};
    use crate::failure::Failure;
    use crate::run::supervise;
    use serde_json::json;
    use std::sync::mpsc::channel;
    use weir_agent::halt::Halt;
    use weir_agent::handle::Handle;

    /// What a start would give.
    type Started = (Handle, fn() -> anyhow::Result<()>);

    #[test]
    fn what_a_daemon_that_starts_may_have_is_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("w.sock");
        let (started, has_started) = channel::<()>();
        let (go, may_go) = channel::<()>();
        let path = socket.clone();
        let life = std::thread::spawn(move || {
            supervise(
                &path,
                Halt::default(),
                move || -> Result<Started, Failure> {
                    started.send(()).unwrap();
                    may_go.recv().unwrap();
                    Err(Failure::one("uplink", "is not there", "plug it in"))
                },
            )
        });
        // Its socket is there before it starts.
        has_started.recv().unwrap();
        let Err(Failure::Named(named)) = of(&socket) else {
            panic!("it says what it has");
        };
        assert_eq!(named.name, "in-use");
        let (error, at) = (&named.error, socket.display().to_string());
        assert!(error.object.contains(&at), "{error:?}");
        assert!(error.problem.contains("it is still starting"), "{error:?}");
        assert!(error.mend.contains("try again"), "{error:?}");
        go.send(()).unwrap();
        life.join().unwrap().unwrap_err();
    }

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
