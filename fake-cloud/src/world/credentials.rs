//! Whether the world takes its callers' credentials.

use super::{CloudError, World};
use serde::{Deserialize, Serialize};

/// What a caller's credentials are worth. Signatures are not computed: a script says whether they are right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Credentials {
    /// They are taken.
    #[default]
    Valid,
    /// Their time is over.
    Expired,
    /// The signature does not fit the request.
    WrongSignature,
    /// They may not do this.
    Denied,
}

impl World {
    /// What callers' credentials are worth.
    pub fn credentials(&self) -> Credentials {
        self.credentials
    }

    /// Says what callers' credentials are worth from now on.
    pub fn set_credentials(&mut self, credentials: Credentials) {
        self.credentials = credentials;
        self.changed();
    }

    pub(crate) fn refused_caller(&self) -> Option<CloudError> {
        match self.credentials {
            Credentials::Valid => None,
            refused @ (Credentials::Expired | Credentials::WrongSignature | Credentials::Denied) => {
                Some(CloudError::RefusedCaller(refused))
            }
        }
    }
}
