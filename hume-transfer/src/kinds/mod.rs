//! The list of kinds. A new one is a file here, its `mod` line and its line in [`kinds!`]; nothing else changes but
//! `transfers.example.toml`.

mod file;

use serde::Deserialize;

use crate::options::Common;
use crate::transfer::{Manner, OpenError, Setting, Transfer};

macro_rules! kinds {
    ($( $(#[$about:meta])* $variant:ident = $module:ident, )*) => {
        /// The keys of one transfer, by its kind.
        #[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
        #[serde(rename_all = "lowercase")]
        pub enum Options {
            $( $(#[$about])* $variant($module::Options), )*
        }

        /// The words of all kinds.
        pub const KINDS: &[&str] = &[$( stringify!($module), )*];

        impl Options {
            /// The word of its kind.
            pub fn kind(&self) -> &'static str {
                match self {
                    $( Options::$variant(_) => stringify!($module), )*
                }
            }

            /// What every kind understands.
            pub fn common(&self) -> Common {
                match self {
                    $( Options::$variant(options) => options.common(), )*
                }
            }

            /// What its kind is like.
            pub fn manner(&self) -> Manner {
                match self {
                    $( Options::$variant(_) => $module::MANNER, )*
                }
            }

            /// Reads secrets and checks values; what needs the peer is done at the first delivery.
            ///
            /// # Errors
            /// [`OpenError`], naming the key.
            pub fn open(&self, setting: &Setting<'_>) -> Result<Box<dyn Transfer>, OpenError> {
                match self {
                    $( Options::$variant(options) => $module::open(options, setting), )*
                }
            }
        }
    };
}

kinds! {
    /// JSON lines in a file.
    File = file,
}
