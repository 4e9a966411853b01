//! Why a placeholder cannot be replaced.

use std::path::PathBuf;

use thiserror::Error;

/// A placeholder that has no value, or one that cannot be passed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PlaceholderError {
    /// Bare, where no service is meant.
    #[error("{{{placeholder}}} belongs to a service, and none is named here")]
    NoService {
        /// Without its braces.
        placeholder: String,
    },
    /// The service is not running here.
    #[error("{{{placeholder}}}: there is no service `{service}` here")]
    UnknownService {
        /// Without its braces.
        placeholder: String,
        service: String,
    },
    /// The service has no such port.
    #[error("{{{placeholder}}}: service `{service}` has no such port")]
    NoPort {
        /// Without its braces.
        placeholder: String,
        service: String,
    },
    /// A container asks where a local process is that it has no name for.
    #[error(
        "{{{placeholder}}}: service `{service}` is a local process, which this container is not made to reach: it does \
         not wait for it (`depends_on`)"
    )]
    OutOfReach {
        /// Without its braces.
        placeholder: String,
        service: String,
    },
    /// A container asks for the folder of a local process.
    #[error(
        "{{{placeholder}}}: service `{service}` is a local process, and its folder is not inside the container"
    )]
    FolderOutside {
        /// Without its braces.
        placeholder: String,
        service: String,
    },
    /// A path that cannot be written as text.
    #[error("{{{placeholder}}}: the path {} is not UTF-8", path.display())]
    NotUtf8 {
        /// Without its braces.
        placeholder: String,
        path: PathBuf,
    },
    /// A value that a shell would take for more than one word, where it cannot be quoted.
    #[error(
        "{{{placeholder}}}: its value has characters that mean something to the shell, and it cannot be quoted {place}; \
         write `env = {{ VALUE = \"{{{placeholder}}}\" }}` and in the script \"$VALUE\", or make the command a list"
    )]
    Unquotable {
        /// Without its braces.
        placeholder: String,
        place: &'static str,
    },
}
