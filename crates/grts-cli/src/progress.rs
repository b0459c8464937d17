//! What is seen on stderr while a run goes on: a bar in a terminal, plain lines elsewhere.
//!
//! A log file wants few lines that each make sense alone; a terminal wants one place that keeps changing. Both say the
//! same: what is being done, how much of the planned optimiser steps, time gone and time left, value, gap and ASR.
//! The time left is ours and not the bar's own: phases without optimiser steps, and steps that a resumed run takes from
//! its store in an instant, would mislead an estimate from the recent past. Nothing is shown that was not measured.

use grts::session::{Reporter, Status};
use grts_game::solver::{Iteration, ResponseRecord, Verdict};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, Stderr, Write};
use std::time::{Duration, Instant};

/// Seconds between two lines of status in a log.
const BETWEEN_LINES: Duration = Duration::from_secs(5);
/// Steps before a time left is worth showing.
const FIRST_STEPS: u64 = 3;
const TEMPLATE: &str = "{prefix}\n{elapsed_precise} [{bar:20}] {pos}/{len} {wide_msg}";

/// Reports a run to its user.
pub struct Progress {
    started: Instant,
    display: Display,
}

enum Display {
    Bar(ProgressBar),
    Lines(Lines<Stderr>),
}

impl Progress {
    /// A bar if stderr is a terminal, else lines.
    pub fn on_stderr() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let display =
            if bar.is_hidden() { Display::Lines(Lines::new(io::stderr())) } else { Display::Bar(dressed(bar)) };
        Self { started: Instant::now(), display }
    }

    /// One line that stays.
    pub fn say(&mut self, line: &str) {
        match &mut self.display {
            Display::Bar(bar) => bar.println(line),
            Display::Lines(lines) => lines.write(line),
        }
    }

    /// Takes the bar away; lines stay.
    pub fn close(&mut self) {
        if let Display::Bar(bar) = &self.display {
            bar.finish_and_clear();
        }
    }
}

fn dressed(bar: ProgressBar) -> ProgressBar {
    if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_prefix("loading the model");
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}

impl Reporter for Progress {
    fn status(&mut self, status: &Status) {
        let elapsed = self.started.elapsed();
        let numbers = numbers(status, left(elapsed, status));
        match &mut self.display {
            Display::Bar(bar) => {
                bar.set_length(status.total);
                bar.set_position(status.done.min(status.total));
                bar.set_prefix(status.label.clone());
                bar.set_message(numbers);
            }
            Display::Lines(lines) => {
                let steps = format!("{}/{}", status.done.min(status.total), status.total);
                let line = || format!("{} {}: {steps} {numbers}", clock(elapsed), status.label).trim_end().to_owned();
                lines.now_and_then(elapsed, line);
            }
        }
    }

    fn iteration(&mut self, record: &Iteration, of: usize) {
        self.say(&in_one_line(record, of));
    }

    fn note(&mut self, line: &str) {
        self.say(line);
    }
}

/// Plain lines, the changing ones at intervals.
struct Lines<W> {
    out: W,
    last: Option<Duration>,
}

impl<W: Write> Lines<W> {
    fn new(out: W) -> Self {
        Self { out, last: None }
    }

    /// A reader that has gone away is no reason to stop a run.
    fn write(&mut self, line: &str) {
        let _ = writeln!(self.out, "{line}");
    }

    /// Writes a line unless the last one was a moment ago.
    fn now_and_then(&mut self, elapsed: Duration, line: impl FnOnce() -> String) {
        if self.last.is_none_or(|last| elapsed.saturating_sub(last) >= BETWEEN_LINES) {
            self.last = Some(elapsed);
            self.write(&line());
        }
    }
}

/// Time left at the mean pace of the steps that this process took itself; `None` while there is nothing to judge from, or
/// nothing left.
fn left(elapsed: Duration, status: &Status) -> Option<Duration> {
    let left = status.total.saturating_sub(status.done);
    let taken = status.done.saturating_sub(status.stored);
    let known = taken >= FIRST_STEPS && left > 0;
    known.then(|| Duration::from_secs_f64(elapsed.as_secs_f64() / taken as f64 * left as f64))
}

/// `eta 1:40 | value 0.312 | gap at most 0.104 | ASR 0.412`, without what is not known yet.
fn numbers(status: &Status, left: Option<Duration>) -> String {
    let number = |name, value: Option<f64>| value.map(|v| format!("{name} {v:.3}"));
    let parts = [
        left.map(|left| format!("eta {}", clock(left))),
        number("value", status.value),
        number("gap at most", status.gap),
        number("ASR", status.asr),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" | ")
}

/// `1:05` or `2:00:07`.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if h > 0 { format!("{h}:{m:02}:{s:02}") } else { format!("{m}:{s:02}") }
}

/// What an iteration found.
fn in_one_line(record: &Iteration, of: usize) -> String {
    let gap = record.gap.map_or_else(|| "not certified".to_owned(), |gap| format!("at most {gap:.3}"));
    format!(
        "iteration {} of {of}: {} red x {} blue, value {:.3}, gap {gap}; {}; {}",
        record.index + 1,
        record.num_reds,
        record.num_blues,
        record.value,
        response("red", &record.red),
        response("blue", &record.blue),
    )
}

fn response(player: &str, ResponseRecord { gain, verdict }: &ResponseRecord) -> String {
    let verdict = match verdict {
        Verdict::Admitted => "admitted".to_owned(),
        Verdict::Rejected { reason } => format!("rejected: {reason}"),
        Verdict::Redundant { reason } => format!("redundant: {reason}"),
        Verdict::Duplicate { of } => format!("the same as policy {of}"),
    };
    format!("{player} gains {:+.3} [{:+.3}, {:+.3}], {verdict}", gain.mean, gain.low, gain.high)
}

#[cfg(test)]
mod tests {
    use super::{Lines, TEMPLATE, clock, in_one_line, left, numbers};
    use grts::session::Status;
    use grts_game::Estimate;
    use grts_game::solver::{Iteration, ResponseRecord, Verdict};
    use indicatif::ProgressStyle;
    use std::time::Duration;

    fn status(done: u64, total: u64) -> Status {
        Status { label: "red".to_owned(), done, stored: 0, total, value: None, gap: None, asr: None }
    }

    #[test]
    fn the_template_is_valid() {
        ProgressStyle::with_template(TEMPLATE).unwrap();
    }

    #[test]
    fn stored_steps_do_not_count_for_the_pace() {
        let resumed = |done, total| Status { stored: 80, ..status(done, total) };
        let after = |status: &Status| left(Duration::from_secs(6), status);
        assert_eq!(after(&resumed(83, 93)), Some(Duration::from_secs(20)));
        assert_eq!(after(&resumed(82, 93)), None, "too early to say");
        assert_eq!(after(&resumed(93, 93)), None);
        assert_eq!(after(&resumed(99, 93)), None, "training on may pass the plan");
        assert_eq!(after(&status(0, 93)), None);
    }

    #[test]
    fn a_log_gets_few_status_lines_and_all_others() {
        let mut lines = Lines::new(Vec::new());
        for tenths in 0..=100 {
            let at = Duration::from_millis(tenths * 100);
            lines.now_and_then(at, || format!("at {tenths}"));
        }
        lines.write("kept");
        assert_eq!(String::from_utf8(lines.out).unwrap(), "at 0\nat 50\nat 100\nkept\n");
    }

    #[test]
    fn unknown_numbers_are_left_out() {
        assert_eq!(numbers(&status(0, 9), None), "");
        let known = Status { value: Some(0.5), asr: Some(0.25), ..status(1, 9) };
        assert_eq!(numbers(&known, Some(Duration::from_secs(100))), "eta 1:40 | value 0.500 | ASR 0.250");
    }

    #[test]
    fn clocks_show_hours_only_when_there_are_any() {
        assert_eq!(clock(Duration::from_secs(65)), "1:05");
        assert_eq!(clock(Duration::from_secs(7207)), "2:00:07");
    }

    #[test]
    fn an_iteration_is_one_line() {
        let gain = Estimate { mean: 0.1, low: -0.05, high: 0.25, n: 9 };
        let record = Iteration {
            index: 0,
            value: 0.5,
            nash_conv: 0.0,
            gap: None,
            red: ResponseRecord { gain, verdict: Verdict::Rejected { reason: "not fluent".to_owned() } },
            blue: ResponseRecord { gain, verdict: Verdict::Admitted },
            red_strategy: vec![1.0],
            blue_strategy: vec![1.0],
            num_reds: 1,
            num_blues: 2,
        };
        assert_eq!(
            in_one_line(&record, 8),
            "iteration 1 of 8: 1 red x 2 blue, value 0.500, gap not certified; \
             red gains +0.100 [-0.050, +0.250], rejected: not fluent; \
             blue gains +0.100 [-0.050, +0.250], admitted"
        );
    }
}
