//! The API's thread: HTTP/1 over the daemon's socket, apart from the control thread and from the workers.
//! What may be asked is in [`crate::routes`].

use crate::routes::router;
use std::future::Future;
use std::io;
use std::os::unix::net::UnixListener;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use weir_agent::handle::Handle;

/// How long open connections may hold up the end.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// The door to the control thread, which opens once the daemon has started. Until then every question gets a 503.
#[derive(Clone, Debug, Default)]
pub struct Door(Arc<OnceLock<Handle>>);

impl Door {
    /// Opens it; a second time changes nothing.
    pub fn open(&self, handle: Handle) {
        let _ = self.0.set(handle);
    }

    /// The handle, once open.
    pub fn handle(&self) -> Option<&Handle> {
        self.0.get()
    }
}

/// The running server.
#[derive(Debug)]
pub struct Server {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
    thread_id: rustix::thread::Pid,
}

/// What a server runs in, and what runs beside it.
pub fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(16)
        .build()
}

impl Server {
    /// Serves on a listening, non-blocking socket. `beside` runs on the same thread until the server ends.
    /// Fails if the thread cannot be made.
    pub fn start(
        runtime: Runtime,
        listener: UnixListener,
        door: Door,
        beside: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<Server> {
        let (stop, stopped) = oneshot::channel();
        let (started, starts) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("weir-api".into())
            .spawn(move || {
                let listener = {
                    let _inside = runtime.enter();
                    tokio::net::UnixListener::from_std(listener)
                };
                match listener {
                    Ok(listener) => {
                        let _ = started.send(Ok(rustix::thread::gettid()));
                        runtime.block_on(serve(listener, door, beside, stopped));
                        // A question that still waits for its answer must not keep the process.
                        runtime.shutdown_background();
                    }
                    Err(error) => drop(started.send(Err(error))),
                }
            })?;
        let thread_id = starts.recv().map_err(io::Error::other)??;
        Ok(Server {
            stop,
            thread,
            thread_id,
        })
    }

    /// The kernel's id of its thread, to keep it off the workers' cores.
    pub fn thread_id(&self) -> rustix::thread::Pid {
        self.thread_id
    }

    /// Ends it: no new connections, a second for the answers under way.
    pub fn stop(self) {
        let _ = self.stop.send(());
        if self.thread.join().is_err() {
            tracing::error!("the API's thread has panicked");
        }
    }
}

async fn serve(
    listener: tokio::net::UnixListener,
    door: Door,
    beside: impl Future<Output = ()> + Send + 'static,
    stopped: oneshot::Receiver<()>,
) {
    tokio::spawn(beside);
    let (grace, graceful) = oneshot::channel::<()>();
    let wait = async {
        let _ = graceful.await;
    };
    let server = axum::serve(listener, router(door)).with_graceful_shutdown(wait);
    let end = async {
        let _ = stopped.await;
        let _ = grace.send(());
        tokio::time::sleep(LAST_ANSWERS).await;
    };
    tokio::select! {
        result = server => if let Err(error) = result { tracing::error!(%error, "the API has ended") },
        () = end => {}
    }
}
