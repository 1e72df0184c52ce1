// The operator, as run.mjs has installed it with Helm.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { until } from "../../compat/support/wait.mjs";
import { kubectl, list } from "../support/kubectl.mjs";
import { acting } from "../support/operator.mjs";
import { scenario } from "../support/scenario.mjs";

scenario("two operators are ready, and one of them acts", 60, async () => {
  await kubectl(["rollout", "status", "-n", "chatcluster-system", "deployment/chatcluster-operator", "--timeout=50s"], { deadline: 55_000 });
  const pods = await list("chatcluster-system", "pods", "app.kubernetes.io/name=chatcluster-operator");
  assert.equal(pods.length, 2);
  await until(acting, 30_000, "one of them holds the lease");
});

scenario("helm test: a pod with the operator's own program and rights says that one of them acts", 90, async () => {
  const { stdout } = await promisify(execFile)("helm", ["test", "chatcluster-operator", "--namespace", "chatcluster-system", "--timeout", "60s"], { timeout: 80_000 });
  assert.match(stdout, /^TEST SUITE: +chatcluster-operator-test$[^]*^Phase: +Succeeded$/m);
});

scenario("a spec that cannot work is refused with a sentence that says what to write", 60, async () => {
  const apply = (spec) => kubectl(["apply", "--dry-run=server", "-f", "-"], { input: JSON.stringify({ apiVersion: "chatcluster.dev/v1alpha1", kind: "ChatCluster", metadata: { name: "wrong", namespace: "default" }, spec }) });
  const nats = { mode: "External", urls: ["nats://nats.messaging.svc:4222"] };
  await apply({ nats });
  await assert.rejects(apply({ nats, ingress: { controller: "Nginx" } }), /`host` must be set unless `controller` is 'None' or 'ClientIP'/);
  await assert.rejects(apply({ nats: { ...nats, urls: ["http://nats"] } }), /`urls` must be 'nats:\/\/' or 'tls:\/\/'/);
  await assert.rejects(apply({ nats, replicas: -1 }), /spec.replicas/);
  await assert.rejects(apply({ nats, replica: 3 }), /unknown field "spec.replica"/);
});
