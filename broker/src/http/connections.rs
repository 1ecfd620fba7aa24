//! HTTP connections: so many at a time and no more, and none that stalls keeps its place.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, Sleep, sleep};
use tracing::{debug, warn};

use super::{Http, Peer};
use crate::owed::{self, Owed};

/// Most connections at a time, fewer where open files are scarce. One more is told so, and closed.
pub const CONNECTIONS_MAX: usize = 1_000;
/// Most bytes of a request's head; a larger one is answered with 431.
const HEAD_BYTES_MAX: usize = 32 << 10;
/// Most headers of a request.
const HEADERS_MAX: usize = 64;
/// Longest that a head takes to arrive, and that a connection stays open between two requests.
const HEAD_PATIENCE: Duration = Duration::from_secs(30);
/// Longest that a client takes nothing of its answer.
const WRITE_PATIENCE: Duration = Duration::from_secs(30);
/// Pause after accepting failed.
const PAUSE: Duration = Duration::from_millis(100);

const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\nretry-after: 1\r\n\
connection: close\r\ncontent-length: 47\r\n\r\nall HTTP connections are taken; try again later";

/// Serves until the task is aborted.
pub async fn serve(listener: TcpListener, app: Router, http: &Http) {
    let places = Arc::new(Semaphore::new(http.connections));
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "cannot accept an HTTP connection; pausing (raise the limit of open files, ulimit -n)");
                sleep(PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            http.counts.refused.add(1);
            let _ = stream.try_write(FULL);
            continue;
        };
        let _ = stream.set_nodelay(true);
        let (app, from) = (TowerToHyperService::new(app.clone()), Peer(peer.ip().to_canonical()));
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(from);
            app.call(request)
        });
        let shell = Arc::clone(&http.shell);
        let is_crowded = move || shell.get().is_some_and(|shell| shell.node.is_crowded());
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_PATIENCE)
            .max_buf_size(HEAD_BYTES_MAX)
            .max_headers(HEADERS_MAX)
            .serve_connection(TokioIo::new(Patient::new(stream, is_crowded)), service);
        http.counts.accepted.add(1);
        let counts = Arc::clone(&http.counts);
        tokio::spawn(async move {
            if let Err(error) = serving.await {
                debug!(%peer, %error, "an HTTP connection ended");
            }
            counts.ended.add(1);
            drop(place);
        });
    }
}

/// A socket whose writes fail once nothing was taken for long, or little while others are given less because of that.
struct Patient<C> {
    stream: TcpStream,
    /// Since the first write that did not get through.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Since everything was last taken.
    owed: Owed,
    all_taken: bool,
    is_crowded: C,
}

impl<C: Fn() -> bool + Unpin> Patient<C> {
    fn new(stream: TcpStream, is_crowded: C) -> Self {
        Self { stream, stalled: None, owed: Owed::default(), all_taken: true, is_crowded }
    }

    fn judge(&mut self, cx: &mut Context<'_>, step: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let unsent = if std::mem::take(&mut self.all_taken) { 0 } else { owed::LITTLE };
        let taken = if let Poll::Ready(Ok(bytes)) = &step { *bytes } else { 0 };
        self.owed.add(taken, (unsent, unsent), Instant::now());
        if step.is_ready() {
            self.stalled = None;
            return step;
        }
        if self.owed.is_slow(owed::LITTLE, Instant::now()) && (self.is_crowded)() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let stalled =
            self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + WRITE_PATIENCE)));
        match stalled.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<C: Fn() -> bool + Unpin> AsyncRead for Patient<C> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<C: Fn() -> bool + Unpin> AsyncWrite for Patient<C> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let step = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.judge(cx, step)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let step = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.judge(cx, step)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Called once all was written.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.all_taken = true;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    /// Writes until the socket takes no more, `ago` after the first byte of an answer of a few.
    async fn fills(ago: Duration, is_crowded: bool, flushed: bool) -> Poll<io::Result<usize>> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let _client = TcpStream::connect(address).await.expect("a connection");
        let (stream, _) = listener.accept().await.expect("a connection");
        let mut socket = Patient::new(stream, move || is_crowded);
        socket.owed.add(1, (0, 0), Instant::now() - ago);
        socket.all_taken = flushed;
        poll_fn(|cx| {
            let mut write = || Pin::new(&mut socket).poll_write(cx, &[7; 1 << 20]);
            let mut last = write();
            while matches!(last, Poll::Ready(Ok(_))) {
                last = write();
            }
            Poll::Ready(last)
        })
        .await
    }

    #[tokio::test]
    async fn se_17_who_takes_long_for_an_answer_while_there_is_no_memory_for_others_is_dropped() {
        let long = Duration::from_secs(100);
        assert!(fills(long, false, false).await.is_pending(), "it is in nobody's way");
        assert!(fills(long, true, true).await.is_pending(), "the one before was taken");
        assert!(fills(Duration::from_secs(29), true, false).await.is_pending());
        assert!(matches!(fills(long, true, false).await, Poll::Ready(Err(_))));
    }
}
