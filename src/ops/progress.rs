//! Progress bars on a terminal, nothing elsewhere. Owns their look.

use indicatif::{ProgressBar, ProgressStyle};

/// The bar of one long step; gone when it is done or dropped.
#[derive(Debug)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// A bar over `total` things named by `what`.
    pub(crate) fn over(what: &str, total: u64) -> Self {
        // indicatif draws on stderr and is silent when that is no terminal.
        let bar = ProgressBar::new(total).with_message(what.to_owned());
        if let Ok(style) = ProgressStyle::with_template(
            "{msg:28!} {wide_bar:.cyan/dim} {human_pos:>12} of {human_len}  {eta:>4}",
        ) {
            bar.set_style(style.progress_chars("━━─"));
        }
        Progress(bar)
    }

    /// So many more are done.
    pub(crate) fn advance(&self, by: u64) {
        self.0.inc(by);
    }

    /// So many are done in all.
    pub(crate) fn at(&self, position: u64) {
        self.0.set_position(position);
    }

    /// Takes the bar away.
    pub(crate) fn done(self) {
        self.0.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
