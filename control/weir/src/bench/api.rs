//! What the rig asks of a daemon, over its socket.

use crate::client::{Client, PATIENCE, parse};
use crate::failure::{Failure, sentence};
use hyper::Method;
use serde::de::DeserializeOwned;
use std::path::Path;
use weir_agent::measure::{MeasureWish, Measured};
use weir_agent::stats::{ChurnReport, ChurnWish, DropRow, Stats, Status};
use weir_agent::traffic::{TrafficReport, TrafficWish};
use weir_bench::Ask;

/// Questions over a daemon's socket.
pub(super) struct Api;

impl Api {
    fn get<T: DeserializeOwned>(socket: &Path, path: &str) -> Result<T, String> {
        Api::ask(socket, Method::GET, path, Vec::new())
    }

    fn ask<T: DeserializeOwned>(
        socket: &Path,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<T, String> {
        let client = Client::new(socket);
        let answer = client.request(method, path, body.into(), PATIENCE);
        answer.and_then(|body| parse(&body)).map_err(told)
    }
}

/// A daemon's refusal in a sentence.
fn told(failure: Failure) -> String {
    match failure {
        Failure::Refused(errors) => errors.iter().map(sentence).collect::<Vec<_>>().join("; "),
        other => format!("{other:?}"),
    }
}

impl Ask for Api {
    fn measure(&self, socket: &Path, wish: MeasureWish) -> Result<Measured, String> {
        let body = serde_json::to_vec(&wish).map_err(|error| error.to_string())?;
        Api::ask(socket, Method::POST, "measure", body)
    }

    fn status(&self, socket: &Path) -> Result<Status, String> {
        Api::get(socket, "status")
    }

    fn stats(&self, socket: &Path) -> Result<Stats, String> {
        Api::get(socket, "stats")
    }

    fn drops(&self, socket: &Path) -> Result<Vec<DropRow>, String> {
        Api::get(socket, "drops")
    }

    fn begin_churn(&self, socket: &Path, wish: ChurnWish) -> Result<ChurnReport, String> {
        let wish = serde_json::to_vec(&wish).map_err(|error| error.to_string())?;
        Api::ask(socket, Method::POST, "rig/churn", wish)
    }

    fn end_churn(&self, socket: &Path) -> Result<ChurnReport, String> {
        Api::ask(socket, Method::DELETE, "rig/churn", Vec::new())
    }

    fn traffic(&self, socket: &Path, wish: &TrafficWish) -> Result<TrafficReport, String> {
        let wish = serde_json::to_vec(wish).map_err(|error| error.to_string())?;
        Api::ask(socket, Method::POST, "rig/traffic", wish)
    }

    fn traffic_log(&self, socket: &Path) -> Result<Vec<u8>, String> {
        let log = Client::new(socket).get("rig/log");
        log.map(|log| log.to_vec()).map_err(told)
    }
}
