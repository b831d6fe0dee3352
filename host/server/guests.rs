//! Threads for guests alone. They stand back behind those that answer gateways.

use anyhow::Context;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::engine::Settings;

/// The runtime of guests, put away where the server goes.
#[derive(Debug)]
pub(super) struct Guests(Option<Runtime>);

impl Guests {
    pub(super) fn start(settings: &Settings) -> anyhow::Result<Self> {
        let mut builder = Builder::new_multi_thread();
        if settings.guest_threads > 0 {
            builder.worker_threads(settings.guest_threads);
        }
        let nice = settings.guest_nice;
        let stand_back = move || {
            // On Linux this is the thread and not the process.
            if nice > 0
                && let Err(error) = rustix::process::setpriority_process(None, nice)
            {
                tracing::warn!(%error, "the threads of guests cannot stand back");
            }
        };
        let runtime = builder
            .thread_name("guests")
            .on_thread_start(stand_back)
            .enable_all()
            .build()
            .context("the runtime for guests cannot be started")?;
        Ok(Self(Some(runtime)))
    }

    pub(super) fn handle(&self) -> Handle {
        self.0.as_ref().map_or_else(Handle::current, |one| one.handle().clone())
    }
}

impl Drop for Guests {
    fn drop(&mut self) {
        // A runtime may not be waited for inside another one.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
