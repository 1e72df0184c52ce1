// More pods and fewer, under load.
import assert from "node:assert/strict";
import { assertWell } from "../../compat/nats/verdict.mjs";
import { untruths } from "../support/chat-cluster.mjs";
import { kubectl } from "../support/kubectl.mjs";
import { assertPace, underLoad } from "../support/load.mjs";
import { scenario } from "../support/scenario.mjs";
import { PACE, serve } from "../support/serve.mjs";

scenario("scaled 1 -> 3 -> 1, by apply and by kubectl scale: only clients of the pods that go reconnect, once for each", 180, async (t, open) => {
  const { cluster, plane, backends } = await serve(open, "scale", { replicas: 1 });
  const seen = await underLoad(t, { plane, backends }, async () => {
    await cluster.change({ replicas: 3 });
    await cluster.is("Ready");
    await kubectl(["scale", "-n", cluster.namespace, "chatcluster", cluster.name, "--replicas=1"]);
    const { status } = await cluster.is("Ready", "True", undefined, 90_000);
    assert.equal(status.replicas, 1);
  });
  assertWell(seen);
  assert.equal(seen.returns, 0, "all clients were on the pod that stays");
  assert.deepEqual(untruths(cluster), []);
});

scenario("a scale-down drains at the pace, and nobody is on a pod that ends", 180, async (t, open) => {
  const { cluster, plane, backends } = await serve(open, "shrink", { replicas: 3 });
  const seen = await underLoad(t, { plane, backends }, async () => {
    await cluster.change({ replicas: 1 });
    const { status } = await cluster.is("Ready", "True", undefined, 120_000);
    assert.equal(status.replicas, 1);
  });
  assertWell(seen);
  assert.ok(seen.returns > 0, "clients were on the pods that went");
  assert.ok(seen.histogram.length <= 2, `each client moves once at most: ${seen.histogram}`);
  assertPace(seen, PACE);
  assert.deepEqual(untruths(cluster), []);
});
