//! How memory that some caches do not need is lent to others.

/// A part of the memory, and what is made of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// What was given, in bytes.
    pub share: u64,
    /// What is held.
    pub bytes: u64,
    /// What may be held now.
    pub most: u64,
    /// Whether something was too large to be kept.
    pub refused: bool,
    /// Whether it can do with more than its share. What is only kept to be read less often lends, and does not
    /// borrow: with all that others leave free, a cache fills with what nobody asks for again.
    pub borrows: bool,
}

/// Who has filled so many hundredths of what is his can use more.
const FULL: u64 = 90;

/// A quarter more than is held stays, so that an ordinary moment's need finds room.
const SPARE: u64 = 4;

/// A part of what was given is never lent, since what is to be kept at all must fit.
const NEVER_LENT: u64 = 8;

/// A change by less than this part is not worth it.
const SLIGHT: u64 = 16;

impl Part {
    fn is_full(&self) -> bool {
        self.refused || self.bytes >= self.share.min(self.most) / 100 * FULL
    }

    fn wants_more(&self) -> bool {
        self.borrows && self.is_full()
    }

    /// What it keeps of its own while others want more.
    fn kept(&self) -> u64 {
        if self.is_full() {
            return self.share;
        }
        let wanted = self.bytes.saturating_add(self.bytes / SPARE);
        wanted.max(self.share / NEVER_LENT).min(self.share)
    }
}

/// What each may hold from now on: together no more than they were given.
///
/// A part that is not full lends what it does not hold, but for a little; those that are full and borrow have it by
/// their shares. Who is full has at least his own. Where nobody wants more, nothing is lent.
pub(crate) fn grants(parts: &[Part]) -> Vec<u64> {
    let (full, others): (Vec<&Part>, Vec<&Part>) = parts.iter().partition(|part| part.wants_more());
    let wanting: u64 = full.iter().map(|part| part.share).sum();
    if wanting == 0 {
        return parts.iter().map(|part| part.share).collect();
    }
    let lent: u64 = others.iter().map(|part| part.share - part.kept()).sum();
    let grant = |part: &Part| match part.wants_more() {
        true => {
            let more = u128::from(lent) * u128::from(part.share) / u128::from(wanting);
            part.share.saturating_add(u64::try_from(more).unwrap_or(u64::MAX))
        }
        false => part.kept(),
    };
    let granted = |part: &Part| {
        let to = grant(part);
        // Only what is a little less may stay: the sum must hold.
        let is_slight = part.most < to && to - part.most < to / SLIGHT;
        if is_slight { part.most } else { to }
    };
    parts.iter().map(granted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(share: u64, bytes: u64, most: u64) -> Part {
        Part { share, bytes, most, refused: false, borrows: true }
    }

    /// One that does not borrow.
    fn lender(share: u64, bytes: u64, most: u64) -> Part {
        Part { borrows: false, ..part(share, bytes, most) }
    }

    /// What they may hold in the end, if nothing changes but that.
    fn settled(mut parts: Vec<Part>) -> Vec<u64> {
        let all: u64 = parts.iter().map(|part| part.share).sum();
        for _ in 0..10 {
            let grants = grants(&parts);
            assert!(grants.iter().sum::<u64>() <= all, "{grants:?}");
            for (part, grant) in parts.iter_mut().zip(grants) {
                part.most = grant;
                part.bytes = part.bytes.min(grant);
            }
        }
        parts.iter().map(|part| part.most).collect()
    }

    #[test]
    fn where_nobody_is_full_each_has_his_own() {
        assert_eq!(settled(vec![part(1_000, 10, 125), part(1_000, 899, 1_500)]), [1_000, 1_000]);
        assert_eq!(settled(Vec::new()), [0; 0]);
        assert_eq!(settled(vec![part(0, 0, 0)]), [0]);
    }

    #[test]
    fn who_is_full_has_what_others_do_not_need_by_his_share() {
        let parts = vec![part(1_600, 0, 1_600), part(800, 400, 800), part(300, 300, 300), part(100, 95, 100)];
        // Lent are 1,400 and 300, three quarters of it to who has three times as much.
        assert_eq!(settled(parts), [200, 500, 300 + 1_275, 100 + 425]);
    }

    #[test]
    fn who_does_not_borrow_has_his_own_when_he_needs_it_and_no_more() {
        assert_eq!(settled(vec![lender(1_000, 1_000, 1_000), part(1_000, 0, 1_000)]), [1_000, 1_000]);
        assert_eq!(settled(vec![lender(1_000, 80, 1_000), part(1_000, 1_000, 1_000)]), [125, 1_875]);
        // It has filled what it was left.
        assert_eq!(grants(&[lender(1_000, 120, 125), part(1_000, 1_875, 1_875)]), [1_000, 1_000]);
        let refused = Part { refused: true, ..lender(1_000, 0, 125) };
        assert_eq!(grants(&[refused, part(1_000, 1_875, 1_875)]), [1_000, 1_000]);
    }

    #[test]
    fn a_borrower_keeps_what_it_has_filled_and_gives_it_back_when_the_owner_needs_it() {
        let lent = settled(vec![part(1_000, 0, 1_000), part(1_000, 1_000, 1_000)]);
        assert_eq!(lent, [125, 1_875]);
        assert_eq!(settled(vec![part(1_000, 0, 125), part(1_000, 1_500, 1_875)]), lent);
        // The owner has filled what it was left.
        assert_eq!(grants(&[part(1_000, 120, 125), part(1_000, 1_875, 1_875)]), [1_000, 1_000]);
        // It holds little, but something was too large for what it was left.
        let refused = Part { refused: true, ..part(1_000, 0, 125) };
        assert_eq!(grants(&[refused, part(1_000, 1_875, 1_875)]), [1_000, 1_000]);
    }
}
