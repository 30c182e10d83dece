//! The status of a NodeOverlay (spec core 1.6).

use crate::{
    api::{
        NodeOverlay,
        conditions::{Conditioned, VALIDATION_SUCCEEDED},
    },
    model::WhyRefused,
};
use jiff::Timestamp;

/// The overlay with a status that says whether it counts; `refused` is why it does not.
pub fn overlay_with_status(overlay: &NodeOverlay, refused: Option<&WhyRefused>, now: Timestamp) -> NodeOverlay {
    let mut after = overlay.clone();
    match refused {
        None => after.set_true(VALIDATION_SUCCEEDED, now),
        Some(why) => after.set_false(VALIDATION_SUCCEEDED, why.code(), &why.to_string(), now),
    };
    after
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::conditions::READY;

    #[test]
    fn an_overlay_is_ready_unless_another_says_the_same() {
        let conflict = WhyRefused::Conflict { with: "other".to_owned(), about: "what `a` costs".to_owned() };
        let refused = overlay_with_status(&NodeOverlay::default(), Some(&conflict), Timestamp::UNIX_EPOCH);
        assert!(refused.is_false(READY));
        assert_eq!(refused.condition(VALIDATION_SUCCEEDED).unwrap().reason, "Conflict");
        assert!(overlay_with_status(&refused, None, Timestamp::UNIX_EPOCH).is_true(READY));
    }
}
