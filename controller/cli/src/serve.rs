//! Routers on TCP ports.

use anyhow::Context;
use axum::Router;
use std::{
    io::Read,
    net::{IpAddr, SocketAddr},
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

/// Listens on `port` (0: a free one); where that is.
pub(crate) async fn listen(address: IpAddr, port: u16, what: &str) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((address, port))
        .await
        .with_context(|| format!("{what}: port {port} of {address} cannot be listened on: choose another, or 0"))?;
    let at = listener.local_addr()?;
    Ok((listener, at))
}

/// The control door's token: the given one, else one that is drawn where others than this machine can reach the door.
pub(crate) fn control_token(given: Option<String>, address: IpAddr) -> anyhow::Result<Option<String>> {
    if given.is_some() || address.is_loopback() {
        return Ok(given);
    }
    let mut bytes = [0_u8; 16];
    let drawn = std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    drawn.context("no token can be drawn for the control door: serve it on loopback")?;
    Ok(Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
}

/// Ends when the process is asked to stop, by Ctrl-C or SIGTERM.
pub(crate) fn interrupted() -> std::io::Result<impl Future<Output = ()>> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            biased;
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Serves `router` until `stop`; connections that are open then are ended with the set.
pub(crate) fn serve(tasks: &mut JoinSet<()>, listener: TcpListener, router: Router, stop: &CancellationToken) {
    let stop = stop.clone();
    tasks.spawn(async move {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            outcome = async { axum::serve(listener, router).await } => {
                if let Err(error) = outcome {
                    eprintln!("sawhorse: a server ended: {error}");
                }
            }
        }
    });
}
