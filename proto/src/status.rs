//! The one table of failures: error class ⇄ gRPC code ⇄ HTTP status ⇄ exit code.

use hume_core::ErrorClass;

/// How one class of failure is called on every border.
struct Row {
    class: ErrorClass,
    /// Number of the gRPC code.
    grpc: i32,
    http: u16,
    /// After sysexits(3).
    exit: u8,
}

const TABLE: [Row; 9] = [
    Row { class: ErrorClass::Invalid, grpc: 3, http: 400, exit: 65 },
    Row { class: ErrorClass::Unauthenticated, grpc: 16, http: 401, exit: 77 },
    Row { class: ErrorClass::Denied, grpc: 7, http: 403, exit: 77 },
    Row { class: ErrorClass::NotFound, grpc: 5, http: 404, exit: 66 },
    Row { class: ErrorClass::Conflict, grpc: 9, http: 409, exit: 75 },
    Row { class: ErrorClass::Full, grpc: 8, http: 507, exit: 75 },
    Row { class: ErrorClass::Busy, grpc: 10, http: 429, exit: 75 },
    Row { class: ErrorClass::Unavailable, grpc: 14, http: 503, exit: 69 },
    Row { class: ErrorClass::Internal, grpc: 13, http: 500, exit: 70 },
];

fn row(class: ErrorClass) -> &'static Row {
    // The table has a row for every class; a test holds that, and `Internal` stands in if it ever did not.
    TABLE.iter().find(|row| row.class == class).unwrap_or(&TABLE[8])
}

/// HTTP status of a class.
pub fn http_status(class: ErrorClass) -> u16 {
    row(class).http
}

/// Exit code of a class.
pub fn exit_code(class: ErrorClass) -> u8 {
    row(class).exit
}

/// Class of an HTTP status; `internal` for a status that is not in the table.
pub fn class_of_http(status: u16) -> ErrorClass {
    TABLE.iter().find(|row| row.http == status).map_or(ErrorClass::Internal, |row| row.class)
}

/// Number of the gRPC code of a class.
pub fn grpc_code(class: ErrorClass) -> i32 {
    row(class).grpc
}

/// Class of the number of a gRPC code; `internal` for one that is not in the table.
pub fn class_of_grpc(code: i32) -> ErrorClass {
    TABLE.iter().find(|row| row.grpc == code).map_or(ErrorClass::Internal, |row| row.class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_one_row_and_reads_back_from_each_column() {
        for class in ErrorClass::ALL {
            assert_eq!(TABLE.iter().filter(|row| row.class == class).count(), 1);
            assert_eq!(class_of_http(http_status(class)), class);
            assert_eq!(class_of_grpc(grpc_code(class)), class);
        }
        assert_eq!(exit_code(ErrorClass::Full), 75);
        assert_eq!(class_of_http(418), ErrorClass::Internal);
    }
}
