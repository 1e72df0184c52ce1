//! `/config`: which configuration counts, and which changes of files do not (yet).

use std::sync::Arc;

use axum::{Json, Router, http::header, response::IntoResponse, routing::get};

use crate::reload::Status;

pub(super) fn admin(status: &Arc<Status>) -> Router {
    let status = Arc::clone(status);
    let tell = async move || {
        let headers = [(header::CACHE_CONTROL, "no-store")];
        (headers, Json(status.report())).into_response()
    };
    Router::new().route("/config", get(tell))
}
