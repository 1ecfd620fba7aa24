//! How a command that did not succeed ends: a text for people, and an exit code for scripts. The codes are documented in
//! `docs/CLI.md` and do not change.

use pyralog_client::{ErrorKind, PyralogError};

/// Exit codes beside 0. 2 is the one that clap uses for a command line that cannot be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The broker said no, or something went wrong on the way.
    Failed = 1,
    /// What was asked for cannot be meant: a name, a number, a line of the input.
    Usage = 2,
    /// No broker was reached in time.
    Unreachable = 3,
    /// What was named is not there.
    Missing = 4,
    /// What was to be created is there already.
    Exists = 5,
    /// The question was answered with no; nothing was done.
    Declined = 6,
    /// Ctrl-C before the work was done, as shells count it.
    Interrupted = 130,
}

/// Why a command ended early.
#[derive(Debug)]
pub enum Failure {
    /// With this text on stderr.
    Said(Exit, String),
    /// Whoever read the output went away. That is how `| head` works, and no failure.
    OutputClosed,
}

impl Failure {
    /// Something in the command line or the input cannot be meant.
    pub fn usage(text: impl Into<String>) -> Self {
        Self::Said(Exit::Usage, text.into())
    }

    /// Anything without a code of its own.
    pub fn other(text: impl Into<String>) -> Self {
        Self::Said(Exit::Failed, text.into())
    }

    /// With more to say.
    #[must_use]
    pub fn hint(self, hint: &str) -> Self {
        match self {
            Self::Said(exit, text) => Self::Said(exit, format!("{text}{hint}")),
            Self::OutputClosed => Self::OutputClosed,
        }
    }

    /// With the place where it happened in front.
    #[must_use]
    pub fn inside(self, place: &str) -> Self {
        match self {
            Self::Said(exit, text) => Self::Said(exit, format!("{place}: {text}")),
            Self::OutputClosed => Self::OutputClosed,
        }
    }

    /// With more to say if it ends with this code.
    #[must_use]
    pub fn hint_if(self, exit: Exit, hint: &str) -> Self {
        let is_meant = matches!(&self, Self::Said(found, _) if *found == exit);
        if is_meant { self.hint(hint) } else { self }
    }

    /// Whether something that was named is not there.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Said(Exit::Missing, _))
    }

    /// Whether it is there already.
    pub fn is_exists(&self) -> bool {
        matches!(self, Self::Said(Exit::Exists, _))
    }
}

impl<E: Into<PyralogError>> From<E> for Failure {
    fn from(error: E) -> Self {
        let error: PyralogError = error.into();
        let exit = match error.kind() {
            ErrorKind::Input => Exit::Usage,
            ErrorKind::Unreachable => Exit::Unreachable,
            ErrorKind::Missing => Exit::Missing,
            ErrorKind::Exists => Exit::Exists,
            ErrorKind::NotUnderstood | ErrorKind::Refused | ErrorKind::Caller => Exit::Failed,
        };
        Self::Said(exit, error.to_string())
    }
}
