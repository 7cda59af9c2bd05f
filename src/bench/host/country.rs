//! Who is where: authorities by prefecture, accounts by authority, and who is in the national room.

/// Authorities of a prefecture, itself among them: the country has 1,788 in 47.
const TO_A_PREFECTURE: usize = 38;
/// Prefectures of the country.
const PREFECTURES: usize = 47;

/// The country, or a part of it that is like the whole.
#[derive(Debug)]
pub(crate) struct Country {
    authorities: usize,
    pub(crate) prefectures: usize,
    pub(crate) accounts: usize,
    national: usize,
}

impl Country {
    pub(crate) fn new(authorities: usize, accounts: usize, national: usize) -> Self {
        let authorities = authorities.max(1);
        let prefectures = (authorities / TO_A_PREFECTURE).clamp(1, PREFECTURES);
        let accounts = accounts.max(authorities);
        Self { authorities, prefectures, accounts, national: national.clamp(1, accounts) }
    }

    /// The server names of all authorities; the first ones are those of the prefectures.
    pub(crate) fn names(&self) -> Vec<String> {
        let name = |n: usize| {
            let prefecture = self.prefecture_of_authority(n) + 1;
            match n < self.prefectures {
                true => format!("pref{prefecture:02}.example.jp"),
                false => format!("town{n:04}.pref{prefecture:02}.example.jp"),
            }
        };
        (0..self.authorities).map(name).collect()
    }

    /// The authority of an account: they are dealt out in turn.
    pub(crate) fn authority_of(&self, account: usize) -> usize {
        account % self.authorities
    }

    /// The prefecture of an account.
    pub(crate) fn prefecture_of(&self, account: usize) -> usize {
        self.prefecture_of_authority(self.authority_of(account))
    }

    /// The accounts in the national room, spread evenly over all.
    pub(crate) fn members(&self) -> Vec<usize> {
        (0..self.national).map(|n| n * self.accounts / self.national).collect()
    }

    fn prefecture_of_authority(&self, authority: usize) -> usize {
        authority % self.prefectures
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_country_has_its_authorities_prefectures_and_members() {
        let country = Country::new(1_788, 90_000, 30_000);
        let names: HashSet<String> = country.names().into_iter().collect();
        assert_eq!((names.len(), country.prefectures), (1_788, 47));
        let members: HashSet<usize> = country.members().into_iter().collect();
        assert_eq!(members.len(), 30_000);
        assert!(members.iter().all(|member| *member < 90_000));
        let of_members: HashSet<usize> = members.iter().map(|member| country.authority_of(*member)).collect();
        assert!(of_members.len() > 500, "members come from many authorities");
    }

    #[test]
    fn a_part_of_the_country_has_as_many_authorities_to_a_prefecture() {
        assert_eq!(Country::new(45, 2_250, 750).prefectures, 1);
        assert_eq!(Country::new(200, 10_000, 3_333).prefectures, 5);
        let least = Country::new(0, 0, 0);
        assert_eq!((least.names().len(), least.accounts, least.members().len()), (1, 1, 1));
    }
}
