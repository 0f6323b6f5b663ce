//! Errors inside the embedded bus: the bus's own answers, or SQLite's.

use distributary_runtime::bus::BusError;

/// Why a step inside a transaction did not happen.
#[derive(Debug)]
pub(super) enum Fault {
    /// An answer of the bus.
    Bus(BusError),
    /// SQLite failed; becomes [`BusError::Unavailable`] with what was being done.
    Sql(rusqlite::Error),
}

pub(super) type Result<T, E = Fault> = std::result::Result<T, E>;

impl Fault {
    /// Says what was being done. SQLite's own words never hold bound values, so no record content gets out.
    pub(super) fn while_doing(self, what: &str) -> BusError {
        match self {
            Self::Bus(answer) => answer,
            Self::Sql(e) => BusError::Unavailable { what: what.to_string(), reason: e.to_string() },
        }
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(e: rusqlite::Error) -> Self {
        Self::Sql(e)
    }
}

impl From<BusError> for Fault {
    fn from(e: BusError) -> Self {
        Self::Bus(e)
    }
}
