//! Progress: a bar where somebody looks, a line per stage where a log is kept.

use std::io::IsTerminal;
use std::sync::Mutex;

use asset_pipeline::publish::{Progress, Stage};
use indicatif::{ProgressBar, ProgressStyle};

/// Progress on standard error.
pub(crate) enum Bar {
    /// Redrawn in place.
    Terminal(Mutex<ProgressBar>),
    /// One line per stage.
    Lines,
    /// Nothing, so that only the JSON speaks.
    Silent,
}

impl Bar {
    pub(crate) fn new(json: bool) -> Self {
        if std::io::stderr().is_terminal() {
            Self::Terminal(Mutex::new(ProgressBar::hidden()))
        } else if json {
            Self::Silent
        } else {
            Self::Lines
        }
    }
}

impl Progress for Bar {
    fn begin(&self, stage: Stage, steps: u64) {
        match self {
            Self::Terminal(bar) => {
                let style = ProgressStyle::with_template(
                    "{msg:>20} {bar:30} {pos}/{len} {elapsed} (about {eta} left)",
                )
                .expect("the template is a constant that its test tries");
                let new = ProgressBar::new(steps).with_style(style);
                new.set_message(stage.as_str());
                let mut bar = bar
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner);
                bar.finish_and_clear();
                *bar = new;
            }
            Self::Lines if steps > 0 => eprintln!("{} {steps} files", stage.as_str()),
            Self::Lines | Self::Silent => {}
        }
    }

    fn step(&self, _: &str) {
        if let Self::Terminal(bar) = self {
            bar.lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .inc(1);
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Self::Terminal(bar) = self {
            bar.get_mut()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_one() {
        let bar = Bar::Terminal(Mutex::new(ProgressBar::hidden()));
        bar.begin(Stage::Read, 2);
        bar.step("/a");
    }
}
