//! `/api/v1/audit`: who changed what, and when.

use hume_core::{BoundError, Timestamp};
use serde::{Deserialize, Serialize};

use super::Source;
use super::query::time;

/// Parameters of `/api/v1/audit`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditQuery {
    /// RFC 3339, included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// RFC 3339, excluded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Exactly this one, such as `uid 0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// Exactly this, such as `revoke`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Lines of a page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// From `next` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

impl AuditQuery {
    /// Since when, and until when.
    ///
    /// # Errors
    /// [`BoundError`], naming the parameter.
    pub fn times(&self) -> Result<(Option<Timestamp>, Option<Timestamp>), BoundError> {
        Ok((time("since", self.since.as_deref())?, time("until", self.until.as_deref())?))
    }

    /// The number that all lines of the page are below.
    ///
    /// # Errors
    /// [`BoundError`] for a cursor of something else.
    pub fn border(&self) -> Result<Option<u64>, BoundError> {
        let number = |text: &str| text.strip_prefix('a')?.parse().ok();
        self.cursor
            .as_deref()
            .map(|text| number(text).ok_or(BoundError::new("cursor", "is none of the audit log")))
            .transpose()
    }

    /// The cursor below this line.
    pub fn cursor_of(number: u64) -> String {
        format!("a{number}")
    }
}

/// One line of the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditJson {
    /// Its place; grows by one.
    pub number: u64,
    /// When.
    pub time: Timestamp,
    /// Who, such as `uid 0`.
    pub actor: String,
    /// From where: an IP address, or `socket`.
    pub address: String,
    /// What was done or tried.
    pub action: String,
    /// To what: an agent, a token.
    pub subject: String,
    /// More words.
    pub detail: String,
    /// `done`, or why not.
    pub outcome: String,
}

/// A page of the audit log, the newest line first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditList {
    /// Who answers.
    pub source: Source,
    /// The newest first.
    pub lines: Vec<AuditJson>,
    /// Cursor of the next page; null at the end.
    pub next: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_those_of_other_lists_are_refused() {
        let with = |cursor: &str| AuditQuery { cursor: Some(cursor.to_owned()), ..AuditQuery::default() };
        assert_eq!(with(&AuditQuery::cursor_of(7)).border(), Ok(Some(7)));
        assert_eq!(AuditQuery::default().border(), Ok(None));
        for wrong in ["e1.7", "7", "a", "a-1", "ax"] {
            assert_eq!(with(wrong).border().unwrap_err().field, "cursor");
        }
        let query = AuditQuery { since: Some("noon".to_owned()), ..AuditQuery::default() };
        assert_eq!(query.times().unwrap_err().field, "since");
    }
}
