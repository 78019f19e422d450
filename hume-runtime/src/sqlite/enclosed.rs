//! Files that travel inside a copy of a database: in parts with their check sums, in a table that the database knows nothing of.
//!
//! So a backup of several files is one file, which is there as a whole or not at all.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, params};

use super::SqliteError;
use crate::files::{self, FileError};
use crate::tls::sha256_hex;

/// Bytes of one part.
const PART_BYTES: u64 = 1024 * 1024;
const TABLE: &str = "CREATE TABLE enclosed(
  name TEXT NOT NULL,
  part INTEGER NOT NULL,
  mode INTEGER NOT NULL,
  bytes BLOB NOT NULL,
  sha256 TEXT NOT NULL,
  UNIQUE (name, part)
) STRICT";

/// A file that is to travel along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enclosure {
    /// What it is called inside.
    pub name: String,
    /// Its permission bits.
    pub mode: u32,
    /// Where it is.
    pub path: PathBuf,
}

/// Puts files into a copy that nobody else has open, and syncs it. What was enclosed in the original is not there any more.
/// # Errors
/// [`SqliteError`]; the copy is of no use then.
pub fn enclose(copy: &Path, enclosures: &[Enclosure]) -> Result<(), SqliteError> {
    let failed = |source| SqliteError::Step { step: "add files to", source };
    let mut connection = super::open(copy, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let transaction = connection.transaction().map_err(failed)?;
    transaction.execute_batch("DROP TABLE IF EXISTS enclosed").map_err(failed)?;
    transaction.execute_batch(TABLE).map_err(failed)?;
    for enclosure in enclosures {
        add(&transaction, enclosure)?;
    }
    transaction.commit().map_err(failed)?;
    connection.close().map_err(|(_, source)| failed(source))?;
    let synced = File::open(copy).and_then(|file| file.sync_all());
    synced.map_err(|source| FileError { step: "sync", path: copy.to_owned(), source }.into())
}

fn add(connection: &Connection, enclosure: &Enclosure) -> Result<(), SqliteError> {
    let Enclosure { name, mode, path } = enclosure;
    let failed = |source| SqliteError::Step { step: "add files to", source };
    let unread = |source| FileError { step: "read", path: path.clone(), source };
    let file = File::open(path).map_err(unread)?;
    for part in 0_u32.. {
        let mut bytes = Vec::new();
        (&file).take(PART_BYTES).read_to_end(&mut bytes).map_err(unread)?;
        // An empty file has one part.
        if bytes.is_empty() && part > 0 {
            break;
        }
        let sql = "INSERT INTO enclosed(name, part, mode, bytes, sha256) VALUES (?1, ?2, ?3, ?4, ?5)";
        connection.execute(sql, params![name, part, mode, bytes, sha256_hex(&bytes)]).map_err(failed)?;
    }
    Ok(())
}

/// The names of the files that a copy holds, in their order.
/// # Errors
/// [`SqliteError`]
pub fn enclosed(copy: &Path) -> Result<Vec<String>, SqliteError> {
    let failed = |source| SqliteError::Step { step: "read", source };
    let connection = super::open_still(copy)?;
    let is_there = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'enclosed'";
    let tables: i64 = connection.query_row(is_there, [], |row| row.get(0)).map_err(failed)?;
    if tables == 0 {
        return Ok(Vec::new());
    }
    let mut names = connection.prepare("SELECT DISTINCT name FROM enclosed ORDER BY name").map_err(failed)?;
    let names = names.query_map([], |row| row.get(0)).map_err(failed)?;
    names.collect::<Result<_, _>>().map_err(failed)
}

/// Writes a file of a copy to a new one at `to`, synced, with the mode it had.
/// # Errors
/// [`SqliteError::Damaged`] if it is not what was put in, or not there.
pub fn take_out(copy: &Path, name: &str, to: &Path) -> Result<(), SqliteError> {
    let failed = |source| SqliteError::Step { step: "read", source };
    let unwritten = |source| FileError { step: "write", path: to.to_owned(), source };
    let connection = super::open_still(copy)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(unwritten)?;
    let mut parts = connection
        .prepare("SELECT part, mode, bytes, sha256 FROM enclosed WHERE name = ?1 ORDER BY part")
        .map_err(failed)?;
    let mut rows = parts.query([name]).map_err(failed)?;
    let mut found: Option<(u32, u32)> = None;
    while let Some(row) = rows.next().map_err(failed)? {
        let (part, mode, bytes, sha256): (u32, u32, Vec<u8>, String) = row.try_into().map_err(failed)?;
        let expected = found.map_or(0, |(part, _)| part + 1);
        if part != expected || sha256_hex(&bytes) != sha256 {
            return Err(SqliteError::Damaged(format!("{name} in it is not what was put there")));
        }
        file.write_all(&bytes).map_err(unwritten)?;
        found = Some((part, mode));
    }
    let (_, mode) = found.ok_or_else(|| SqliteError::Damaged(format!("{name} is not in it")))?;
    files::set_mode(to, mode & 0o777)?;
    Ok(file.sync_all().map_err(unwritten)?)
}

/// Forgets what is enclosed; no trace of it stays in the file.
/// # Errors
/// Those of the database.
pub fn forget_enclosed(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "secure_delete", "ON")?;
    connection.execute_batch("DROP TABLE IF EXISTS enclosed")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::sqlite::{self, Checkpoint, SqliteOptions};

    /// A copy of a small database.
    fn copy(dir: &Path) -> PathBuf {
        let (original, copy) = (dir.join("a.db"), dir.join("copy.db"));
        let connection = sqlite::open_writer(&original, &SqliteOptions::default()).unwrap();
        connection.execute_batch("CREATE TABLE kept(x); INSERT INTO kept VALUES (1)").unwrap();
        let moment = connection.unchecked_transaction().unwrap();
        sqlite::copy::<SqliteError>(&moment, &copy, |_| Ok(())).unwrap();
        copy
    }

    fn enclosure(dir: &Path, name: &str, bytes: &[u8], mode: u32) -> Enclosure {
        let path = dir.join(name.replace('/', "-"));
        fs::write(&path, bytes).unwrap();
        Enclosure { name: name.to_owned(), mode, path }
    }

    #[test]
    fn files_of_any_size_come_out_as_they_went_in_and_the_copy_stays_one_file() {
        let dir = tempfile::tempdir().unwrap();
        let copy = copy(dir.path());
        assert_eq!(enclosed(&copy).unwrap(), [""; 0]);
        let large: Vec<u8> = (0..=2 * PART_BYTES).map(|number| (number % 251) as u8).collect();
        let files: [(&str, &[u8], u32); 4] = [
            ("ca/key", b"secret", 0o600),
            ("empty", b"", 0o644),
            ("exact", &large[..PART_BYTES as usize], 0o640),
            ("large", &large, 0o644),
        ];
        let enclosures = files.map(|(name, bytes, mode)| enclosure(dir.path(), name, bytes, mode));
        // Again replaces what is there.
        enclose(&copy, &enclosures[..1]).unwrap();
        enclose(&copy, &enclosures).unwrap();
        assert_eq!(enclosed(&copy).unwrap(), files.map(|(name, ..)| name));
        for (number, (name, bytes, mode)) in files.into_iter().enumerate() {
            let to = dir.path().join(format!("out{number}"));
            take_out(&copy, name, &to).unwrap();
            assert!(fs::read(&to).unwrap() == bytes, "{name}");
            assert_eq!(to.metadata().unwrap().permissions().mode() & 0o7777, mode, "{name}");
            assert!(take_out(&copy, name, &to).is_err(), "nothing is written over");
        }
        assert!(matches!(take_out(&copy, "other", &dir.path().join("x")), Err(SqliteError::Damaged(_))));
        let beside = fs::read_dir(dir.path())
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("copy.db"));
        assert_eq!(beside.count(), 1);
    }

    #[test]
    fn a_file_that_was_changed_or_cut_inside_is_no_file_and_one_that_is_forgotten_leaves_no_trace() {
        let dir = tempfile::tempdir().unwrap();
        let copy = copy(dir.path());
        let large = vec![7; 2 * PART_BYTES as usize];
        enclose(
            &copy,
            &[
                enclosure(dir.path(), "key", b"a very secret key", 0o600),
                enclosure(dir.path(), "large", &large, 0o600),
            ],
        )
        .unwrap();
        let connection = sqlite::open_writer(&copy, &SqliteOptions::default()).unwrap();
        connection.execute_batch("UPDATE enclosed SET bytes = x'00' WHERE name = 'key'; DELETE FROM enclosed WHERE name = 'large' AND part = 0").unwrap();
        sqlite::checkpoint(&connection, Checkpoint::Truncate).unwrap();
        for name in ["key", "large"] {
            let taken = take_out(&copy, name, &dir.path().join(format!("{name}-out")));
            assert!(matches!(taken, Err(SqliteError::Damaged(_))), "{name}");
        }
        connection.execute("UPDATE enclosed SET bytes = 'a very secret key'", []).unwrap_err();
        connection.execute("UPDATE enclosed SET bytes = CAST('a very secret key' AS BLOB)", []).unwrap();
        sqlite::checkpoint(&connection, Checkpoint::Truncate).unwrap();
        let holds = || fs::read(&copy).unwrap().windows(17).any(|bytes| bytes == b"a very secret key");
        assert!(holds());
        forget_enclosed(&connection).unwrap();
        sqlite::checkpoint(&connection, Checkpoint::Truncate).unwrap();
        assert!(!holds());
        assert_eq!(connection.query_row("SELECT x FROM kept", [], |row| row.get::<_, i64>(0)), Ok(1));
    }
}
