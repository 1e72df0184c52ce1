// Nodes that lose their power, their cable, or their pods by order.
import assert from "node:assert/strict";
import { assertWell } from "../../compat/nats/verdict.mjs";
import { until } from "../../compat/support/wait.mjs";
import { get, kubectl, list } from "../support/kubectl.mjs";
import { assertPace, underLoad } from "../support/load.mjs";
import { cut, HAS_FAULTS, heal, powerOff, powerOn } from "../support/platform.mjs";
import { scenario } from "../support/scenario.mjs";
import { PACE, serve } from "../support/serve.mjs";

if (!HAS_FAULTS) throw new Error("these cases need nodes that can be powered off and cut (tests/cluster)");

/** A pod on each node. */
const SPREAD = { availability: { topologySpread: "Required" } };
/** Who hears nothing any more ends the connection by itself. */
const ENDS = /^(transport (close|error)|ping timeout)$/;
const isReady = (node) => node.status.conditions.some(({ type, status }) => type === "Ready" && status === "True");
const nodeIs = (name, wanted) => until(async () => isReady(await get("default", "node", name)) === wanted, 90_000, `node ${name} is ${wanted ? "ready" : "lost"}`);

/** A node with a pod of the cluster, and without NATS and the operator that acts: of those other cases speak. */
async function victim(cluster) {
  const [lease] = await list("chatcluster-system", "leases");
  const acting = await get("chatcluster-system", "pod", lease.spec.holderIdentity);
  const [nats] = await list("messaging", "pods");
  const taken = new Set([acting.spec.nodeName, nats.spec.nodeName]);
  const free = (await list("default", "nodes")).map(({ metadata }) => metadata.name).filter((name) => !taken.has(name));
  const pods = await cluster.pods();
  const pod = pods.find(({ spec }) => free.includes(spec.nodeName));
  assert.ok(pod, "a pod on a node of its own");
  return pod;
}

for (const [what, off, on] of /** @type {const} */ ([["powered off", powerOff, powerOn], ["cut off", cut, heal]])) {
  scenario(`a node is ${what}, and comes back: its clients are recovered elsewhere, its pod is replaced`, 400, async (t, open) => {
    const { cluster, plane, backends } = await serve(open, what.replace(" ", "-"), SPREAD);
    const pod = await victim(cluster);
    const node = pod.spec.nodeName;
    let isOff = false;
    try {
      const seen = await underLoad(t, { plane, backends }, async () => {
        await off(node);
        isOff = true;
        await nodeIs(node, false);
        await cluster.is("Available");
        await cluster.is("Ready", "False");
        const replaced = async () => {
          const now = await get(cluster.namespace, "pod", pod.metadata.name);
          return !now || now.metadata.uid !== pod.metadata.uid;
        };
        await until(replaced, 200_000, "the pod of the lost node is forgotten");
        await on(node);
        isOff = false;
        await nodeIs(node, true);
        await cluster.is("Ready", "True", undefined, 120_000);
      }, { ends: ENDS });
      assertWell(seen);
      assert.ok(seen.returns > 0, "it had clients");
    } finally {
      if (isOff) await on(node);
    }
  });
}

scenario("kubectl drain of a node: its pod lets its clients go at the pace, and the disruption budget holds", 240, async (t, open) => {
  const { cluster, plane, backends } = await serve(open, "drain", SPREAD);
  const { spec: { nodeName } } = await victim(cluster);
  try {
    const seen = await underLoad(t, { plane, backends }, async () => {
      await kubectl(["drain", nodeName, "--ignore-daemonsets", "--delete-emptydir-data", `--pod-selector=app.kubernetes.io/instance=${cluster.name}`, "--timeout=120s"], { deadline: 130_000 });
      await kubectl(["uncordon", nodeName]);
      await cluster.is("Ready", "True", undefined, 90_000);
    });
    assertWell(seen);
    assert.ok(seen.returns > 0, "it had clients");
    assert.ok(seen.histogram.length <= 2, `each client reconnects once at most: ${seen.histogram}`);
    assertPace(seen, PACE);
  } finally {
    await kubectl(["uncordon", nodeName]);
  }
});
