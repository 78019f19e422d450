//! What a database of hume is like once opened, and how its schema moves.

use super::*;
use tempfile::TempDir;

const ID: i32 = 0x6875_6d65;
const ONE: &str = "CREATE TABLE event(id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT";
const TWO: &str = "ALTER TABLE event ADD COLUMN host TEXT";

fn database() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state/spool.db");
    (dir, path)
}

fn writer(path: &Path) -> Connection {
    open_writer(path, &SqliteOptions::default()).unwrap()
}

fn ask<T: FromSql>(connection: &Connection, name: &str) -> T {
    connection.pragma_query_value(None, name, |row| row.get(0)).unwrap()
}

#[test]
fn a_writer_has_every_setting_of_the_protocol() {
    let (_dir, path) = database();
    let writer = writer(&path);
    assert_eq!(ask::<String>(&writer, "journal_mode"), "wal");
    assert_eq!(ask::<i64>(&writer, "synchronous"), 2);
    assert_eq!(ask::<i64>(&writer, "page_size"), 4096);
    assert_eq!(ask::<i64>(&writer, "auto_vacuum"), 2);
    assert_eq!(ask::<i64>(&writer, "wal_autocheckpoint"), 0);
    assert_eq!(ask::<i64>(&writer, "journal_size_limit"), 16 * 1024 * 1024);
    assert_eq!(ask::<i64>(&writer, "cache_size"), -8192);
    assert_eq!(ask::<i64>(&writer, "temp_store"), 2);
    assert_eq!(ask::<i64>(&writer, "trusted_schema"), 0);
    assert_eq!(ask::<i64>(&writer, "busy_timeout"), 5000);
    drop(writer);
    let again = self::writer(&path);
    assert_eq!(ask::<i64>(&again, "auto_vacuum"), 2);
}

#[test]
fn files_are_for_their_owner_alone() {
    let (_dir, path) = database();
    let mut writer = writer(&path);
    migrate(&mut writer, ID, &[ONE]).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    for name in ["spool.db", "spool.db-wal", "spool.db-shm"] {
        assert_eq!(mode(&path.with_file_name(name)), 0o600, "{name}");
    }
}

#[test]
fn a_reader_sees_what_was_committed_and_can_write_nothing() {
    let (_dir, path) = database();
    let mut writer = writer(&path);
    migrate(&mut writer, ID, &[ONE]).unwrap();
    let reader = open_reader(&path, &SqliteOptions::default()).unwrap();
    writer.execute("INSERT INTO event(body) VALUES (x'00')", []).unwrap();
    let count: i64 = reader.query_row("SELECT count(*) FROM event", [], |row| row.get(0)).unwrap();
    assert_eq!(count, 1);
    assert!(reader.execute("DELETE FROM event", []).is_err());
}

#[test]
fn a_reader_does_not_make_a_database() {
    let (_dir, path) = database();
    let error = open_reader(&path, &SqliteOptions::default()).unwrap_err();
    assert!(matches!(error, SqliteError::Open { .. }), "{error}");
    assert!(!path.exists());
}

#[test]
fn a_state_folder_may_be_a_link_to_another_disk() {
    let (dir, path) = database();
    std::fs::create_dir(dir.path().join("disk")).unwrap();
    std::os::unix::fs::symlink(dir.path().join("disk"), path.parent().unwrap()).unwrap();
    let _writer = writer(&path);
    open_reader(&path, &SqliteOptions::default()).unwrap();
}

#[test]
fn the_bound_on_pages_holds() {
    let (_dir, path) = database();
    let options = SqliteOptions { pages_max: Some(16), ..SqliteOptions::default() };
    let mut writer = open_writer(&path, &options).unwrap();
    migrate(&mut writer, ID, &[ONE]).unwrap();
    let error = writer.execute("INSERT INTO event(body) VALUES (zeroblob(100000))", []).unwrap_err();
    assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::DiskFull));
}

#[test]
fn a_checkpoint_empties_the_wal_and_reports_a_reader_in_its_way() {
    let (_dir, path) = database();
    let mut writer = writer(&path);
    migrate(&mut writer, ID, &[ONE]).unwrap();
    assert!(wal_bytes(&path) > 0);
    assert!(!checkpoint(&writer, Checkpoint::Passive).unwrap().busy);
    let reader = open_reader(&path, &SqliteOptions::default()).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM event").unwrap();
    writer.execute("INSERT INTO event(body) VALUES (x'00')", []).unwrap();
    assert!(checkpoint(&writer, Checkpoint::Truncate).unwrap().busy);
    assert_eq!(ask::<i64>(&writer, "busy_timeout"), 5000);
    drop(reader);
    assert!(!checkpoint(&writer, Checkpoint::Truncate).unwrap().busy);
    assert_eq!(wal_bytes(&path), 0);
    quick_check(&writer).unwrap();
}

#[test]
fn migrations_are_applied_once_and_in_order() {
    let (_dir, path) = database();
    let mut writer = writer(&path);
    migrate(&mut writer, ID, &[ONE]).unwrap();
    migrate(&mut writer, ID, &[ONE]).unwrap();
    migrate(&mut writer, ID, &[ONE, TWO]).unwrap();
    assert_eq!(ask::<i64>(&writer, "user_version"), 2);
    assert_eq!(ask::<i32>(&writer, "application_id"), ID);
    writer.execute("INSERT INTO event(body, host) VALUES (x'00', 'web1')", []).unwrap();
}

#[test]
fn a_newer_schema_is_refused_with_the_program_to_install() {
    let (_dir, path) = database();
    let mut writer = writer(&path);
    migrate(&mut writer, ID, &[ONE, TWO]).unwrap();
    writer.execute("UPDATE schema_history SET program = '7.8.9' WHERE version = 2", []).unwrap();
    let error = migrate(&mut writer, ID, &[ONE]).unwrap_err().to_string();
    assert_eq!(
        error,
        "the database has schema version 2, this program knows versions up to 1: use hume 7.8.9 or newer"
    );
}

#[test]
fn a_database_of_another_program_is_refused_unchanged() {
    let (_dir, path) = database();
    let mut writer = writer(&path);
    writer.execute_batch("CREATE TABLE theirs(x)").unwrap();
    let error = migrate(&mut writer, ID, &[ONE]).unwrap_err();
    assert!(matches!(error, SqliteError::Foreign { found: 0, .. }), "{error}");
    assert_eq!(ask::<i64>(&writer, "user_version"), 0);
}

#[test]
fn a_migration_that_fails_half_way_leaves_no_trace() {
    let (_dir, path) = database();
    let mut writer = writer(&path);
    let broken = "CREATE TABLE half(x INTEGER) STRICT; INSERT INTO nowhere VALUES (1)";
    let error = migrate(&mut writer, ID, &[ONE, broken]).unwrap_err();
    assert!(matches!(error, SqliteError::Migrate { version: 2, .. }), "{error}");
    assert_eq!(ask::<i64>(&writer, "user_version"), 1);
    let half: i64 = writer
        .query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'half'", [], |row| row.get(0))
        .unwrap();
    assert_eq!(half, 0);
    migrate(&mut writer, ID, &[ONE, TWO]).unwrap();
}

#[test]
fn what_is_not_a_database_is_refused_by_name() {
    let (_dir, path) = database();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, "this is a letter to my mother, and no database ".repeat(100)).unwrap();
    let error = open_writer(&path, &SqliteOptions::default()).unwrap_err().to_string();
    assert_eq!(error, format!("could not open the database {}", path.display()));
}

#[test]
fn an_old_library_and_a_network_folder_are_refused() {
    assert!(check_version(3_051_002, "3.51.2").is_err());
    assert!(check_version(3_051_003, "3.51.3").is_ok());
    assert_eq!(network_kind(0x6969), Some("NFS"));
    assert_eq!(network_kind(0xef53), None);
}

/// Content of many pages, so that a copy takes several steps.
fn fill(writer: &Connection, rows: u32) {
    let sql = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < ?1) \
               INSERT INTO event(body) SELECT zeroblob(60000) FROM n";
    writer.execute(sql, [rows]).unwrap();
}

fn rows(connection: &Connection) -> i64 {
    connection.query_row("SELECT count(*) FROM event", [], |row| row.get(0)).unwrap()
}

#[test]
fn a_copy_is_one_moment_and_one_file_while_others_go_on_writing() {
    let (dir, path) = database();
    let mut writer = writer(&path);
    migrate(&mut writer, ID, &[ONE]).unwrap();
    fill(&writer, 200);
    let reader = open_reader(&path, &SqliteOptions::default()).unwrap();
    let moment = reader.unchecked_transaction().unwrap();
    assert_eq!(rows(&moment), 200);
    let to = dir.path().join("a copy?%23.db");
    let mut steps = Vec::new();
    copy::<SqliteError>(&moment, &to, |progress| {
        steps.push(progress);
        fill(&writer, 1);
        Ok(())
    })
    .unwrap();
    assert!(steps.len() >= 2 && steps.is_sorted_by_key(|step| step.copied_bytes), "{steps:?}");
    assert_eq!(rows(&writer), 200 + steps.len() as i64);
    let still = open_still(&to).unwrap();
    assert_eq!((rows(&still), ask::<i32>(&still, "application_id")), (200, ID));
    quick_check(&still).unwrap();
    assert!(still.execute("DELETE FROM event", []).is_err());
    assert_eq!(std::fs::metadata(&to).unwrap().permissions().mode() & 0o7777, 0o600);
    let beside = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(beside.filter(|name| name.to_string_lossy().starts_with("a copy")).count(), 1);
}

#[test]
fn a_copy_ends_when_it_is_told_to_and_takes_no_name_that_is_taken() {
    let (dir, path) = database();
    let mut writer = writer(&path);
    migrate(&mut writer, ID, &[ONE]).unwrap();
    fill(&writer, 100);
    let to = dir.path().join("copy.db");
    let told = || SqliteError::Damaged("told to".to_owned());
    let ended = copy(&writer, &to, |_| Err(told())).unwrap_err();
    assert_eq!(ended.to_string(), told().to_string());
    let taken = copy::<SqliteError>(&writer, &to, |_| Ok(())).unwrap_err();
    assert!(matches!(taken, SqliteError::File(_)), "{taken}");
}

#[test]
fn a_file_with_a_log_beside_it_is_read_with_its_log() {
    let (dir, path) = database();
    let mut writer = writer(&path);
    migrate(&mut writer, ID, &[ONE]).unwrap();
    fill(&writer, 3);
    let other = dir.path().join("other.db");
    std::fs::copy(&path, &other).unwrap();
    std::fs::copy(path.with_file_name("spool.db-wal"), dir.path().join("other.db-wal")).unwrap();
    assert_eq!(rows(&open_still(&other).unwrap()), 3);
    assert!(open_still(&dir.path().join("missing.db")).is_err());
}
