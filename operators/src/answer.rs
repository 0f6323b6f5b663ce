//! What a user's closure may return.

use distributary_runtime::user_code::catch;
use std::fmt::Display;

/// A `T`, or a `Result` of it whose error says why the record cannot be used.
pub trait Answer<T> {
    /// The value, or the cause.
    ///
    /// # Errors
    /// The closure returned an error.
    fn answer(self) -> Result<T, String>;
}

impl<T> Answer<T> for T {
    fn answer(self) -> Result<T, String> {
        Ok(self)
    }
}

impl<T, E: Display> Answer<T> for Result<T, E> {
    fn answer(self) -> Result<T, String> {
        self.map_err(|e| e.to_string())
    }
}

/// Runs user code: an error and a panic are the same to us, a cause.
#[inline]
pub(crate) fn attempt<T, R: Answer<T>>(f: impl FnOnce() -> R) -> Result<T, String> {
    catch(|| f().answer())?
}
