// The last case: Helm's release makes way for the plain manifests, and the ChatCluster that is there does not notice.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { promisify } from "node:util";
import { assertWell } from "../../compat/nats/verdict.mjs";
import { until } from "../../compat/support/wait.mjs";
import { kubectl, list } from "../support/kubectl.mjs";
import { underLoad } from "../support/load.mjs";
import { acting, OPERATOR, SYSTEM } from "../support/operator.mjs";
import { scenario } from "../support/scenario.mjs";
import { serve } from "../support/serve.mjs";

const run = promisify(execFile);
/** The images that are on the nodes stand for the published ones. */
const MANIFESTS = readFileSync(new URL("../../../deploy/operator.yaml", import.meta.url), "utf8")
  .replaceAll(/chatcluster-(operator|server):\d+\.\d+\.\d+/g, "registry.local/chatcluster-$1:1");

scenario("installed by plain manifests in the place of Helm's release: it goes on with what is there, and nobody is moved", 300, async (t, open) => {
  const { cluster, plane, backends } = await serve(open, "manifests");
  const seen = await underLoad(t, { plane, backends }, async () => {
    await run("helm", ["uninstall", "chatcluster-operator", "--namespace", SYSTEM, "--wait"], { timeout: 90_000 });
    assert.ok(await cluster.read(), "the definition stays, and what was made by it");
    await until(async () => (await list(SYSTEM, "pods")).length === 0, 60_000, "no operator is left");
    await kubectl(["apply", "--server-side", "--force-conflicts", "-f", "-"], { input: MANIFESTS, deadline: 60_000 });
    await kubectl(["rollout", "status", "-n", SYSTEM, OPERATOR, "--timeout=90s"], { deadline: 95_000 });
    await until(acting, 60_000, "one of them holds the lease");
    await cluster.change({ replicas: 4 });
    const { status } = await cluster.is("Ready");
    assert.equal(status.readyReplicas, 4);
  });
  assertWell(seen);
  assert.equal(seen.returns, 0, "nobody was moved");
});
