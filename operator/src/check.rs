//! `chatcluster-operator check`: whether an operator acts. For `helm test`, and for people; it needs no right that an operator
//! does not have.
//!
//! That its pods are ready says only that processes run: they wait for a lease, and watch what may not be installed. What is
//! looked at here is what an operator does: it renews its lease, in an API server that knows ChatCluster.

use std::time::Duration;

use anyhow::{Context as _, bail};
use chatcluster_chat_api::cluster::ChatCluster;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};
use tokio::time::{sleep, timeout};

use crate::absent::is_absent;
use crate::args::RunArgs;

/// Says who acts.
///
/// # Errors
/// Nobody does, or it cannot be seen.
pub async fn check(args: &RunArgs) -> anyhow::Result<String> {
    let client = Client::try_default()
        .await
        .context("cannot find a Kubernetes API server")?;
    check_by(client, args).await
}

async fn check_by(client: Client, args: &RunArgs) -> anyhow::Result<String> {
    let patience = args.lease() * 2;
    match timeout(patience, is_defined(client.clone(), args)).await {
        Ok(defined) => defined?,
        Err(_) => bail!("the API server does not answer within {patience:?}"),
    }
    let name = format!("{}/{}", args.operator_namespace, args.lease_name);
    match timeout(patience, renewal(client, args)).await {
        Ok(holder) => holder.with_context(|| format!("cannot read the lease {name}")),
        Err(_) => {
            bail!("nobody renews the lease {name}: look at the operator's pods and what they log")
        }
    }
}

async fn is_defined(client: Client, args: &RunArgs) -> anyhow::Result<()> {
    let clusters: Api<ChatCluster> = match &args.watch_namespace {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    };
    match clusters.list(&ListParams::default().limit(1)).await {
        Err(error) if is_absent(&error) => {
            bail!(
                "the API server does not know ChatCluster: apply what `chatcluster-operator crd` prints"
            )
        }
        listed => listed.map(drop).context("cannot list ChatClusters"),
    }
}

/// Waits until the lease is written by somebody who holds it, and says who.
async fn renewal(client: Client, args: &RunArgs) -> Result<String, kube::Error> {
    let leases: Api<Lease> = Api::namespaced(client, &args.operator_namespace);
    let mut first = None;
    loop {
        if let Some(lease) = leases.get_opt(&args.lease_name).await? {
            let version = lease.resource_version();
            let spec = lease.spec.unwrap_or_default();
            let holder = spec.holder_identity.filter(|holder| !holder.is_empty());
            match (holder, &first) {
                (Some(holder), Some(first)) if *first != version => {
                    return Ok(format!("{holder} acts, and renews its lease"));
                }
                (Some(_), Some(_)) => {}
                (Some(_), None) => first = Some(version),
                (None, _) => first = None,
            }
        }
        sleep(pause(args)).await;
    }
}

fn pause(args: &RunArgs) -> Duration {
    args.lease() / 15
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::Args;
    use crate::fixtures::Api as FakeApi;
    use crate::leader::Election;

    fn args() -> RunArgs {
        Args::try_parse_from(["chatcluster-operator"]).unwrap().run
    }

    fn election(api: &FakeApi, args: &RunArgs) -> Election {
        let (namespace, name) = (&args.operator_namespace, &args.lease_name);
        Election::new(api.client(), namespace, name, "pod-0", args.lease())
    }

    #[tokio::test(start_paused = true)]
    async fn an_operator_that_renews_its_lease_acts() {
        let (api, args) = (FakeApi::default(), args());
        let election = election(&api, &args);
        let held = election.win().await;
        let said = tokio::select! {
            said = check_by(api.client(), &args) => said.unwrap(),
            lost = election.hold(held) => panic!("{lost}"),
        };
        assert_eq!(said, "pod-0 acts, and renews its lease");
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_nobody_renews_is_not_enough() {
        let (api, args) = (FakeApi::default(), args());
        let error = check_by(api.client(), &args).await.unwrap_err();
        let nobody = "nobody renews the lease chatcluster-system/chatcluster-operator";
        assert!(error.to_string().starts_with(nobody), "{error:#}");
        election(&api, &args).win().await;
        let error = check_by(api.client(), &args).await.unwrap_err();
        assert!(error.to_string().starts_with(nobody), "{error:#}");
    }

    #[tokio::test]
    async fn without_the_definition_nobody_can_act() {
        let api = FakeApi::default();
        api.lacks(&["chatclusters"]);
        let error = check_by(api.client(), &args()).await.unwrap_err();
        assert!(
            error.to_string().contains("does not know ChatCluster"),
            "{error:#}"
        );
    }
}
