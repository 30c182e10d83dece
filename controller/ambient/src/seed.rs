//! Randomness from one seed, split per entity.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use sha2::{Digest, Sha256};

/// The seed of a run.
///
/// Every entity draws from its own stream, named by a path such as `["instance", "i-0abc", "boot"]`, so adding an entity
/// does not shift what another draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(pub u64);

impl Seed {
    /// The stream of the entity named by `path`.
    pub fn stream(self, path: &[&str]) -> Stream {
        let mut hash = Sha256::new();
        hash.update(self.0.to_be_bytes());
        for part in path {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        Stream(ChaCha8Rng::from_seed(hash.finalize().into()))
    }
}

/// The random numbers of one entity.
#[derive(Clone, Debug)]
pub struct Stream(ChaCha8Rng);

impl Stream {
    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number in `0..bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The bias of the modulus is below 2^-32 for every bound used here (delays, counts, indices).
        self.next_u64().checked_rem(bound).unwrap_or(0)
    }

    /// A number in `low..=high`; `low` when the range is empty.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    /// `length` characters drawn from `alphabet`, which must not be empty.
    pub fn text(&mut self, alphabet: &[u8], length: usize) -> String {
        (0..length).map(|_| char::from(alphabet[self.below(alphabet.len() as u64) as usize])).collect()
    }

    /// `length` lower-case hexadecimal digits, as in an instance id.
    pub fn hex(&mut self, length: usize) -> String {
        self.text(b"0123456789abcdef", length)
    }

    /// A random version-4 UUID in its text form.
    pub fn uuid(&mut self) -> String {
        let bits = (u128::from(self.next_u64()) << 64) | u128::from(self.next_u64());
        let bits = (bits & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
        let hex = format!("{bits:032x}");
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }
}

#[cfg(test)]
mod tests {
    use super::Seed;

    #[test]
    fn streams_are_repeatable_and_independent() {
        let draw = |seed: u64, path: &[&str]| Seed(seed).stream(path).next_u64();
        assert_eq!(draw(1, &["a", "b"]), draw(1, &["a", "b"]));
        assert_ne!(draw(1, &["a", "b"]), draw(1, &["ab"]));
        assert_ne!(draw(1, &["a"]), draw(2, &["a"]));
    }

    #[test]
    fn uuids_are_version_four() {
        let uuid = Seed(7).stream(&["uuid"]).uuid();
        assert_eq!(uuid.len(), 36);
        assert_eq!(&uuid[14..15], "4");
        assert!("89ab".contains(&uuid[19..20]));
    }
}
