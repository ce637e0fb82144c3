//! How maintenance divides its share of `limits.memory` (MEM-1). Owns the parts; the share itself is the budget's.

const MIB: u64 = 1024 * 1024;

/// A share and its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    share_bytes: u64,
}

impl Memory {
    /// The parts of a share.
    pub fn of(share_bytes: u64) -> Self {
        Memory { share_bytes }
    }

    /// The whole.
    pub fn share_bytes(&self) -> u64 {
        self.share_bytes
    }

    /// Row groups of merged files: a writer holds one, encoded.
    pub(super) fn row_group_bytes(&self) -> usize {
        part((self.share_bytes / 4).clamp(4 * MIB, 64 * MIB))
    }

    /// Decoded rows that are joined before they are encoded.
    pub(super) fn batch_bytes(&self) -> usize {
        part((self.share_bytes / 12).clamp(MIB, 16 * MIB))
    }

    /// Decoded rows that are sorted at a time; sorting holds them twice.
    pub(super) fn sort_bytes(&self) -> usize {
        part((self.share_bytes / 4).clamp(2 * MIB, 512 * MIB))
    }

    /// Files up to this size are fetched whole.
    pub(super) fn whole_file_bytes(&self) -> u64 {
        (self.share_bytes / 16).clamp(256 * 1024, 8 * MIB)
    }
}

fn part(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
