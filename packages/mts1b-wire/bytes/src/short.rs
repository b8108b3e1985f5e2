//! Bytes that are written often, most of them few.

/// Most that are written at once.
const SIZE: usize = 32;

/// Bytes to append: as many as are few are copied as a block of a size that is known, without a call.
#[derive(Debug, Clone)]
pub struct Short {
    block: [u8; SIZE],
    rest: Vec<u8>,
    size: usize,
}

impl Short {
    pub fn new(bytes: &[u8]) -> Self {
        let (first, rest) = bytes.split_at(bytes.len().min(SIZE));
        let mut block = [0; SIZE];
        block[..first.len()].copy_from_slice(first);
        Self { block, rest: rest.to_vec(), size: first.len() }
    }

    #[inline(always)]
    pub fn put(&self, out: &mut Vec<u8>) {
        let end = out.len() + self.size;
        out.extend_from_slice(&self.block);
        out.truncate(end);
        if !self.rest.is_empty() {
            out.extend_from_slice(&self.rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Short;

    #[test]
    fn everything_is_written_behind_what_is_there() {
        for size in 0..70 {
            let bytes: Vec<u8> = (0..size).collect();
            let mut out = b"before".to_vec();
            Short::new(&bytes).put(&mut out);
            assert_eq!(out, [&b"before"[..], &bytes].concat());
        }
    }
}
