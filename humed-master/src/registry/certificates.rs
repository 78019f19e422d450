//! The inventory of certificates: what was issued, to whom, and until when.

use hume_core::{AgentId, Timestamp};
use hume_runtime::pki::Signed;
use hume_runtime::tls;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::types::IssuedCertificate;

/// Certificates of one agent that are told at once, the newest ones.
const CERTIFICATES_TOLD_MAX: u32 = 50;

/// A certificate as it was issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) pem: String,
    pub(super) not_after: Timestamp,
    pub(super) issued_at: Timestamp,
}

/// Enters a certificate as the next generation of its agent's.
pub(super) fn insert(
    connection: &Connection,
    agent: AgentId,
    spki: &str,
    issuer: &str,
    signed: &Signed,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let generation: i64 = connection
        .prepare_cached("UPDATE agent SET issued = issued + 1 WHERE id = ?1 RETURNING issued")?
        .query_row([agent.as_bytes()], |row| row.get(0))?;
    connection
        .prepare_cached(
            "INSERT INTO certificate(serial, agent, generation, spki, issuer, not_before_us, not_after_us, \
             issued_us, pem) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            signed.serial,
            agent.as_bytes(),
            generation,
            spki,
            issuer,
            signed.not_before.as_micros(),
            signed.not_after.as_micros(),
            now.as_micros(),
            signed.certificate_pem
        ])?;
    Ok(())
}

/// The latest certificate of this agent for this key.
pub(super) fn of_key(connection: &Connection, agent: AgentId, spki: &str) -> rusqlite::Result<Option<Kept>> {
    connection
        .prepare_cached(
            "SELECT pem, not_after_us, issued_us FROM certificate WHERE agent = ?1 AND spki = ?2 \
             ORDER BY generation DESC LIMIT 1",
        )?
        .query_row(params![agent.as_bytes(), spki], |row| {
            Ok(Kept {
                pem: row.get(0)?,
                not_after: Timestamp::from_micros(row.get(1)?),
                issued_at: Timestamp::from_micros(row.get(2)?),
            })
        })
        .optional()
}

/// All certificates of an agent, the newest first.
pub(super) fn of_agent(connection: &Connection, agent: AgentId) -> rusqlite::Result<Vec<IssuedCertificate>> {
    connection
        .prepare_cached(
            "SELECT serial, generation, issuer, issued_us, not_after_us, pem, generation <= confirmed \
             FROM certificate JOIN agent ON agent.id = certificate.agent WHERE agent = ?1 \
             ORDER BY generation DESC LIMIT ?2",
        )?
        .query_map(params![agent.as_bytes(), CERTIFICATES_TOLD_MAX], |row| {
            let (serial, pem): (Vec<u8>, String) = (row.get(0)?, row.get(5)?);
            Ok(IssuedCertificate {
                serial: tls::hex(&serial),
                // Of one that was taken for known after a restore nobody has the text.
                fingerprint: tls::first_of_pem(&pem).ok().map(|certificate| tls::fingerprint(&certificate)),
                generation: row.get::<_, i64>(1)?.unsigned_abs(),
                issuer: row.get(2)?,
                issued_at: Timestamp::from_micros(row.get(3)?),
                not_after: Timestamp::from_micros(row.get(4)?),
                is_confirmed: row.get(6)?,
            })
        })?
        .collect()
}
