//! Parameters of a question, with errors that name the parameter.

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use hume_core::ErrorClass;
use serde::de::DeserializeOwned;

use super::problem::Refusal;

/// The parameters of a question.
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Params<T>, Refusal> {
        match Query::<T>::try_from_uri(&parts.uri) {
            Ok(Query(params)) => Ok(Params(params)),
            Err(rejection) => Err(refusal(&rejection.body_text())),
        }
    }
}

/// No parameters at all.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// What the deserializer says: "Failed to deserialize query string: limit: invalid digit found in string", or "…: unknown
/// field `x`, expected …".
fn refusal(text: &str) -> Refusal {
    let text = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(text);
    let quoted = |kind: &str| {
        let (_, rest) = text.split_once(kind)?;
        rest.split_once('`').map(|(name, _)| name)
    };
    if let Some(field) = quoted("unknown field `") {
        let expected =
            text.split_once(", expected ").map_or(String::new(), |(_, known)| format!("; known: {known}"));
        let known = expected.replace("one of ", "").replace('`', "");
        let detail = format!("there is no parameter {field}{known}");
        return Refusal::new(ErrorClass::Invalid, detail, Some(field));
    }
    if let Some(field) = quoted("duplicate field `") {
        return Refusal::new(ErrorClass::Invalid, format!("{field} is given twice"), Some(field));
    }
    match text.split_once(": ") {
        Some((field, why))
            if field.chars().all(|character| character.is_ascii_alphanumeric() || character == '_') =>
        {
            Refusal::new(ErrorClass::Invalid, format!("{field} is wrong: {why}"), Some(field))
        }
        _ => Refusal::new(ErrorClass::Invalid, text.to_owned(), None),
    }
}
