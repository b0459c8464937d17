//! Threads that work through one forward pass together.
//!
//! With few rows a pass is a sequence of short products over all weights, each cut by output features; a pool that sleeps
//! between them would cost more than the products. A team spins at a barrier instead, for as long as one call lasts, and
//! yields when the machine is busy with other work. With many rows nobody needs a team: each thread has rows of its own,
//! as a team of one.

use std::cell::UnsafeCell;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A member's view of its team.
pub(crate) struct Team<'a> {
    member: usize,
    size: usize,
    barrier: &'a Barrier,
}

/// Where all members meet.
#[derive(Default)]
pub(crate) struct Barrier {
    arrived: AtomicUsize,
    round: AtomicUsize,
    abandoned: std::sync::atomic::AtomicBool,
}

/// Turns of spinning before a waiting member lets others run.
const PATIENCE: usize = 2_000;

impl Team<'_> {
    /// Runs `work` on `size` threads, the caller's among them.
    pub(crate) fn run(size: usize, work: impl Fn(&Team<'_>) + Sync) {
        let barrier = Barrier::default();
        if size < 2 {
            return work(&Team { member: 0, size: 1, barrier: &barrier });
        }
        std::thread::scope(|scope| {
            for member in 1..size {
                let (barrier, work) = (&barrier, &work);
                scope.spawn(move || barrier.guarded(|| work(&Team { member, size, barrier })));
            }
            barrier.guarded(|| work(&Team { member: 0, size, barrier: &barrier }));
        });
    }

    /// Waits until every member is here. What was written before is visible to all after.
    pub(crate) fn sync(&self) {
        if self.size < 2 {
            return;
        }
        let barrier = self.barrier;
        let round = barrier.round.load(Ordering::Acquire);
        if barrier.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.size {
            barrier.arrived.store(0, Ordering::Relaxed);
            barrier.round.store(round.wrapping_add(1), Ordering::Release);
            return;
        }
        let mut spins = 0usize;
        while barrier.round.load(Ordering::Acquire) == round {
            assert!(!barrier.abandoned.load(Ordering::Relaxed), "another thread of the team failed");
            spins += 1;
            if spins < PATIENCE { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
    }

    /// This member's part of `n` things, in order of members.
    pub(crate) fn share(&self, n: usize) -> Range<usize> {
        n * self.member / self.size..n * (self.member + 1) / self.size
    }

    /// Whether this member does what only one may do.
    pub(crate) fn leads(&self) -> bool {
        self.member == 0
    }
}

impl Barrier {
    /// A member that panics must not leave the others waiting.
    fn guarded(&self, work: impl FnOnce()) {
        struct Guard<'a>(&'a Barrier);
        impl Drop for Guard<'_> {
            fn drop(&mut self) {
                if std::thread::panicking() {
                    self.0.abandoned.store(true, Ordering::Relaxed);
                }
            }
        }
        let _guard = Guard(self);
        work();
    }
}

/// A slice whose elements different members of a team write between two barriers.
///
/// Borrow rules are kept by the phases of a pass: between two calls of [`Team::sync`] an element is either written by one
/// member or read by any number.
pub(crate) struct Shared<'a, T> {
    cells: &'a [UnsafeCell<T>],
}

// SAFETY: access is handed out by the unsafe methods only, whose callers keep to the phases.
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    /// Shares a uniquely borrowed slice.
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        // SAFETY: `UnsafeCell<T>` has the layout of `T`, and the borrow is unique for `'a`.
        Self { cells: unsafe { &*(std::ptr::from_mut(slice) as *const [UnsafeCell<T>]) } }
    }

    /// Number of elements.
    pub(crate) fn len(&self) -> usize {
        self.cells.len()
    }

    /// # Safety
    /// Nobody else reads or writes these elements in this phase.
    #[expect(clippy::mut_from_ref, reason = "the phases of a pass stand in for the borrow checker")]
    pub(crate) unsafe fn write(&self, range: Range<usize>) -> &mut [T] {
        let cells = &self.cells[range];
        // SAFETY: in bounds; unique by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(cells.as_ptr().cast_mut().cast::<T>(), cells.len()) }
    }

    /// # Safety
    /// Nobody writes these elements in this phase.
    pub(crate) unsafe fn read(&self, range: Range<usize>) -> &[T] {
        let cells = &self.cells[range];
        // SAFETY: in bounds; not written meanwhile by the caller's promise.
        unsafe { std::slice::from_raw_parts(cells.as_ptr().cast::<T>(), cells.len()) }
    }

    /// Address of the first element, for kernels that write columns.
    pub(crate) fn address(&self) -> *mut T {
        self.write_address(0)
    }

    /// Address of element `at`.
    pub(crate) fn write_address(&self, at: usize) -> *mut T {
        self.cells[at..].as_ptr().cast_mut().cast()
    }
}

#[cfg(test)]
mod tests {
    use super::{Shared, Team};

    #[test]
    fn members_see_what_others_wrote_before_the_barrier() {
        let mut numbers = vec![0usize; 1000];
        let shared = Shared::new(&mut numbers);
        Team::run(3, |team| {
            for round in 0..200 {
                let (first, second) = (team.share(500), team.share(500));
                // SAFETY: members write disjoint shares of one half and read the other half after a barrier.
                unsafe {
                    for x in shared.write(first) {
                        *x += 1;
                    }
                    team.sync();
                    let sum: usize = shared.read(0..500).iter().sum();
                    for x in shared.write(500 + second.start..500 + second.end) {
                        *x = sum;
                    }
                    team.sync();
                    assert!(shared.read(500..1000).iter().all(|x| *x == 500 * (round + 1)));
                    team.sync();
                }
            }
        });
    }

    #[test]
    fn a_failing_member_does_not_leave_the_others_waiting() {
        let failed = std::panic::catch_unwind(|| {
            Team::run(2, |team| {
                assert!(team.leads(), "one fails");
                team.sync();
            });
        });
        assert!(failed.is_err());
    }
}
