//! Why a look did not tell what it should.

use butler_plugin_api::ServiceError;

/// Why a look did not tell what it should. The texts are for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Trouble {
    /// The instance ends.
    #[error("the instance has been stopped")]
    Stopped,
    #[error(
        "the config has no `udp:` section, so no node can be heard: add it, or take this instance out of `plugins:`"
    )]
    NoUdp,
    #[error(
        "the config has no `qlik:` section, so it is not known which nodes should be heard: add it, or take this instance out of \
         `plugins:`"
    )]
    NoQlik,
    /// It gives no answer.
    #[error("Qlik Sense cannot be asked which nodes should have been heard; it is asked again at the next look: {0}")]
    Away(String),
    /// It gives an answer that says nothing.
    #[error("Qlik Sense does not tell which nodes should have been heard; it is asked again at the next look: {0}")]
    Qlik(String),
    #[error("Butler cannot be asked, or does not take what is to be kept; it is tried again at the next look: {0}")]
    Butler(String),
}

impl Trouble {
    /// No later look will find it otherwise.
    pub(crate) fn is_for_good(&self) -> bool {
        matches!(self, Self::NoUdp | Self::NoQlik)
    }

    /// Whether it has been said with the other. What is not there says so in many words: how long until it is asked again.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Away(_), Self::Away(_)) | (Self::Butler(_), Self::Butler(_)) => true,
            (one, other) => one == other,
        }
    }
}

impl From<ServiceError> for Trouble {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Stopped => Self::Stopped,
            error => Self::Butler(error.to_string()),
        }
    }
}
