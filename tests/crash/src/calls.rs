//! What hume does in a watched folder without SQLite, where it matters to the disk: it writes its log anew and syncs that, and it asks
//! for room and takes it.
//!
//! These four functions of the C library are ours in this process; everywhere else, and for SQLite's own use of them, they
//! do what they always do. Only a sync never reaches the disk, watched or not.

use std::cell::Cell;
use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rusqlite::ffi;

use crate::disk::{self, Place, Tap};

thread_local! {
    /// True while the usual file system of SQLite works: what it calls was seen already.
    static IS_SQLITE: Cell<bool> = const { Cell::new(false) };
}

/// Lets SQLite's file system work unseen.
pub(crate) fn unseen<T>(work: impl FnOnce() -> T) -> T {
    let before = IS_SQLITE.replace(true);
    let done = work();
    IS_SQLITE.set(before);
    done
}

/// Keeps this file in whatever is linked with the crate.
pub(crate) fn install() {
    std::hint::black_box((
        pwrite64 as *const (),
        fdatasync as *const (),
        fallocate64 as *const (),
        statvfs64 as *const (),
    ));
}

/// The file behind a descriptor, if its folder is watched and it is one that a power loss is asked about.
fn tap(descriptor: c_int) -> Option<Tap> {
    place(descriptor).and_then(Place::seen)
}

fn place(descriptor: c_int) -> Option<Place> {
    if IS_SQLITE.get() || !disk::is_any_watched() {
        return None;
    }
    let path = std::fs::read_link(format!("/proc/self/fd/{descriptor}")).ok()?;
    disk::place(&path)
}

/// The answer of a call, for what SQLite would have been told.
fn answer(code: c_int) -> c_int {
    let error = match code {
        ffi::SQLITE_OK => return 0,
        ffi::SQLITE_FULL => libc::ENOSPC,
        _ => libc::EIO,
    };
    // SAFETY: the C library has one for each thread.
    unsafe { *libc::__errno_location() = error };
    -1
}

/// # Safety
/// As the C library says.
#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite64(file: c_int, from: *const c_void, amount: usize, offset: i64) -> isize {
    // SAFETY: handed on as it came.
    let write = || unsafe { libc::syscall(libc::SYS_pwrite64, file, from, amount, offset) } as isize;
    let (Some(tap), Ok(at)) = (tap(file), usize::try_from(offset)) else { return write() };
    // SAFETY: the caller hands in that many bytes, and changes none of them during the call.
    let bytes = unsafe { std::slice::from_raw_parts(from.cast::<u8>(), amount) };
    let whole = || if write() == amount as isize { ffi::SQLITE_OK } else { ffi::SQLITE_IOERR_WRITE };
    if answer(tap.write(at, bytes, whole)) == 0 { amount as isize } else { -1 }
}

/// # Safety
/// As the C library says.
#[unsafe(no_mangle)]
unsafe extern "C" fn fdatasync(file: c_int) -> c_int {
    tap(file).map_or(0, |tap| answer(tap.sync()))
}

/// # Safety
/// As the C library says.
#[unsafe(no_mangle)]
unsafe extern "C" fn fallocate64(file: c_int, mode: c_int, offset: i64, length: i64) -> c_int {
    if place(file).is_some_and(|place| !place.has_room_for(u64::try_from(length).unwrap_or(0))) {
        return answer(ffi::SQLITE_FULL);
    }
    // SAFETY: handed on as it came.
    unsafe { libc::syscall(libc::SYS_fallocate, file, mode, offset, length) as c_int }
}

/// # Safety
/// As the C library says.
#[unsafe(no_mangle)]
unsafe extern "C" fn statvfs64(path: *const c_char, about: *mut libc::statvfs64) -> c_int {
    // SAFETY: with 64 bits, on which hume runs, the two structures are one.
    let code = unsafe { libc::statvfs(path, about.cast()) };
    if code == 0 {
        // SAFETY: the caller hands in a C string, and room for the answer, which was just filled in.
        let (path, about) = unsafe { (CStr::from_ptr(path), &mut *about) };
        if let Some(left) = disk::bytes_left(Path::new(OsStr::from_bytes(path.to_bytes()))) {
            about.f_bavail = left / about.f_frsize;
        }
    }
    code
}
