// From nothing to a chat: what a newcomer does first.
import assert from "node:assert/strict";
import { MODES, People } from "../../compat/chat/people.mjs";
import { until } from "../../compat/support/wait.mjs";
import { condition, untruths } from "../support/chat-cluster.mjs";
import { kubectl, list } from "../support/kubectl.mjs";
import { metrics } from "../support/operator.mjs";
import { scenario } from "../support/scenario.mjs";
import { serve } from "../support/serve.mjs";

scenario("a ChatCluster is a chat: clients of all transports come through the ingress and see one order", 120, async (t, open) => {
  const begin = Date.now();
  const { cluster, plane } = await serve(open, "chat", { availability: { topologySpread: "Required" } });
  t.diagnostic(`figures ${JSON.stringify({ "apply to Ready, and served, s": (Date.now() - begin) / 1000 })}`);
  const people = open(new People({ withCredentials: true }));
  const everybody = await Promise.all(Object.values(MODES).flatMap((mode) => [0, 1, 2].map(() => people.enter(plane.url, {}, mode))));
  for (const [i, person] of everybody.entries()) assert.equal(typeof (await person.say(`from ${i}`)).serverOffset, "number");
  await Promise.all(everybody.map((person) => person.settled()));
  for (const person of everybody) assert.deepEqual(person.contents, everybody.map((_, i) => `from ${i}`));
  const nodes = new Set((await cluster.pods()).map(({ spec }) => spec.nodeName));
  assert.equal(nodes.size, 3, "pods are spread over the nodes");
  await until(async () => (await cluster.read()).status.connections === everybody.length, 30_000, "the status counts the clients");
});

scenario("the status says at each step what is so, and columns show it", 90, async (_, open) => {
  const { cluster } = await serve(open, "status", { replicas: 1 });
  const { status } = await cluster.is("Available");
  for (const type of ["Ready", "Available", "NatsConnected", "IngressReady"]) assert.equal(condition({ status }, type)?.status, "True", type);
  for (const type of ["Progressing", "Draining", "Degraded", "ReconciliationPaused"]) assert.equal(condition({ status }, type)?.status, "False", type);
  assert.equal(condition(cluster.seen.find((seen) => seen.status), "Ready").status, "False", "before its pods were ready");
  assert.equal(status.endpoints.apiUrl, `http://status-api.${cluster.namespace}.svc:9091`);
  const [head, line] = (await kubectl(["get", "-n", cluster.namespace, "chatcluster"])).split("\n");
  assert.match(head, /^NAME +READY +/);
  assert.match(line, /^status +True +/);
  assert.match(await kubectl(["explain", "chatcluster.spec.drain"]), /clientsPerSecond/);
  assert.deepEqual(untruths(cluster), []);
});

scenario("nothing is written when nothing changed", 90, async (_, open) => {
  const { cluster } = await serve(open, "idle", { replicas: 1 });
  const versions = async () => {
    const kinds = "chatclusters,statefulsets,services,configmaps,serviceaccounts,secrets,networkpolicies,poddisruptionbudgets,ingresses,pods";
    return (await list(cluster.namespace, kinds)).map(({ kind, metadata }) => `${kind} ${metadata.name} ${metadata.resourceVersion}`).sort();
  };
  // an annotation that means nothing to the operator: it looks, and has nothing to do
  const looks = () => metrics(/^chatcluster_operator_reconciliations_total /);
  const writes = () => metrics(/^chatcluster_operator_writes_total\{/);
  const touch = async (value) => {
    const before = await looks();
    await kubectl(["annotate", "-n", cluster.namespace, "chatcluster", cluster.name, `example.com/touched=${value}`, "--overwrite"]);
    await until(async () => (await looks()) > before, 20_000, "the operator looks");
  };
  await touch("once");
  const [before, written] = [(await versions()).filter((line) => !line.startsWith("ChatCluster ")), await writes()];
  await touch("twice");
  await touch("three times");
  assert.deepEqual((await versions()).filter((line) => !line.startsWith("ChatCluster ")), before);
  assert.equal(await writes(), written);
});
