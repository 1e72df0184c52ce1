// NATS as the operator runs it.
import assert from "node:assert/strict";
import { assertWell } from "../../compat/nats/verdict.mjs";
import { until } from "../../compat/support/wait.mjs";
import { get, kubectl } from "../support/kubectl.mjs";
import { underLoad } from "../support/load.mjs";
import { killContainer } from "../support/platform.mjs";
import { scenario } from "../support/scenario.mjs";
import { serve } from "../support/serve.mjs";

scenario("where no NATS is named there is one; killed, and its pod deleted, it is back with its log, and connections stay", 300, async (t, open) => {
  const { cluster, plane, backends } = await serve(open, "managed", { nats: undefined });
  const name = `${cluster.name}-nats-0`;
  const nats = () => get(cluster.namespace, "pod", name);
  const before = await nats();
  const seen = await underLoad(t, { plane, backends }, async () => {
    await killContainer(before);
    await until(async () => (await nats())?.status.containerStatuses?.[0].restartCount === 1, 60_000, "the kubelet starts it again");
    await cluster.is("NatsConnected", "True", undefined, 60_000);
    await kubectl(["delete", "pod", "-n", cluster.namespace, name, "--wait=false"]);
    await until(async () => { const now = await nats(); return now && now.metadata.uid !== before.metadata.uid; }, 90_000, "another pod");
    await cluster.is("Ready", "True", undefined, 90_000);
  });
  assertWell(seen);
  assert.equal(seen.returns, 0, "connections stay");
});
