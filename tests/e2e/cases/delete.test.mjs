// A ChatCluster that is deleted leaves nothing, whoever is there to see it.
import assert from "node:assert/strict";
import { until } from "../../compat/support/wait.mjs";
import { kubectl, list } from "../support/kubectl.mjs";
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
