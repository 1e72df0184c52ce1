//! Values by type that travel with a socket: what middleware found out, for the handlers.

use std::any::{Any, TypeId};
use std::sync::Arc;

use parking_lot::Mutex;
use smallvec::SmallVec;

type Entry = (TypeId, Arc<dyn Any + Send + Sync>);

/// One value per type. Not stored with the session: a recovered socket gets what its new connect's middleware inserts.
#[derive(Default)]
pub(crate) struct Extensions(Mutex<SmallVec<[Entry; 1]>>);

impl Extensions {
    pub(crate) fn insert<T: Send + Sync + 'static>(&self, value: Arc<T>) {
        let id = TypeId::of::<T>();
        let mut entries = self.0.lock();
        entries.retain(|(other, _)| *other != id);
        entries.push((id, value));
    }

    pub(crate) fn get<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let id = TypeId::of::<T>();
        let entries = self.0.lock();
        let found = entries.iter().find(|(other, _)| *other == id)?;
        found.1.clone().downcast().ok()
    }

    pub(crate) fn take(&self) -> Self {
        Self(Mutex::new(std::mem::take(&mut *self.0.lock())))
    }
}
