//! The API's routes for who looks at packets. A capture's and a trace's answer lasts as long as it does: the client reads it
//! piece by piece, and ends it by `DELETE`, or by going away.

use crate::routes::{ApiError, ask, mismatch};
use crate::server::Door;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Json, Response};
use hyper::body::Frame;
use serde::de::DeserializeOwned;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc;
use weir_agent::handle::{Answer, Question};

/// The header that has a running capture's or trace's number.
pub const NUMBER: &str = "weir-watch";

/// A body whose pieces come from control.
struct Pieces(mpsc::Receiver<Vec<u8>>);

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.0.poll_recv(context);
        piece.map(|piece| piece.map(|piece| Ok(Frame::data(piece.into()))))
    }
}

pub(crate) fn question<T: DeserializeOwned>(body: &Bytes) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| {
        let problem = format!("it is not understood: {error}");
        ApiError::one(
            StatusCode::BAD_REQUEST,
            "request",
            problem,
            "docs/operations.md has the fields",
        )
    })
}

async fn watch(door: &Door, question: Question, kind: &'static str) -> Result<Response, ApiError> {
    match ask(door, question, StatusCode::UNPROCESSABLE_ENTITY).await? {
        Answer::Watching(watching) => {
            let headers = [
                (CONTENT_TYPE.as_str(), kind.to_string()),
                (NUMBER, watching.id.to_string()),
            ];
            Ok((headers, Body::new(Pieces(watching.pieces))).into_response())
        }
        other => Err(mismatch(&other)),
    }
}

/// `POST /v1/captures`.
pub async fn capture(State(door): State<Door>, body: Bytes) -> Result<Response, ApiError> {
    let wish = question(&body)?;
    watch(&door, Question::Capture(wish), "application/x-pcapng").await
}

/// `POST /v1/traces`.
pub async fn trace(State(door): State<Door>, body: Bytes) -> Result<Response, ApiError> {
    let of = question(&body)?;
    watch(&door, Question::Trace(of), "application/x-ndjson").await
}

/// `POST /v1/traces/imagined`.
pub async fn imagine(State(door): State<Door>, body: Bytes) -> Result<Response, ApiError> {
    let wish = question(&body)?;
    let question = Question::Imagine(wish);
    match ask(&door, question, StatusCode::UNPROCESSABLE_ENTITY).await? {
        Answer::Imagined(trace) => Ok(Json(trace).into_response()),
        other => Err(mismatch(&other)),
    }
}

/// `DELETE /v1/watches/{number}`.
pub async fn end(State(door): State<Door>, Path(number): Path<u32>) -> Result<Response, ApiError> {
    match ask(&door, Question::Unwatch(number), StatusCode::CONFLICT).await? {
        Answer::Unwatched(Some(summary)) => Ok(Json(summary).into_response()),
        Answer::Unwatched(None) => Err(ApiError::one(
            StatusCode::NOT_FOUND,
            &format!("capture or trace {number}"),
            "there is none, or it ended long ago",
            "its number is in the header weir-watch",
        )),
        other => Err(mismatch(&other)),
    }
}
