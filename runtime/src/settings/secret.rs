//! A setting that nobody may see: no log, no error, no output shows it.

use serde::{Deserialize, Serialize, Serializer};
use std::fmt;

/// A password. It shows itself to nobody but who asks for it by [`Secret::reveal`].
///
/// ```
/// use distributary_runtime::settings::Secret;
/// let secret = Secret::from("open sesame".to_string());
/// assert_eq!((format!("{secret:?}").as_str(), secret.reveal()), ("(secret)", "open sesame"));
/// ```
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct Secret(String);

/// What stands for it.
const SHOWN: &str = "(secret)";

impl Secret {
    /// The password itself, for whoever has to send it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SHOWN)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(SHOWN)
    }
}
