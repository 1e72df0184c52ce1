// The operator dies, is absent, is doubled, is upgraded: clusters do not notice.
import assert from "node:assert/strict";
import { assertWell } from "../../compat/nats/verdict.mjs";
import { until } from "../../compat/support/wait.mjs";
import { NEXT_IMAGE, untruths } from "../support/chat-cluster.mjs";
import { kubectl, list } from "../support/kubectl.mjs";
import { underLoad } from "../support/load.mjs";
import { killContainer } from "../support/platform.mjs";
import { acting, OPERATOR, SYSTEM } from "../support/operator.mjs";
import { scenario } from "../support/scenario.mjs";
import { serve } from "../support/serve.mjs";

const scaleOperator = async (replicas) => {
  await kubectl(["scale", "-n", SYSTEM, OPERATOR, `--replicas=${replicas}`]);
  await kubectl(["rollout", "status", "-n", SYSTEM, OPERATOR, "--timeout=60s"], { deadline: 65_000 });
};

scenario("the operator that acts is killed in the middle of a rollout: the other one goes on, each client reconnects once", 300, async (t, open) => {
  const { cluster, plane, backends } = await serve(open, "operator-killed");
  const seen = await underLoad(t, { plane, backends }, async () => {
    await cluster.change({ image: NEXT_IMAGE });
    await until(async () => (await cluster.read()).status.rollout?.reason === "PodDraining", 60_000, "a pod is drained");
    const pod = await acting();
    assert.ok(pod, "an operator acts");
    await killContainer(pod);
    await cluster.is("Ready", "True", undefined, 150_000);
    for (const { spec } of await cluster.pods()) assert.match(spec.containers[0].image, /:2$/);
  });
  assertWell(seen);
  assert.ok(seen.histogram.length <= 2, `each client reconnects once at most: ${seen.histogram}`);
  assert.deepEqual(untruths(cluster), []);
});

scenario("without an operator a cluster serves, and a pod that ends is back; the change made meanwhile is done when the operator is back", 300, async (t, open) => {
  const { cluster, plane, backends } = await serve(open, "operator-absent");
  try {
    const seen = await underLoad(t, { plane, backends }, async () => {
      await scaleOperator(0);
      await cluster.change({ replicas: 2 });
      await kubectl(["delete", "pod", "-n", cluster.namespace, `${cluster.name}-0`, "--timeout=60s"], { deadline: 65_000 });
      const isBack = async () => (await cluster.pods()).filter(({ status }) => status.conditions?.some(({ type, status: is }) => type === "Ready" && is === "True")).length === 3;
      await until(isBack, 60_000, "three pods are ready");
      assert.equal((await cluster.read()).status.observedGeneration, 1, "nobody has seen the change");
      await scaleOperator(2);
      const { status } = await cluster.is("Ready", "True", undefined, 120_000);
      assert.equal(status.replicas, 2);
    });
    assertWell(seen);
  } finally {
    await scaleOperator(2);
  }
});

scenario("an operator that is exchanged writes nothing and rolls nothing", 300, async (_, open) => {
  const { cluster } = await serve(open, "operator-upgrade");
  const children = async () => {
    const kinds = "statefulsets,services,configmaps,serviceaccounts,secrets,networkpolicies,poddisruptionbudgets,ingresses,pods";
    return (await list(cluster.namespace, kinds)).map(({ kind, metadata }) => `${kind} ${metadata.name} ${metadata.uid} ${metadata.resourceVersion}`).sort();
  };
  const before = await children();
  const first = await acting();
  await kubectl(["rollout", "restart", "-n", SYSTEM, OPERATOR]);
  await kubectl(["rollout", "status", "-n", SYSTEM, OPERATOR, "--timeout=90s"], { deadline: 95_000 });
  await until(async () => { const now = await acting(); return now && now.metadata.uid !== first.metadata.uid; }, 60_000, "another operator acts");
  // it has looked: something is done on its word
  await cluster.change({ drain: { clientsPerSecond: 99 } });
  await cluster.is("Ready", "True", undefined, 150_000);
  const changed = (await children()).filter((line) => !before.includes(line)).map((line) => line.split(" ")[0]);
  assert.deepEqual([...new Set(changed)], ["ConfigMap"], "nothing but what the change is about, and no pod");
});
