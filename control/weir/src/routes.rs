//! The API's routes: each carries one question to the control thread and the answer back, and does nothing else.
//!
//! ```text
//! GET    /v1/stats                   Stats
//! GET    /v1/drops                   [DropRow]
//! GET    /v1/top?since=              Top: everything, or what has changed since the answer of that mark
//! GET    /v1/status                  Status
//! GET    /v1/objects/{kind}          [object]
//! GET    /v1/objects/{kind}/{name}   [object], of one
//! POST   /v1/apply?dry_run=&origin=  body: the policy as TOML; ApplyReport
//! DELETE /v1/objects/{kind}/{name}   ApplyReport
//! POST   /v1/captures                CaptureWish; pcapng until it ends (header weir-watch: its number)
//! POST   /v1/traces                  Selection; a PacketTrace a line until it ends
//! POST   /v1/traces/imagined         ImagineWish; PacketTrace
//! DELETE /v1/watches/{number}        ends a capture or a trace; Summary
//! POST   /v1/measure                 MeasureWish; Measured
//! POST   /v1/rig/churn               ChurnWish; ChurnReport. Only where host.toml has [rig] churn = true
//! GET    /v1/rig/churn               ChurnReport
//! DELETE /v1/rig/churn               ends it; ChurnReport
//! POST   /v1/rig/traffic             TrafficWish; TrafficReport. Only where host.toml has [rig] traffic = true
//! GET    /v1/rig/log                 what the rig's sink has logged, 8 bytes a frame
//! POST   /v1/stop                    {}
//! ```
//! Every error is `{"errors": [PolicyError]}`: 400 not a question, 404 no such object or route, 405, 409 not now, 413 too large,
//! 422 refused by validation, 503 the daemon starts or stops.

use crate::cli::Kind;
use crate::failure::{Errors, reason};
use crate::server::Door;
use crate::watch_routes;
use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use clap::ValueEnum;
use serde::Deserialize;
use weir_agent::handle::{Answer, Question};
use weir_agent::stats::PolicyError;

/// The largest policy that is taken, in bytes.
pub const MAX_POLICY: usize = 128 << 20;

/// The routes; of use to whoever serves them another way.
pub fn router(door: Door) -> Router {
    Router::new()
        .route("/v1/stats", get(stats))
        .route("/v1/drops", get(drops))
        .route("/v1/top", get(top))
        .route("/v1/status", get(status))
        .route("/v1/objects/{kind}", get(objects))
        .route("/v1/objects/{kind}/{name}", get(object).delete(delete))
        .route("/v1/apply", post(apply))
        .route("/v1/captures", post(watch_routes::capture))
        .route("/v1/traces", post(watch_routes::trace))
        .route("/v1/traces/imagined", post(watch_routes::imagine))
        .route(
            "/v1/watches/{number}",
            axum::routing::delete(watch_routes::end),
        )
        .route("/v1/measure", post(measure))
        .route(
            "/v1/rig/churn",
            post(begin_churn).get(churn).delete(end_churn),
        )
        .route("/v1/rig/traffic", post(traffic))
        .route("/v1/rig/log", get(traffic_log))
        .route("/v1/stop", post(stop))
        .fallback(async || {
            ApiError::one(
                StatusCode::NOT_FOUND,
                "request",
                "no such route",
                "see `weir --help`",
            )
        })
        .method_not_allowed_fallback(async || {
            ApiError::one(
                StatusCode::METHOD_NOT_ALLOWED,
                "request",
                "not with this method",
                "see `weir --help`",
            )
        })
        .layer(DefaultBodyLimit::max(MAX_POLICY))
        .with_state(door)
}

/// A refusal on its way out.
#[derive(Debug)]
pub struct ApiError(StatusCode, Vec<PolicyError>);

impl ApiError {
    /// With one reason.
    pub fn one(
        status: StatusCode,
        object: &str,
        problem: impl Into<String>,
        mend: &str,
    ) -> ApiError {
        ApiError(status, vec![reason(object, problem, mend)])
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.0, Json(Errors { errors: self.1 })).into_response()
    }
}

impl From<PathRejection> for ApiError {
    fn from(rejection: PathRejection) -> ApiError {
        ApiError::one(
            rejection.status(),
            "path",
            rejection.body_text(),
            "encode names as RFC 3986 §2.1 says",
        )
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> ApiError {
        ApiError::one(
            rejection.status(),
            "query",
            rejection.body_text(),
            "write ?dry_run=true&origin=NAME",
        )
    }
}

impl From<BytesRejection> for ApiError {
    fn from(rejection: BytesRejection) -> ApiError {
        let mend = format!("a policy may have up to {MAX_POLICY} bytes");
        ApiError::one(rejection.status(), "policy", rejection.body_text(), &mend)
    }
}

/// Asks the control thread; `refused` is the status of a refusal.
pub async fn ask(door: &Door, question: Question, refused: StatusCode) -> Result<Answer, ApiError> {
    let Some(handle) = door.handle().cloned() else {
        let (problem, mend) = ("it is still starting", "try again in a moment");
        return Err(ApiError::one(
            StatusCode::SERVICE_UNAVAILABLE,
            "daemon",
            problem,
            mend,
        ));
    };
    match tokio::task::spawn_blocking(move || handle.ask(question)).await {
        Ok(Ok(Answer::Refused(errors))) => Err(ApiError(refused, errors)),
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) | Err(_) => {
            let (problem, mend) = (
                "it is stopping",
                "start it again with `weir run --host host.toml`",
            );
            Err(ApiError::one(
                StatusCode::SERVICE_UNAVAILABLE,
                "daemon",
                problem,
                mend,
            ))
        }
    }
}

/// Two parts of this program that do not agree; a defect, said rather than hidden.
pub fn mismatch(answer: &Answer) -> ApiError {
    let problem = format!("the control thread answered another question: {answer:?}");
    ApiError::one(
        StatusCode::INTERNAL_SERVER_ERROR,
        "daemon",
        problem,
        "report this as a defect of Weir",
    )
}

fn known(kind: &str) -> Result<String, ApiError> {
    if Kind::named(kind).is_some() {
        return Ok(kind.to_string());
    }
    let kinds: Vec<&str> = Kind::value_variants().iter().map(|k| k.as_str()).collect();
    let mend = format!("one of {}", kinds.join(", "));
    Err(ApiError::one(
        StatusCode::BAD_REQUEST,
        &format!("kind {kind}"),
        "there is no such kind",
        &mend,
    ))
}

async fn stats(State(door): State<Door>) -> Result<Response, ApiError> {
    match ask(&door, Question::Stats, StatusCode::CONFLICT).await? {
        Answer::Stats(stats) => Ok(Json(stats).into_response()),
        other => Err(mismatch(&other)),
    }
}

async fn drops(State(door): State<Door>) -> Result<Response, ApiError> {
    match ask(&door, Question::Drops, StatusCode::CONFLICT).await? {
        Answer::Drops(drops) => Ok(Json(drops).into_response()),
        other => Err(mismatch(&other)),
    }
}

#[derive(Debug, Deserialize)]
struct TopQuery {
    since: Option<u64>,
}

async fn top(
    State(door): State<Door>,
    query: Result<Query<TopQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let query = query.map_err(|rejection| {
        let problem = rejection.body_text();
        ApiError::one(
            rejection.status(),
            "query",
            problem,
            "write ?since=MARK, of an earlier answer",
        )
    });
    let since = query?.0.since;
    match ask(&door, Question::Top(since), StatusCode::CONFLICT).await? {
        Answer::Top(top) => Ok(Json(top).into_response()),
        other => Err(mismatch(&other)),
    }
}

async fn status(State(door): State<Door>) -> Result<Response, ApiError> {
    match ask(&door, Question::Status, StatusCode::CONFLICT).await? {
        Answer::Status(status) => Ok(Json(status).into_response()),
        other => Err(mismatch(&other)),
    }
}

async fn objects(
    State(door): State<Door>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let Path(kind) = path?;
    list(&door, kind, None).await
}

async fn object(
    State(door): State<Door>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Response, ApiError> {
    let Path((kind, name)) = path?;
    list(&door, kind, Some(name)).await
}

async fn list(door: &Door, kind: String, name: Option<String>) -> Result<Response, ApiError> {
    let question = Question::Get {
        kind: known(&kind)?,
        name,
    };
    match ask(door, question, StatusCode::NOT_FOUND).await? {
        Answer::Objects(objects) => Ok(Json(objects).into_response()),
        other => Err(mismatch(&other)),
    }
}

async fn delete(
    State(door): State<Door>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Response, ApiError> {
    let Path((kind, name)) = path?;
    tracing::info!(kind, name, "delete");
    applied(
        &door,
        Question::Delete {
            kind: known(&kind)?,
            name,
        },
    )
    .await
}

#[derive(Debug, Deserialize)]
struct ApplyQuery {
    dry_run: Option<String>,
    origin: Option<String>,
}

async fn apply(
    State(door): State<Door>,
    query: Result<Query<ApplyQuery>, QueryRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let Query(query) = query?;
    let dry_run = match query.dry_run.as_deref() {
        None | Some("false" | "0") => false,
        // A bare `?dry_run` means what it says.
        Some("true" | "1" | "") => true,
        Some(other) => {
            let problem = format!("dry_run={other} is neither true nor false");
            return Err(ApiError::one(
                StatusCode::BAD_REQUEST,
                "query",
                problem,
                "write dry_run=true or dry_run=false",
            ));
        }
    };
    let origin = query.origin.unwrap_or_else(|| "policy".into());
    let text = String::from_utf8(body?.into()).map_err(|error| {
        let problem = format!("it is not UTF-8: {}", error.utf8_error());
        ApiError::one(
            StatusCode::BAD_REQUEST,
            "policy",
            problem,
            "send the policy as TOML",
        )
    })?;
    tracing::info!(origin, dry_run, bytes = text.len(), "apply");
    applied(
        &door,
        Question::Apply {
            text,
            origin,
            dry_run,
        },
    )
    .await
}

async fn applied(door: &Door, question: Question) -> Result<Response, ApiError> {
    match ask(door, question, StatusCode::UNPROCESSABLE_ENTITY).await? {
        Answer::Applied(report) => Ok(Json(report).into_response()),
        other => Err(mismatch(&other)),
    }
}

async fn measure(State(door): State<Door>, body: Bytes) -> Result<Response, ApiError> {
    let wish = watch_routes::question(&body)?;
    match ask(&door, Question::Measure(wish), StatusCode::CONFLICT).await? {
        Answer::Measured(measured) => Ok(Json(measured).into_response()),
        other => Err(mismatch(&other)),
    }
}

async fn begin_churn(State(door): State<Door>, body: Bytes) -> Result<Response, ApiError> {
    churned(&door, Question::BeginChurn(watch_routes::question(&body)?)).await
}

async fn churn(State(door): State<Door>) -> Result<Response, ApiError> {
    churned(&door, Question::Churn).await
}

async fn end_churn(State(door): State<Door>) -> Result<Response, ApiError> {
    churned(&door, Question::EndChurn).await
}

async fn churned(door: &Door, question: Question) -> Result<Response, ApiError> {
    match ask(door, question, StatusCode::CONFLICT).await? {
        Answer::Churn(report) => Ok(Json(report).into_response()),
        other => Err(mismatch(&other)),
    }
}

async fn traffic(State(door): State<Door>, body: Bytes) -> Result<Response, ApiError> {
    let wish = watch_routes::question(&body)?;
    match ask(&door, Question::Traffic(wish), StatusCode::CONFLICT).await? {
        Answer::Traffic(report) => Ok(Json(report).into_response()),
        other => Err(mismatch(&other)),
    }
}

async fn traffic_log(State(door): State<Door>) -> Result<Response, ApiError> {
    match ask(&door, Question::TrafficLog, StatusCode::CONFLICT).await? {
        Answer::TrafficLog(log) => Ok(log.into_response()),
        other => Err(mismatch(&other)),
    }
}

async fn stop(State(door): State<Door>) -> Result<Response, ApiError> {
    tracing::info!("asked to stop");
    match ask(&door, Question::Stop, StatusCode::CONFLICT).await? {
        Answer::Stopping => Ok(Json(serde_json::json!({})).into_response()),
        other => Err(mismatch(&other)),
    }
}
