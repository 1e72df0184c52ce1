//! The nats-server that the operator runs. It is written before the pods that look for it; they wait for each other.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::networking::v1::NetworkPolicy;

use super::{Error, Writer};
use crate::controller::build::Nats;
use crate::controller::dereference::LiveNats;

/// NATS after it was applied.
#[derive(Default)]
pub(super) struct AppliedNats {
    pub(super) stateful_set: Option<StatefulSet>,
    /// One that is there and shall not be.
    pub(super) unwanted: Option<NetworkPolicy>,
}

impl Writer<'_> {
    /// What is there although no NATS is asked for is left alone: it cannot have been made for this ChatCluster, whose mode
    /// does not change.
    pub(super) async fn ensure_nats(
        &mut self,
        desired: Option<Nats>,
        live: LiveNats,
    ) -> Result<AppliedNats, Error> {
        let Some(Nats {
            secret,
            config_map,
            service,
            network_policy,
            stateful_set,
        }) = desired
        else {
            return Ok(AppliedNats::default());
        };
        self.ensure(secret, live.secret).await?;
        self.ensure(config_map, live.config_map).await?;
        self.ensure(service, live.service).await?;
        let (_, unwanted) = self.ensure_if(network_policy, live.network_policy).await?;
        let stateful_set = self.ensure(stateful_set, live.stateful_set).await?;
        Ok(AppliedNats {
            stateful_set: Some(stateful_set),
            unwanted,
        })
    }
}
