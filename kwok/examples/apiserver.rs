//! Serves the embedded API alone on a loopback port, for `kubectl --server`: no controllers, no nodes.

use sawhorse_ambient::{Clock, Seed};
use sawhorse_kwok::apiserver::{ApiServer, Config};
use std::io::Write;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let server = ApiServer::new(Config::new(Clock::from_system(), Seed(1)));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    writeln!(std::io::stdout(), "http://{}", listener.local_addr()?)?;
    axum::serve(listener, server.router()).await?;
    Ok(())
}
