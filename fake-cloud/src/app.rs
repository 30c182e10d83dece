//! One world, shared by its doors; the router of all doors; and the task that lets the world's time pass.

use crate::{control, ec2, world::World};
use axum::Router;
use jiff::Timestamp;
use sawhorse_ambient::Clock;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// A world that several tasks use. Cheap to clone.
///
/// The lock is taken only inside [`SharedWorld::with`], which does not wait for anything: it is never held over an `.await`.
#[derive(Clone, Debug)]
pub struct SharedWorld {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    world: Mutex<World>,
    clock: Clock,
    version: watch::Sender<u64>,
    /// When the world next changes by itself.
    due: watch::Sender<Option<Timestamp>>,
}

impl SharedWorld {
    /// Shares a world whose time is the clock's.
    pub fn new(world: World, clock: Clock) -> Self {
        let (version, due) = (watch::Sender::new(world.version()), watch::Sender::new(world.next_due()));
        Self { inner: Arc::new(Inner { world: Mutex::new(world), clock, version, due }) }
    }

    /// Brings the world up to the present, lets `act` use it, and tells watchers if anything changed.
    pub fn with<T>(&self, act: impl FnOnce(&mut World) -> T) -> T {
        // A panic of another user leaves a world that is still the best one there is.
        let mut world = self.inner.world.lock().unwrap_or_else(PoisonError::into_inner);
        world.advance(self.inner.clock.now());
        let result = act(&mut world);
        let version = world.version();
        self.inner.version.send_if_modified(|known| std::mem::replace(known, version) != version);
        let due = world.next_due();
        self.inner.due.send_if_modified(|known| std::mem::replace(known, due) != due);
        result
    }

    /// The clock that the world follows.
    pub fn clock(&self) -> Clock {
        self.inner.clock
    }

    /// Waits until the world's version differs from `seen` and returns it; at once if it already does.
    pub async fn changed(&self, seen: u64) -> u64 {
        let mut versions = self.inner.version.subscribe();
        match versions.wait_for(|version| *version != seen).await {
            Ok(version) => *version,
            Err(_) => unreachable!("the sender lives as long as `self`"),
        }
    }
}

/// Everything the world serves: the control door under `/control/v1/`, the vendors' doors everywhere else.
pub fn app(world: SharedWorld) -> Router {
    control::router(world.clone(), None).merge(doors(world))
}

/// Everything the world serves, the control door and the page only to those who know the token: for networks that others
/// are on.
pub fn guarded_app(world: SharedWorld, token: &str) -> Router {
    control::router(world.clone(), Some(token)).merge(doors(world))
}

/// The vendors' doors alone, for whoever must not script the world.
pub fn doors(world: SharedWorld) -> Router {
    ec2::door::router(world)
}

/// Lets the world's time pass: wakes up whenever something is due. Runs until it is dropped.
pub async fn drive(world: SharedWorld) {
    let mut dues = world.inner.due.subscribe();
    loop {
        let due = *dues.borrow_and_update();
        tokio::select! {
            biased;
            changed = dues.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            () = sleep_until(world.clock(), due) => world.with(|_| ()),
        }
    }
}

async fn sleep_until(clock: Clock, due: Option<Timestamp>) {
    match due {
        Some(due) => clock.sleep_until(due).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::{SharedWorld, drive};
    use crate::world::{CloudConfig, InstanceState, LaunchSettings, RunRequest, World};
    use sawhorse_ambient::Clock;

    fn shared() -> SharedWorld {
        let clock = Clock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
        SharedWorld::new(World::new(&CloudConfig::default(), clock.now()).unwrap(), clock)
    }

    fn launch(world: &SharedWorld) -> String {
        world.with(|world| {
            let path = "/aws/service/eks/optimized-ami/1.35/amazon-linux-2023/x86_64/standard/recommended/image_id";
            let settings = LaunchSettings {
                image_id: world.parameter(path).map(str::to_owned),
                machine_type: Some("m5.large".to_owned()),
                ..LaunchSettings::default()
            };
            let request = RunRequest { settings, min: 1, max: 1, ..RunRequest::default() };
            world.run_instances(&request).unwrap().remove(0)
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_watcher_sees_the_machine_run_without_asking_for_it() {
        let world = shared();
        let driver = tokio::spawn(drive(world.clone()));
        let id = launch(&world);
        let mut seen = 0;
        while world.with(|world| world.instance(&id).unwrap().state) == InstanceState::Pending {
            seen = world.changed(seen).await;
        }
        let running = world.with(|world| world.running_machines());
        let boot = running[0].running_since.duration_since("2026-01-01T00:00:00Z".parse().unwrap());
        assert!((4..=20).contains(&boot.as_secs()), "{boot}");
        // The driver woke up at that time, not later.
        assert_eq!(world.clock().now().duration_since(running[0].running_since).as_secs(), 0);
        driver.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn reading_wakes_no_watcher() {
        let world = shared();
        let seen = world.changed(0).await;
        world.with(|world| world.instances().count());
        let woken = tokio::time::timeout(std::time::Duration::from_secs(3600), world.changed(seen)).await;
        assert!(woken.is_err());
    }
}
