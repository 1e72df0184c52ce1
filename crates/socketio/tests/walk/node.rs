//! A node on a thread of its own, as the server starts it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use chatcluster_socketio::adapter::Cluster;
use chatcluster_socketio::adapter::memory::Memory;
use chatcluster_socketio::engineio::serve;
use chatcluster_socketio::{Config, Namespace, NodeId, Recovery, SocketIo};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

pub(crate) struct Node {
    pub(crate) io: SocketIo,
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// A configuration with recovery.
pub(crate) fn config() -> Config {
    Config {
        recovery: Some(Recovery::default()),
        ..Config::default()
    }
}

impl Node {
    /// Starts a node on as many threads.
    pub(crate) fn start(
        cluster: &Memory,
        index: usize,
        config: Config,
        threads: usize,
        set_up: impl FnOnce(&SocketIo),
    ) -> Self {
        let cluster = cluster.node(NodeId::new(&index.to_string()));
        Self::over(cluster, config, threads, set_up)
    }

    /// Starts the node of a cluster.
    pub(crate) fn over(
        cluster: Arc<dyn Cluster>,
        config: Config,
        threads: usize,
        set_up: impl FnOnce(&SocketIo),
    ) -> Self {
        let mut builder = if threads == 1 {
            tokio::runtime::Builder::new_current_thread()
        } else {
            tokio::runtime::Builder::new_multi_thread()
        };
        let runtime = builder
            .worker_threads(threads)
            .enable_all()
            .build()
            .expect("a runtime");
        let inside = runtime.enter();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a TCP option");
        let address = listener.local_addr().expect("an address");
        let listener = TcpListener::from_std(listener).expect("a listener");
        let io = SocketIo::builder()
            .config(config)
            .cluster(cluster)
            .build()
            .expect("a configuration that holds");
        drop(inside);
        {
            let _inside = runtime.enter();
            set_up(&io);
        }
        let (stop, stopped) = oneshot::channel::<()>();
        let closing = io.clone();
        let serving = async move {
            let options = serve::Options {
                grace: Duration::from_millis(200),
                ..serve::Options::default()
            };
            serve::serve(listener, closing.service(), options, async {
                let _stop = stopped.await;
                closing.close(Duration::from_millis(500)).await;
            })
            .await;
        };
        Self {
            io,
            address,
            stop: Some(stop),
            thread: Some(std::thread::spawn(move || runtime.block_on(serving))),
        }
    }

    /// A node alone.
    pub(crate) fn alone(config: Config, threads: usize, set_up: impl FnOnce(&SocketIo)) -> Self {
        Self::start(&Memory::default(), 0, config, threads, set_up)
    }

    pub(crate) fn main(&self) -> Arc<Namespace> {
        self.io.of("/").expect("every test sets up /")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            assert!(
                ended.is_none_or(|ended| ended.is_ok()),
                "a node's thread panicked"
            );
        }
    }
}
