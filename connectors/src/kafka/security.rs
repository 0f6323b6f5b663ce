//! How brokers are spoken to: by TLS or not, as somebody or as nobody.

use distributary_runtime::bus::BusError;
use distributary_runtime::settings::{SaslMechanism, Secret};
use rdkafka::config::ClientConfig;
use std::path::PathBuf;

/// What a cluster's listener asks for. By default: nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Security {
    /// By TLS, with the brokers' names checked.
    pub tls: bool,
    /// Certificates (PEM) of the authorities that vouch for the brokers; `None`: those that the system trusts.
    pub ca_file: Option<PathBuf>,
    /// As whom.
    pub login: Option<Login>,
}

/// A user of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// How the password is shown.
    pub mechanism: SaslMechanism,
    /// The user.
    pub username: String,
    /// Its password.
    pub password: Secret,
}

impl Security {
    /// Whether this build can do it.
    pub(super) fn check(&self) -> Result<(), BusError> {
        if cfg!(feature = "kafka-tls") || *self == Self::default() {
            return Ok(());
        }
        let what = "this binary speaks neither TLS nor SASL to Kafka: build it with the cargo feature `kafka-tls`";
        Err(BusError::Invalid(what.to_string()))
    }

    pub(super) fn configure(&self, config: &mut ClientConfig) {
        let protocol = match (self.tls, &self.login) {
            (false, None) => return,
            (false, Some(_)) => "sasl_plaintext",
            (true, None) => "ssl",
            (true, Some(_)) => "sasl_ssl",
        };
        config.set("security.protocol", protocol);
        if self.tls {
            config.set("enable.ssl.certificate.verification", "true").set("ssl.endpoint.identification.algorithm", "https");
        }
        if let Some(file) = &self.ca_file {
            config.set("ssl.ca.location", file.display().to_string());
        }
        if let Some(login) = &self.login {
            let mechanism = match login.mechanism {
                SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
                SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
            };
            config.set("sasl.mechanism", mechanism).set("sasl.username", &login.username);
            config.set("sasl.password", login.password.reveal());
        }
    }
}

#[cfg(all(test, not(feature = "kafka-tls")))]
mod tests {
    use super::Security;

    #[test]
    fn a_build_without_tls_says_so() {
        assert!(Security::default().check().is_ok());
        let refused = Security { tls: true, ..Security::default() }.check().unwrap_err();
        assert!(refused.to_string().contains("cargo feature `kafka-tls`"), "{refused}");
    }
}
