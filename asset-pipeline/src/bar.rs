//! Progress: a bar where somebody looks, lines where a log is kept.

use std::io::IsTerminal;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use asset_pipeline::publish::{Progress, Stage};
use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressStyle};

/// A log says this often how far a stage is.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Progress on standard error.
pub(crate) enum Bar {
    /// Redrawn in place.
    Terminal(Mutex<ProgressBar>),
    /// One line per stage, and more of one that takes long.
    Lines(Mutex<Lines>),
    /// Nothing, so that only the JSON speaks.
    Silent,
}

/// How far a stage is.
pub(crate) struct Lines {
    stage: Stage,
    began: Instant,
    said: Instant,
    steps: (u64, u64),
    bytes: (u64, u64),
}

impl Lines {
    fn of(stage: Stage, steps: u64, bytes: u64) -> Self {
        let now = Instant::now();
        Self {
            stage,
            began: now,
            said: now,
            steps: (0, steps),
            bytes: (0, bytes),
        }
    }

    fn step(&mut self, bytes: u64) {
        self.steps.0 += 1;
        self.bytes.0 += bytes;
    }

    fn text(&self, elapsed: Duration) -> String {
        let (done, all) = match self.bytes {
            (_, 0) => self.steps,
            bytes => bytes,
        };
        let mut text = format!(
            "{}: {} of {} files",
            self.stage.as_str(),
            self.steps.0,
            self.steps.1
        );
        if self.bytes.1 > 0 {
            let (done, all) = (HumanBytes(self.bytes.0), HumanBytes(self.bytes.1));
            text.push_str(&format!(", {done} of {all}"));
        }
        if done > 0 && done <= all {
            let left = elapsed.mul_f64((all - done) as f64 / done as f64);
            text.push_str(&format!(", about {} left", HumanDuration(left)));
        }
        text
    }
}

impl Bar {
    pub(crate) fn new(json: bool) -> Self {
        if std::io::stderr().is_terminal() {
            Self::Terminal(Mutex::new(ProgressBar::hidden()))
        } else if json {
            Self::Silent
        } else {
            Self::Lines(Mutex::new(Lines::of(Stage::Read, 0, 0)))
        }
    }
}

impl Progress for Bar {
    fn begin(&self, stage: Stage, steps: u64) {
        self.begin_bytes(stage, steps, 0);
    }

    fn step(&self, what: &str) {
        self.step_bytes(what, 0);
    }

    fn begin_bytes(&self, stage: Stage, steps: u64, bytes: u64) {
        match self {
            Self::Terminal(bar) => {
                let new = ProgressBar::new(if bytes > 0 { bytes } else { steps });
                let new = new.with_style(style(bytes > 0));
                new.set_message(stage.as_str());
                let mut bar = held(bar);
                bar.finish_and_clear();
                *bar = new;
            }
            Self::Lines(lines) => {
                if steps > 0 && bytes > 0 {
                    eprintln!("{} {steps} files, {}", stage.as_str(), HumanBytes(bytes));
                } else if steps > 0 {
                    eprintln!("{} {steps} files", stage.as_str());
                }
                *held(lines) = Lines::of(stage, steps, bytes);
            }
            Self::Silent => {}
        }
    }

    fn step_bytes(&self, _: &str, bytes: u64) {
        match self {
            Self::Terminal(bar) => held(bar).inc(if bytes > 0 { bytes } else { 1 }),
            Self::Lines(lines) => {
                let mut lines = held(lines);
                lines.step(bytes);
                if lines.said.elapsed() >= LINE_EVERY {
                    eprintln!("{}", lines.text(lines.began.elapsed()));
                    lines.said = Instant::now();
                }
            }
            Self::Silent => {}
        }
    }
}

fn style(bytes: bool) -> ProgressStyle {
    let template = match bytes {
        true => "{msg:>20} {bar:30} {bytes}/{total_bytes} {elapsed} (about {eta} left)",
        false => "{msg:>20} {bar:30} {pos}/{len} {elapsed} (about {eta} left)",
    };
    ProgressStyle::with_template(template).expect("the template is a constant that its test tries")
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Self::Terminal(bar) = self {
            bar.get_mut()
                .unwrap_or_else(PoisonError::into_inner)
                .finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_some() {
        let bar = Bar::Terminal(Mutex::new(ProgressBar::hidden()));
        bar.begin(Stage::Read, 2);
        bar.step("/a");
        bar.begin_bytes(Stage::Store, 2, 100);
        bar.step_bytes("/a", 40);
        let Bar::Terminal(bar) = &bar else {
            panic!("it is a terminal's");
        };
        let bar = held(bar).clone();
        assert_eq!((bar.position(), bar.length()), (40, Some(100)));
    }

    #[test]
    fn a_line_says_how_far_it_is_by_bytes_and_else_by_files() {
        let mut lines = Lines::of(Stage::Store, 10, 4_000_000);
        lines.step(1_000_000);
        assert_eq!(
            lines.text(Duration::from_secs(60)),
            "encoding and storing: 1 of 10 files, 976.56 KiB of 3.81 MiB, about 3 minutes left"
        );
        let mut lines = Lines::of(Stage::Verify, 4, 0);
        assert_eq!(
            lines.text(Duration::from_secs(9)),
            "verifying: 0 of 4 files"
        );
        lines.step(0);
        lines.step(0);
        assert_eq!(
            lines.text(Duration::from_secs(90)),
            "verifying: 2 of 4 files, about 2 minutes left"
        );
    }
}
