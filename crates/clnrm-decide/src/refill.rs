//! How many instances a pool lacks. One rule for whoever refills it: a run, and the guard between commands.

use serde::{Deserialize, Serialize};

/// The instances of a pool by what they do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PoolSlots {
    pub free: u32,
    pub starting: u32,
    pub held: u32,
}

impl PoolSlots {
    /// How many to start, so that `size` are free or will be. Those that are held count where they come back
    /// (`are_reused`); `uses_left` bounds a refill whose instances nobody keeps after so many tests.
    pub fn lacking(self, size: u32, are_reused: bool, uses_left: Option<u32>) -> u32 {
        let coming_back = if are_reused { self.held } else { 0 };
        let wanted = match uses_left {
            // Those that are held now serve a test of the count already.
            Some(uses) if are_reused => size.min(uses),
            Some(uses) => size.min(uses.saturating_sub(self.held)),
            None => size,
        };
        wanted.saturating_sub(self.free + self.starting + coming_back)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn slots(free: u32, starting: u32, held: u32) -> PoolSlots {
        PoolSlots {
            free,
            starting,
            held,
        }
    }

    #[test]
    fn leased_instances_count_where_they_come_back() {
        assert_eq!(slots(1, 0, 1).lacking(3, true, None), 1);
        assert_eq!(slots(1, 0, 1).lacking(3, false, None), 2);
        assert_eq!(slots(2, 2, 0).lacking(3, true, None), 0);
        // A run that stops everything starts no more than its tests will use.
        assert_eq!(slots(0, 0, 1).lacking(3, true, Some(1)), 0);
        assert_eq!(slots(0, 0, 1).lacking(3, false, Some(2)), 1);
    }

    proptest! {
        #[test]
        fn a_refill_never_goes_beyond_the_size(
            (free, starting, held, size) in (0_u32..9, 0_u32..9, 0_u32..9, 0_u32..9),
            are_reused: bool,
            uses_left in proptest::option::of(0_u32..9),
        ) {
            let lacking = slots(free, starting, held).lacking(size, are_reused, uses_left);
            prop_assert!(lacking == 0 || free + starting + lacking <= size);
            prop_assert!(lacking <= slots(free, starting, 0).lacking(size, are_reused, None));
        }
    }
}
