// A ChatCluster that is deleted leaves nothing, whoever is there to see it.
import assert from "node:assert/strict";
import { until } from "../../compat/support/wait.mjs";
import { People } from "../../compat/chat/people.mjs";
import { get, kubectl, list } from "../support/kubectl.mjs";
import { scenario } from "../support/scenario.mjs";
import { serve } from "../support/serve.mjs";

scenario("a deleted ChatCluster leaves no object and no pod", 120, async (_, open) => {
  const { cluster } = await serve(open, "delete", { replicas: 2 });
  await kubectl(["delete", "-n", cluster.namespace, "chatcluster", cluster.name, "--timeout=30s"], { deadline: 35_000 });
  const kinds = "statefulsets,services,configmaps,serviceaccounts,secrets,networkpolicies,poddisruptionbudgets,ingresses,pods";
  const left = async () => (await list(cluster.namespace, kinds, `app.kubernetes.io/instance=${cluster.name}`)).map(({ kind, metadata }) => `${kind} ${metadata.name}`);
  await until(async () => (await left()).length === 0, 60_000, "everything is gone");
  assert.deepEqual(await left(), []);
});

scenario("with deletionPolicy Drain clients are let go first, at the pace; a namespace that is deleted meanwhile does not wait", 150, async (_, open) => {
  const { cluster, plane } = await serve(open, "drain-delete", { replicas: 1, deletionPolicy: "Drain", drain: { clientsPerSecond: 10, deadlineSeconds: 60, settleSeconds: 1 } });
  const people = open(new People({ withCredentials: true, reconnection: false }));
  const clients = 40;
  const all = await Promise.all(Array.from({ length: clients }, () => people.enter(plane.url)));
  const here = () => all.filter(({ socket }) => socket.connected).length;
  await kubectl(["delete", "-n", cluster.namespace, "chatcluster", cluster.name, "--wait=false"]);
  await until(() => here() < clients, 30_000, "the first ones are let go");
  assert.ok(here() > 0, "not all at once");
  assert.ok(await cluster.read(), "it is there while clients are");
  await kubectl(["delete", "namespace", cluster.namespace, "--wait=false"]);
  await until(async () => !(await get("default", "namespace", cluster.namespace)), 100_000, "the namespace is gone");
});
