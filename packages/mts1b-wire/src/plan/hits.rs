//! Whether remembering what was made pays.

/// After so many times at which it did not pay, see whether it does now.
const REST: u32 = 1 << 16;

/// How often what was looked for was there, of one value of a plan.
#[derive(Default, Clone, Copy)]
pub struct Hits {
    tries: u32,
    hits: u32,
    rested: u32,
}

impl Hits {
    /// Whether to look; counts it as a try.
    #[inline(always)]
    pub fn pays(&mut self) -> bool {
        if self.tries >= 256 && self.hits * 4 < self.tries {
            self.rested += 1;
            if self.rested >= REST {
                *self = Self::default();
            }
            return false;
        }
        if self.tries >= 1 << 20 {
            self.tries /= 2;
            self.hits /= 2;
        }
        self.tries += 1;
        true
    }

    /// It was there.
    #[inline(always)]
    pub fn hit(&mut self) {
        self.hits += 1;
    }
}
