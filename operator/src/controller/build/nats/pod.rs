//! The pod of NATS, which meets the restricted Pod Security Standard whatever its image says.

use chatcluster_chat_api::cluster::NatsLimits;
use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, Container, EnvVar, PodSpec, PodTemplateSpec, Probe,
    ResourceRequirements, Volume,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::super::pod::{container, security_context, volumes};
use crate::controller::validate::{ManagedNats, Validated};
use crate::names::{NATS_CONFIG_KEY, NATS_PROGRAM, paths, ports};

const CONFIG: &str = "config";
/// Official images have the program in the root folder or where Alpine puts it.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin:/";
/// Told to end, it writes what it holds and closes its files: that takes as long as the disk.
const GRACE_SECONDS: i64 = 60;

pub(super) fn template(cluster: &Validated, nats: &ManagedNats) -> PodTemplateSpec {
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(cluster.names.nats_labels()),
            ..Default::default()
        }),
        spec: Some(PodSpec {
            service_account_name: Some(cluster.names.own()),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            security_context: Some(security_context()),
            termination_grace_period_seconds: Some(GRACE_SECONDS),
            containers: vec![server(nats)],
            volumes: Some(vec![Volume {
                name: CONFIG.to_owned(),
                config_map: Some(ConfigMapVolumeSource {
                    name: cluster.names.nats(),
                    ..Default::default()
                }),
                ..Default::default()
            }]),
            ..Default::default()
        }),
    }
}

/// Without a hook before its end: lame duck mode takes the log away at once and ends seconds later than SIGTERM, which
/// helps where there are other servers to go to (`docs/adr/0028-managed-nats.md`).
fn server(nats: &ManagedNats) -> Container {
    let config = format!("{}/{NATS_CONFIG_KEY}", paths::NATS_CONFIG);
    Container {
        name: NATS_PROGRAM.to_owned(),
        image: Some(nats.image.clone()),
        image_pull_policy: Some(nats.pull_policy.as_str().to_owned()),
        command: Some(container::words(&[NATS_PROGRAM, "--config", &config])),
        env: Some(environment(nats)),
        ports: Some(vec![
            container::port(ports::NATS_NAME, ports::NATS),
            container::port(ports::MONITOR_NAME, ports::MONITOR),
        ]),
        // Before it listens NATS reads what the volume holds, which takes minutes when that is much: fifteen at most.
        startup_probe: Some(probe("/healthz?js-server-only=true", 2, 450)),
        // Only JetStream that is off is mended by another start.
        liveness_probe: Some(probe("/healthz?js-enabled-only=true", 10, 6)),
        readiness_probe: Some(probe("/healthz?js-server-only=true", 2, 2)),
        resources: Some(resources(nats)),
        security_context: Some(container::security_context()),
        volume_mounts: Some(vec![
            volumes::mount(CONFIG, paths::NATS_CONFIG, true),
            volumes::mount(super::DATA, paths::NATS_DATA, false),
        ]),
        ..Default::default()
    }
}

fn environment(nats: &ManagedNats) -> Vec<EnvVar> {
    let variable = |name: &str, value: String| EnvVar {
        name: name.to_owned(),
        value: Some(value),
        value_from: None,
    };
    let limits = nats.spec.resources.limits.as_ref();
    let memory = limits.and_then(NatsLimits::memory_bytes);
    let memory = memory.map(|bytes| variable("GOMEMLIMIT", (bytes / 10 * 9).to_string()));
    let mut all = vec![variable("PATH", PATH.to_owned())];
    all.extend(memory);
    all
}

fn resources(nats: &ManagedNats) -> ResourceRequirements {
    let quantity = |name: &str, amount: &String| (name.to_owned(), Quantity(amount.clone()));
    let asked = &nats.spec.resources;
    let limits = asked.limits.as_ref().map(|limits| {
        let cpu = limits.cpu.iter().map(|amount| quantity("cpu", amount));
        let memory = limits.memory.iter();
        cpu.chain(memory.map(|amount| quantity("memory", amount)))
            .collect()
    });
    ResourceRequirements {
        requests: Some(
            [
                quantity("cpu", &asked.requests.cpu),
                quantity("memory", &asked.requests.memory),
            ]
            .into(),
        ),
        limits,
        ..Default::default()
    }
}

fn probe(path: &str, period_seconds: i32, failures: i32) -> Probe {
    container::probe(ports::MONITOR_NAME, path, period_seconds, failures)
}
