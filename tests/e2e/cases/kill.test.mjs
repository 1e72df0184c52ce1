// A pod's process ends without a word.
import assert from "node:assert/strict";
import { assertWell } from "../../compat/nats/verdict.mjs";
import { until } from "../../compat/support/wait.mjs";
import { underLoad } from "../support/load.mjs";
import { killContainer } from "../support/platform.mjs";
import { scenario } from "../support/scenario.mjs";
import { serve } from "../support/serve.mjs";

scenario("a pod is killed: its clients are recovered elsewhere, nothing acknowledged is lost", 150, async (t, open) => {
  const { cluster, plane, backends } = await serve(open, "kill");
  const [pod] = await cluster.pods();
  const seen = await underLoad(t, { plane, backends }, async () => {
    await killContainer(pod);
    const restarted = async () => (await cluster.pods()).find(({ metadata }) => metadata.name === pod.metadata.name)?.status.containerStatuses[0].restartCount === 1;
    await until(restarted, 60_000, "the kubelet starts it again");
    await cluster.is("Ready");
  });
  assertWell(seen);
  assert.ok(seen.returns > 0, "it had clients");
  assert.equal(seen.histogram.length, 2, `each of them reconnects once: ${seen.histogram}`);
});
