//! The file system that SQLite uses by default in this process: the usual one, seen through by a [`Disk`](crate::Disk) where a folder is
//! watched.
//!
//! Every file is one of ours with the usual one right behind it in the memory that SQLite sets aside. Only reads,
//! writes, truncations and syncs are looked at; locks and shared memory pass through. A sync is never passed on.

use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, Ordering};

use rusqlite::ffi::{self, sqlite3_file, sqlite3_int64, sqlite3_io_methods, sqlite3_vfs};

use crate::disk::{self, Before, Place, Tap};

/// The usual file system; set once, before ours is used.
static USUAL: AtomicPtr<sqlite3_vfs> = AtomicPtr::new(ptr::null_mut());

/// Our part of an open file. SQLite sees `base` alone.
#[repr(C)]
struct File {
    base: sqlite3_file,
    /// None where nobody watches.
    tap: Option<Box<Tap>>,
}

/// Where the usual file lies behind ours: as far as any type needs.
const USUAL_AT: usize = size_of::<File>().next_multiple_of(16);

static METHODS: sqlite3_io_methods = sqlite3_io_methods {
    iVersion: 3,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: Some(fetch),
    xUnfetch: Some(unfetch),
};

/// Makes ours the default, once for the process; connections that are open already keep the usual one.
pub(crate) fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // SAFETY: null asks for the default; SQLite initialises itself first and answers a table that lives for ever.
        let usual = unsafe { ffi::sqlite3_vfs_find(ptr::null()) };
        assert!(!usual.is_null(), "SQLite has a file system");
        USUAL.store(usual, Ordering::Release);
        // SAFETY: it is not null, and a table of plain values may be copied. The copied functions get our table where they
        // expect theirs: they look at its `pAppData` at most, which is copied as well.
        let copied = unsafe { *usual };
        let ours = sqlite3_vfs {
            szOsFile: copied.szOsFile + c_int::try_from(USUAL_AT).expect("a file is small"),
            pNext: ptr::null_mut(),
            zName: c"hume-crash".as_ptr(),
            xOpen: Some(open),
            xDelete: Some(delete),
            ..copied
        };
        // SAFETY: the table is leaked, so it lives as long as SQLite may use it.
        let code = unsafe { ffi::sqlite3_vfs_register(Box::leak(Box::new(ours)), 1) };
        assert_eq!(code, ffi::SQLITE_OK, "SQLite takes the file system");
    });
}

fn usual() -> *mut sqlite3_vfs {
    USUAL.load(Ordering::Acquire)
}

/// The place of this name, if its folder is watched.
///
/// # Safety
/// `name` is null or a C string.
unsafe fn place(name: *const c_char) -> Option<Place> {
    if name.is_null() {
        return None;
    }
    // SAFETY: the caller says so.
    let name = unsafe { CStr::from_ptr(name) };
    disk::place(Path::new(OsStr::from_bytes(name.to_bytes())))
}

/// The usual file behind ours.
///
/// # Safety
/// `file` points to `szOsFile` bytes of our table.
unsafe fn behind(file: *mut sqlite3_file) -> *mut sqlite3_file {
    // SAFETY: the usual file begins `USUAL_AT` bytes into these, at an address that suits every type.
    unsafe { file.byte_add(USUAL_AT) }
}

/// Who watches this file.
///
/// # Safety
/// `file` was opened by [`open`] and is not closed while the answer is used.
unsafe fn tap<'a>(file: *mut sqlite3_file) -> Option<&'a Tap> {
    // SAFETY: `open` has written our part there, and until `close` nobody changes it.
    unsafe { (*file.cast::<File>()).tap.as_deref() }
}

unsafe extern "C" fn open(
    _: *mut sqlite3_vfs,
    name: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    let ours = file.cast::<File>();
    // SAFETY: SQLite hands in `szOsFile` bytes that hold nothing yet. Without methods it will not close the file.
    unsafe { ours.write(File { base: sqlite3_file { pMethods: ptr::null() }, tap: None }) };
    // SAFETY: a file without a name has null, every other one a C string.
    let place = unsafe { place(name) };
    let before = if place.as_ref().is_none_or(Place::exists) { Before::Present } else { Before::Absent };
    let flags = match place.as_ref().map_or(Ok(flags), |place| place.may_open(flags)) {
        Ok(flags) => flags,
        Err(code) => return code,
    };
    // SAFETY: the usual file system is asked with its own table, the very name, and room for its own file.
    let code = unsafe {
        match (*usual()).xOpen {
            Some(open) => open(usual(), name, behind(file), flags, out_flags),
            None => ffi::SQLITE_CANTOPEN,
        }
    };
    if code == ffi::SQLITE_OK {
        let tap = place.map(|place| Box::new(place.opened(flags, before)));
        // SAFETY: as above; what stands there holds nothing that would have to be dropped.
        unsafe { ours.write(File { base: sqlite3_file { pMethods: &raw const METHODS }, tap }) };
    }
    code
}

unsafe extern "C" fn delete(_: *mut sqlite3_vfs, name: *const c_char, sync_dir: c_int) -> c_int {
    let delete = || {
        // SAFETY: the usual file system is asked with its own table and the very name.
        unsafe {
            match (*usual()).xDelete {
                Some(delete) => delete(usual(), name, 0),
                None => ffi::SQLITE_IOERR_DELETE,
            }
        }
    };
    // SAFETY: SQLite hands in a C string.
    match unsafe { place(name) } {
        Some(place) => place.deleted(sync_dir != 0, delete),
        None => delete(),
    }
}

/// A function of the table of files that asks the usual file.
macro_rules! pass {
    ($name:ident, $method:ident, $missing:expr $(, $argument:ident: $type:ty)*) => {
        unsafe extern "C" fn $name(file: *mut sqlite3_file $(, $argument: $type)*) -> c_int {
            // SAFETY: SQLite calls this for a file that `open` has opened, so the usual file behind it is open; it gets
            // what SQLite meant for it.
            unsafe {
                let usual = behind(file);
                match (*(*usual).pMethods).$method {
                    Some(method) => method(usual $(, $argument)*),
                    None => $missing,
                }
            }
        }
    };
}

pass!(usual_close, xClose, ffi::SQLITE_IOERR_CLOSE);
pass!(usual_read, xRead, ffi::SQLITE_IOERR_READ, to: *mut c_void, amount: c_int, offset: sqlite3_int64);
pass!(usual_write, xWrite, ffi::SQLITE_IOERR_WRITE, from: *const c_void, amount: c_int, offset: sqlite3_int64);
pass!(usual_truncate, xTruncate, ffi::SQLITE_IOERR_TRUNCATE, length: sqlite3_int64);
pass!(file_size, xFileSize, ffi::SQLITE_IOERR_FSTAT, length: *mut sqlite3_int64);
pass!(lock, xLock, ffi::SQLITE_IOERR_LOCK, level: c_int);
pass!(unlock, xUnlock, ffi::SQLITE_IOERR_UNLOCK, level: c_int);
pass!(check_reserved_lock, xCheckReservedLock, ffi::SQLITE_IOERR_CHECKRESERVEDLOCK, answer: *mut c_int);
pass!(file_control, xFileControl, ffi::SQLITE_NOTFOUND, operation: c_int, argument: *mut c_void);
pass!(sector_size, xSectorSize, 4096);
pass!(device_characteristics, xDeviceCharacteristics, 0);
pass!(shm_map, xShmMap, ffi::SQLITE_IOERR_SHMMAP, page: c_int, size: c_int, extend: c_int, at: *mut *mut c_void);
pass!(shm_lock, xShmLock, ffi::SQLITE_IOERR_SHMLOCK, offset: c_int, count: c_int, flags: c_int);
pass!(shm_unmap, xShmUnmap, ffi::SQLITE_OK, delete: c_int);
pass!(fetch, xFetch, ffi::SQLITE_IOERR_MMAP, offset: sqlite3_int64, amount: c_int, at: *mut *mut c_void);
pass!(unfetch, xUnfetch, ffi::SQLITE_OK, offset: sqlite3_int64, at: *mut c_void);

unsafe extern "C" fn shm_barrier(file: *mut sqlite3_file) {
    // SAFETY: as in `pass`.
    unsafe {
        let usual = behind(file);
        if let Some(barrier) = (*(*usual).pMethods).xShmBarrier {
            barrier(usual);
        }
    }
}

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    // SAFETY: as in `pass`.
    let code = unsafe { usual_close(file) };
    // SAFETY: `open` has written our part there, and after a close SQLite does not use the file again.
    unsafe { file.cast::<File>().drop_in_place() };
    code
}

unsafe extern "C" fn read(
    file: *mut sqlite3_file,
    to: *mut c_void,
    amount: c_int,
    offset: sqlite3_int64,
) -> c_int {
    // SAFETY: as in `pass`.
    let read = || unsafe { usual_read(file, to, amount, offset) };
    // SAFETY: SQLite closes no file that it reads.
    unsafe { tap(file) }.map_or_else(read, |tap| tap.read(read))
}

unsafe extern "C" fn write(
    file: *mut sqlite3_file,
    from: *const c_void,
    amount: c_int,
    offset: sqlite3_int64,
) -> c_int {
    // SAFETY: as in `pass`.
    let write = || unsafe { usual_write(file, from, amount, offset) };
    // SAFETY: SQLite closes no file that it writes to.
    let Some(tap) = (unsafe { tap(file) }) else { return write() };
    let (Ok(length), Ok(at)) = (usize::try_from(amount), usize::try_from(offset)) else {
        return ffi::SQLITE_IOERR_WRITE;
    };
    // SAFETY: SQLite hands in that many bytes, and changes none of them during the call.
    let bytes = unsafe { std::slice::from_raw_parts(from.cast::<u8>(), length) };
    tap.write(at, bytes, write)
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, length: sqlite3_int64) -> c_int {
    // SAFETY: as in `pass`.
    let truncate = || unsafe { usual_truncate(file, length) };
    // SAFETY: SQLite closes no file that it truncates.
    let Some(tap) = (unsafe { tap(file) }) else { return truncate() };
    usize::try_from(length).map_or(ffi::SQLITE_IOERR_TRUNCATE, |length| tap.truncate(length, truncate))
}

unsafe extern "C" fn sync(file: *mut sqlite3_file, _: c_int) -> c_int {
    // SAFETY: SQLite closes no file that it syncs.
    unsafe { tap(file) }.map_or(ffi::SQLITE_OK, Tap::sync)
}
