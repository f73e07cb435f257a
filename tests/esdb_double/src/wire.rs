//! Connections that can be cut: bytes go through a pipe between a socket and the service.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, copy, duplex, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::Shared;

/// Bytes that may be in a pipe.
const PIPE: usize = 1 << 16;

/// Takes connections for as long as the service is there.
pub(crate) async fn listen(
    listener: TcpListener,
    shared: Arc<Shared>,
    connections: mpsc::Sender<std::io::Result<DuplexStream>>,
) {
    while let Ok((mut socket, _)) = listener.accept().await {
        // Dropped at once: to the client the connection breaks as soon as it is made.
        if shared.gone.load(Ordering::SeqCst) {
            continue;
        }
        let _ = socket.set_nodelay(true);
        let (near, far) = duplex(PIPE);
        let mut cuts = shared.cuts.subscribe();
        cuts.mark_unchanged();
        if connections.send(Ok(far)).await.is_err() {
            return;
        }
        tokio::spawn(async move {
            tokio::select! {
                _ = relay(&mut socket, near) => {}
                _ = cuts.changed() => {}
            }
        });
    }
}

/// Carries bytes both ways. It acknowledges at once what comes: the client waits for that between two small pieces of
/// a request (it does not switch Nagle's algorithm off), and a system that takes its time makes each call 40 ms long.
async fn relay(socket: &mut TcpStream, near: DuplexStream) -> std::io::Result<()> {
    let (mut from_socket, mut to_socket) = socket.split();
    let (mut from_near, mut to_near) = split(near);
    let inwards = async {
        let mut buffer = vec![0; PIPE];
        loop {
            #[cfg(target_os = "linux")]
            let _ = from_socket.as_ref().set_quickack(true);
            let count = from_socket.read(&mut buffer).await?;
            if count == 0 {
                return to_near.shutdown().await;
            }
            to_near.write_all(&buffer[..count]).await?;
        }
    };
    let outwards = async {
        copy(&mut from_near, &mut to_socket).await?;
        to_socket.shutdown().await
    };
    tokio::try_join!(inwards, outwards).map(|_| ())
}
