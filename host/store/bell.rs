//! The bell: tells those who listen that it is worth looking.

use tokio::sync::watch;

/// Rings after a commit. Nothing is lost between looking and waiting: whoever listens, looks and
/// then waits is woken also by what happened in between.
#[derive(Debug, Clone)]
pub struct Bell(watch::Receiver<u64>);

impl Bell {
    /// Forgets earlier rings. Call it before looking.
    pub fn listen(&mut self) {
        self.0.mark_unchanged();
    }

    /// Waits until the bell has rung since [`Bell::listen`]. Never ends once the store is gone;
    /// wait for other things beside it.
    pub async fn rung(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The rope.
#[derive(Debug)]
pub(crate) struct Rope(watch::Sender<u64>);

impl Rope {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    pub(crate) fn ring(&self) {
        self.0.send_modify(|count| *count = count.wrapping_add(1));
    }

    pub(crate) fn bell(&self) -> Bell {
        Bell(self.0.subscribe())
    }
}
