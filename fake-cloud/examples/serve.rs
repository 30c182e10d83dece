//! Serves the fake cloud on a free loopback port and prints its address: for the conformance tests of real clients. Its
//! machines start and end within seconds.
//!
//! ```text
//! cargo run -p sawhorse-fake-cloud --example serve
//! AWS_ENDPOINT_URL=http://127.0.0.1:PORT python fake-cloud/tests/clients/boto3_conformance.py
//! ```

use jiff::SignedDuration;
use sawhorse_ambient::Clock;
use sawhorse_fake_cloud::{
    app::{SharedWorld, app, drive},
    world::{CloudConfig, DelayRange, Delays, World},
};
use std::io::Write;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let clock = Clock::from_system();
    let quick = |max| DelayRange { min: SignedDuration::from_secs(1), max: SignedDuration::from_secs(max) };
    let delays = Delays { pending: quick(3), shutting_down: quick(3), stopping: quick(3), ..Delays::default() };
    let world = World::new(&CloudConfig { delays, ..CloudConfig::default() }, clock.now())?;
    let world = SharedWorld::new(world, clock);
    tokio::spawn(drive(world.clone()));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    writeln!(std::io::stdout(), "http://{}", listener.local_addr()?)?;
    axum::serve(listener, app(world)).await?;
    Ok(())
}
