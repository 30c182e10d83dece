//! CapacityBuffers: for which pods they keep room, and whether it is there (spec core 2.18). That the room is bought and not
//! taken away is the provisioner's and disruption's: they find its pods in the snapshot.

use super::{Context, Next, ReconcileError};
use kube::Api;
use sawhorse_core::{
    api::CapacityBuffer,
    lifecycle::buffer_with_status,
    model::{BufferKey, BufferRoom},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

/// What the last pass of provisioning found for each buffer.
#[derive(Clone, Default)]
pub(crate) struct BufferRooms(Arc<Mutex<BTreeMap<BufferKey, BufferRoom>>>);

impl BufferRooms {
    /// Replaces what was known; the buffers for which that is new.
    fn replace(&self, rooms: BTreeMap<BufferKey, BufferRoom>) -> BTreeSet<BufferKey> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = rooms.iter().filter(|(key, room)| known.get(*key) != Some(*room));
        let changed = changed.map(|(key, _)| key.clone()).collect();
        *known = rooms;
        changed
    }

    fn of(&self, key: &BufferKey) -> Option<BufferRoom> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).copied()
    }
}

/// A pass of provisioning has found this.
pub(super) fn found(ctx: &Context, rooms: BTreeMap<BufferKey, BufferRoom>) {
    for key in ctx.memory.buffer_rooms.replace(rooms) {
        ctx.queues.capacity_buffers.add(key);
    }
}

/// Brings the status of one buffer up to date.
pub(super) async fn reconcile(ctx: Context, key: BufferKey) -> Result<Next, ReconcileError> {
    let known = ctx.mirror.read(|state| state.capacity_buffer(&key).map(|buffer| (state.resolved(&buffer), buffer)));
    let Some((resolved, buffer)) = known.filter(|(_, buffer)| buffer.metadata.deletion_timestamp.is_none()) else {
        return Ok(Next::OnChange);
    };
    let after = buffer_with_status(&buffer, &resolved, ctx.memory.buffer_rooms.of(&key), ctx.now());
    let conditions = |buffer: &CapacityBuffer| buffer.status.clone().unwrap_or_default().conditions;
    let message = "condition of capacitybuffer changed";
    let both = [conditions(&buffer), conditions(&after)];
    ctx.say_changes("capacitybuffer", message, ("CapacityBuffer", &key), both.each_ref().map(Vec::as_slice));
    let api = Api::namespaced(ctx.apply.client.clone(), &key.namespace);
    ctx.apply.update(&api, &*buffer, &after).await?;
    Ok(Next::OnChange)
}
