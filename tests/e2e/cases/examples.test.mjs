// The examples of `examples/`, as they stand. What they name is not there (registries, NATS, a storage class), so they are not
// served: the operator must make everything that they ask for, and say what is missing.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { until } from "../../compat/support/wait.mjs";
import { condition } from "../support/chat-cluster.mjs";
import { apply, get, kubectl, list } from "../support/kubectl.mjs";
import { scenario } from "../support/scenario.mjs";

const NAMESPACE = "team";
const MADE = 60_000;
/** The Secrets that chatcluster-full.yaml names. */
const SECRETS = {
  "support-jwt": { "jwks.json": '{"keys": []}' },
  "support-api": { tokens: "a-token-of-more-than-thirty-two-characters" },
  "support-nats": { "support.creds": "none" },
  "nats-ca": { "ca.crt": "none" },
  "support-nats-client": { "tls.crt": "none", "tls.key": "none" },
};

const example = (name) => readFileSync(new URL(`../../../examples/chatcluster-${name}.yaml`, import.meta.url), "utf8");

async function team(open) {
  await apply([{ apiVersion: "v1", kind: "Namespace", metadata: { name: NAMESPACE } }]);
  open({ namespace: NAMESPACE, close: () => kubectl(["delete", "namespace", NAMESPACE, "--timeout=90s"], { deadline: 95_000 }) });
}

/** Waits until a condition says so. */
function says(name, type, status, message) {
  let last;
  return until(async () => {
    last = condition(await get(NAMESPACE, "chatcluster", name), type);
    return last?.status === status && message.test(last.message) && last;
  }, MADE, () => `${type} of ${name} is ${status} and says ${message}; it is ${JSON.stringify(last)}`);
}

/** Kinds and names of what belongs to a ChatCluster. */
async function children(name) {
  const kinds = "statefulsets,services,configmaps,secrets,serviceaccounts,networkpolicies,poddisruptionbudgets,ingresses";
  const all = await list(NAMESPACE, kinds, `app.kubernetes.io/instance=${name}`);
  return all.map(({ kind, metadata }) => `${kind} ${metadata.name.replace(/-config-[0-9a-f]{16}$/, "-config")}`).sort();
}

/** Waits until exactly these are there. */
async function has(name, expected) {
  let last;
  await until(async () => JSON.stringify((last = await children(name))) === JSON.stringify(expected.toSorted()), MADE, () => `children of ${name}; there are ${last}`);
}

scenario("the full example: its missing Secrets are named; with them everything is made that it asks for", 200, async (_, open) => {
  await team(open);
  await apply(example("full"));
  const { message } = await says("support", "Degraded", "True", /support-jwt/);
  for (const name of Object.keys(SECRETS)) assert.ok(message.includes(`'${name}'`), `${name} in ${message}`);
  assert.deepEqual(await children("support"), []);
  await apply(Object.entries(SECRETS).map(([name, stringData]) => ({ apiVersion: "v1", kind: "Secret", metadata: { name, namespace: NAMESPACE }, stringData })));
  await has("support", [
    "ConfigMap support-config", "Ingress support", "NetworkPolicy support", "PodDisruptionBudget support", "Secret support-peers",
    "Service support", "Service support-api", "Service support-pods", "ServiceAccount support", "StatefulSet support",
  ]);
  const { spec } = await get(NAMESPACE, "statefulset", "support");
  assert.equal(spec.replicas, 5);
  assert.equal((await get(NAMESPACE, "ingress", "support")).spec.rules[0].host, "support.example.com");
  await says("support", "Available", "False", /./);
  // its policy is Drain, and no server has a client: nothing is waited for
  await kubectl(["delete", "-n", NAMESPACE, "chatcluster", "support", "--timeout=60s"], { deadline: 65_000 });
});

scenario("the example with NATS, and the smallest one: everything is made, and what NATS waits for is named", 200, async (_, open) => {
  await team(open);
  await apply(example("managed"));
  await apply(example("minimal").replace("name: chat\n", `name: chat\n  namespace: ${NAMESPACE}\n`));
  const both = (name) => [
    "ConfigMap NAME-config", "NetworkPolicy NAME", "PodDisruptionBudget NAME", "Secret NAME-peers", "Service NAME", "Service NAME-pods",
    "ServiceAccount NAME", "StatefulSet NAME", "ConfigMap NAME-nats", "NetworkPolicy NAME-nats", "Secret NAME-nats", "Service NAME-nats", "StatefulSet NAME-nats",
  ].map((line) => line.replace("NAME", name));
  await has("lounge", [...both("lounge"), "Ingress lounge"]);
  await has("chat", both("chat"));
  for (const name of ["lounge", "chat"]) await says(name, "Ready", "False", /nats/i);
  const { spec } = await get(NAMESPACE, "statefulset", "lounge-nats");
  assert.equal(spec.volumeClaimTemplates[0].spec.storageClassName, "fast");
  await kubectl(["delete", "-n", NAMESPACE, "chatcluster", "lounge", "--timeout=60s"], { deadline: 65_000 });
});
