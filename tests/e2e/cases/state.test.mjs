// Suspended, resumed, paused; and a spec that cannot be carried out.
import assert from "node:assert/strict";
import { People } from "../../compat/chat/people.mjs";
import { until } from "../../compat/support/wait.mjs";
import { condition, NEXT_IMAGE, untruths } from "../support/chat-cluster.mjs";
import { apply, kubectl } from "../support/kubectl.mjs";
import { scenario } from "../support/scenario.mjs";
import { serve } from "../support/serve.mjs";

scenario("suspended, no pod is left; resumed, the history is there", 200, async (_, open) => {
  const { cluster, plane } = await serve(open, "suspend", { replicas: 2 });
  const people = open(new People({ withCredentials: true }));
  const writer = await people.enter(plane.url);
  await writer.say("before");
  await cluster.change({ state: "Suspended" });
  await until(async () => (await cluster.pods()).length === 0, 60_000, "no pod is left");
  await cluster.is("Ready", "True", "Suspended");
  await cluster.change({ state: "Running" });
  await cluster.is("Ready");
  const reader = await people.enter(plane.url, { serverOffset: Number.MAX_SAFE_INTEGER });
  const { messages } = await reader.ask("history", { after: 0, limit: 10 });
  assert.deepEqual(messages.map(({ content }) => content), ["before"]);
  assert.deepEqual(untruths(cluster), []);
});

scenario("paused, nothing is done, and said so; active again, it is", 150, async (_, open) => {
  const { cluster } = await serve(open, "pause", { replicas: 1 });
  await cluster.change({ reconciliation: "Paused", image: NEXT_IMAGE });
  await cluster.is("ReconciliationPaused", "True");
  await kubectl(["delete", "service", "-n", cluster.namespace, cluster.name]);
  const [pod] = await cluster.pods();
  assert.match(pod.spec.containers[0].image, /:1$/);
  await cluster.change({ reconciliation: "Active" });
  await cluster.is("Ready", "True", undefined, 90_000);
  assert.match((await cluster.pods())[0].spec.containers[0].image, /:2$/);
  await kubectl(["get", "service", "-n", cluster.namespace, cluster.name]);
});

scenario("what a hand has changed in a child is put back, and a foreign object of the same name is named and left alone", 150, async (_, open) => {
  const { cluster } = await serve(open, "hands", { replicas: 1 });
  await kubectl(["patch", "-n", cluster.namespace, "service", cluster.name, "--type=merge", "-p", JSON.stringify({ spec: { selector: { "chatcluster.dev/accepting": "maybe" } } })]);
  const selector = async () => (await kubectl(["get", "-n", cluster.namespace, "service", cluster.name, "-o", "jsonpath={.spec.selector}"]));
  await until(async () => (await selector()).includes('"true"'), 30_000, "the selector is put back");
  await apply([{ apiVersion: "v1", kind: "Service", metadata: { name: "other", namespace: cluster.namespace }, spec: { ports: [{ port: 80 }] } }]);
  await apply([{ apiVersion: "chatcluster.dev/v1alpha1", kind: "ChatCluster", metadata: { name: "other", namespace: cluster.namespace }, spec: cluster.spec }]);
  const degraded = async () => condition(JSON.parse(await kubectl(["get", "-n", cluster.namespace, "chatcluster", "other", "-o", "json"])), "Degraded");
  await until(async () => (await degraded())?.status === "True", 30_000, "it says that something is in its way");
  assert.match((await degraded()).message, /Service .other. exists/);
});

scenario("a Secret that is missing, a NATS that is not there: the status says which, and the way out is enough", 200, async (_, open) => {
  const { cluster } = await serve(open, "wrong", { replicas: 1 });
  const { nats } = cluster.spec;
  await cluster.change({ auth: { type: "Jwt", jwt: { keySecretRef: { name: "absent", key: "key" } } } });
  const { status } = await cluster.is("Degraded", "True");
  assert.match(condition({ status }, "Degraded").message, /absent/);
  assert.equal(status.readyReplicas, 1, "the last good state runs on");
  await apply([{ apiVersion: "v1", kind: "Secret", metadata: { name: "absent", namespace: cluster.namespace }, stringData: { key: "a-key-of-thirty-two-characters-at-least" } }]);
  await cluster.change({ auth: { type: "None" } });
  await cluster.is("Ready", "True", undefined, 120_000);
  await cluster.change({ nats: { ...nats, urls: ["nats://nowhere.messaging.svc:4222"] } });
  const named = async () => {
    const { status: now } = await cluster.is("NatsConnected", "False", "PodsNotConnected");
    return condition({ status: now }, "NatsConnected").message.includes("nowhere.messaging") && now;
  };
  const alone = await until(named, 90_000, "it names the address");
  assert.equal(alone.readyReplicas, 1, "the old one serves on");
  await cluster.change({ nats });
  await cluster.is("Ready", "True", undefined, 120_000);
});
