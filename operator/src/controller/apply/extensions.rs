//! Children of kinds that are not Kubernetes' own: an API server may not know them. That is no failure of a look: the pods serve,
//! and the condition IngressReady says what is missing.

use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client};

use super::{Child, Error, Writer};
use crate::absent::is_absent;
use crate::controller::build::ingress;

/// Extensions after they were applied.
#[derive(Default)]
pub(super) struct Extended {
    pub(super) there: Vec<DynamicObject>,
    /// Those that are there and shall not be.
    pub(super) unwanted: Vec<DynamicObject>,
    /// Kinds that the API server does not know, as people write them.
    pub(super) unknown_kinds: Vec<String>,
}

impl Child for DynamicObject {
    fn kind_name(&self) -> String {
        self.types.clone().unwrap_or_default().kind
    }

    fn api(&self, client: Client, namespace: &str) -> Api<Self> {
        Api::namespaced_with(client, namespace, &resource(self))
    }
}

impl Writer<'_> {
    pub(super) async fn extend(
        &mut self,
        desired: Vec<DynamicObject>,
        mut live: Vec<DynamicObject>,
    ) -> Result<Extended, Error> {
        let mut all = Extended::default();
        for desired in desired {
            let found = live
                .iter()
                .position(|found| found.kind_name() == desired.kind_name());
            let found = found.map(|index| live.swap_remove(index));
            let is_new = found.is_none();
            let types = desired.types.clone().unwrap_or_default();
            match self.ensure(desired, found).await {
                Ok(now) => all.there.push(now),
                Err(error) if is_new && is_unknown_kind(&error) => {
                    let kind = format!("{} ({})", types.kind, types.api_version);
                    all.unknown_kinds.push(kind);
                }
                Err(error) => return Err(error),
            }
        }
        all.unwanted = live;
        Ok(all)
    }
}

/// An object is created in a namespace that is there: what is not found is its kind.
fn is_unknown_kind(error: &Error) -> bool {
    let Error::Conflict { source, .. } = error else {
        return false;
    };
    is_absent(source)
}

/// How the API server calls its kind.
fn resource(object: &DynamicObject) -> ApiResource {
    let types = object.types.clone().unwrap_or_default();
    let known = ingress::kinds()
        .into_iter()
        .find(|kind| kind.kind == types.kind && kind.api_version == types.api_version);
    known.unwrap_or_else(|| {
        let (group, version) = types
            .api_version
            .split_once('/')
            .unwrap_or(("", &types.api_version));
        ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &types.kind))
    })
}
