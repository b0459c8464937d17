//! Memory that is read from end to end at every step: in large pages, where the system gives them to those who ask.
//!
//! With pages of 4 KiB a gigabyte of weights has a quarter of a million of them, more than a processor remembers the places
//! of, and what fetches ahead stops at the end of each. Measured: docs/benchmarks.md.

/// An empty vector with room for `count`, none of it touched yet. A refusal costs speed and nothing else.
pub(crate) fn in_large_pages<T>(count: usize) -> Vec<T> {
    let vector = Vec::with_capacity(count);
    #[cfg(target_os = "linux")]
    {
        /// Bytes of the largest page that is not large anywhere: advice must begin at the start of one.
        const PAGE: usize = 1 << 16;
        let (at, bytes) = (vector.as_ptr() as usize, count * size_of::<T>());
        let (from, to) = (at.next_multiple_of(PAGE), (at + bytes) / PAGE * PAGE);
        if from < to {
            // SAFETY: the range lies inside the vector's own allocation, and this advice changes no content.
            unsafe { libc::madvise(from as *mut libc::c_void, to - from, libc::MADV_HUGEPAGE) };
        }
    }
    vector
}

#[cfg(test)]
mod tests {
    use super::in_large_pages;

    #[test]
    fn there_is_room_for_what_was_asked_for_whatever_its_size() {
        for count in [0, 1, 100_000, 3_000_001] {
            let mut vector = in_large_pages::<u32>(count);
            assert!(vector.is_empty() && vector.capacity() >= count);
            vector.resize(count, 7);
            assert!(vector.iter().all(|x| *x == 7));
        }
    }
}
