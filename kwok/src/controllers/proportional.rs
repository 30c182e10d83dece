//! Scaling a deployment in the middle of a rollout: every replica set gets its share (`sync.go`, `scale`).

/// A replica set with pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) wanted: i32,
    /// The most pods the deployment could have when the set was last scaled (`deployment.kubernetes.io/max-replicas`).
    pub(super) most_before: Option<i32>,
}

/// The new sizes of the sets, given from old to new, when `most` pods are allowed in all; none are when nothing is wanted.
///
/// The largest sets get their shares first; among equals the newest when there is more to give, and the oldest when there
/// is less. What rounding leaves goes to the first.
pub(super) fn sizes(shares: &[Share], wanted: i32, most: i32, replicas_before: i32) -> Vec<i32> {
    let allowed = if wanted > 0 { most } else { 0 };
    let to_add = allowed - shares.iter().map(|share| share.wanted).sum::<i32>();
    let mut order: Vec<usize> = (0..shares.len()).collect();
    if to_add > 0 {
        order.reverse();
    }
    // Stable, so that age decides among equals.
    order.sort_by_key(|index| std::cmp::Reverse(shares[*index].wanted));
    let mut sizes: Vec<i32> = shares.iter().map(|share| share.wanted).collect();
    if to_add == 0 {
        return sizes;
    }
    let mut added = 0;
    for index in &order {
        let portion = portion(shares[*index], wanted, most, replicas_before, to_add - added, to_add > 0);
        sizes[*index] += portion;
        added += portion;
    }
    if let Some(first) = order.first() {
        sizes[*first] = (sizes[*first] + to_add - added).max(0);
    }
    sizes
}

fn portion(share: Share, wanted: i32, most: i32, replicas_before: i32, left: i32, growing: bool) -> i32 {
    if share.wanted == 0 || left == 0 {
        return 0;
    }
    let fraction = fraction(share, wanted, most, replicas_before);
    if growing { fraction.min(left) } else { fraction.max(left) }
}

fn fraction(share: Share, wanted: i32, most: i32, replicas_before: i32) -> i32 {
    let before = share.most_before.filter(|before| *before > 0).unwrap_or(replicas_before);
    if wanted == 0 || before <= 0 {
        return if wanted == 0 { -share.wanted } else { 0 };
    }
    // Rounded to the nearest, halves up.
    let (size, most, before) = (i64::from(share.wanted), i64::from(most), i64::from(before));
    let new = (2 * size * most + before) / (2 * before);
    i32::try_from(new).unwrap_or(i32::MAX) - share.wanted
}

#[cfg(test)]
mod tests {
    use super::{Share, sizes};
    use rstest::rstest;

    #[rstest]
    // The example of the documentation: 10 replicas and a surge of 3, 8 old and 5 new, scaled to 15.
    #[case::documented(&[8, 5], 13, 15, 18, &[11, 7])]
    #[case::down(&[8, 5], 13, 5, 8, &[5, 3])]
    #[case::to_nothing(&[8, 5], 13, 0, 3, &[0, 0])]
    #[case::newest_of_equals_gets_the_rest(&[5, 5], 10, 11, 11, &[5, 6])]
    #[case::same(&[8, 5], 13, 10, 13, &[8, 5])]
    fn shares(
        #[case] sets: &[i32],
        #[case] before: i32,
        #[case] wanted: i32,
        #[case] most: i32,
        #[case] after: &[i32],
    ) {
        let shares: Vec<Share> =
            sets.iter().map(|wanted| Share { wanted: *wanted, most_before: Some(before) }).collect();
        assert_eq!(sizes(&shares, wanted, most, before), after);
    }
}
