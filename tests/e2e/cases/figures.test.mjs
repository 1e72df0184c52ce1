// What the operator costs: memory and processor time with one ChatCluster and with a hundred, and what it writes when idle.
import assert from "node:assert/strict";
import { pause, until } from "../../compat/support/wait.mjs";
import { ChatCluster, condition } from "../support/chat-cluster.mjs";
import { apply, kubectl, list } from "../support/kubectl.mjs";
import { acting, metrics } from "../support/operator.mjs";
import { scenario } from "../support/scenario.mjs";

const MANY = 100;
/** Seconds over which processor time is taken. */
const SPAN = 30;
/** Until a kubelet has counted once more. */
const COUNTED = 60_000;

/**
 * Of the operator that acts, as its kubelet has counted since this was asked: what it tells at once may be of a moment before,
 * when there was still something to do.
 * @returns {Promise<{rss: number, cpu: number, at: number}>} bytes, seconds since its start, and when that was, in seconds
 */
async function usage() {
  const asked = Date.now();
  const pod = await acting();
  const counted = async () => {
    const summary = JSON.parse(await kubectl(["get", "--raw", `/api/v1/nodes/${pod.spec.nodeName}/proxy/stats/summary?only_cpu_and_memory=true`]));
    const { containers } = summary.pods.find(({ podRef }) => podRef.name === pod.metadata.name);
    const [{ cpu, memory }] = containers;
    return Date.parse(cpu.time) >= asked && { rss: memory.rssBytes, cpu: cpu.usageCoreNanoSeconds / 1e9, at: Date.parse(cpu.time) / 1000 };
  };
  return until(counted, COUNTED, "the kubelet counts");
}

/** What it takes to keep things as they are. */
async function idle() {
  const writes = () => metrics(/^chatcluster_operator_writes_total\{/);
  const [before, written] = [await usage(), await writes()];
  // processor time is a rate: it needs a span, not a condition
  await pause(SPAN * 1_000);
  const [after, then] = [await usage(), await writes()];
  return { rss: after.rss, percent: (100 * (after.cpu - before.cpu)) / (after.at - before.at), writes: then - written };
}

scenario(`the operator with 1 and with ${MANY} suspended ChatClusters`, 400, async (t, open) => {
  const cluster = open(await new ChatCluster("figures").open());
  await cluster.apply({ state: "Suspended" });
  await cluster.is("Ready", "True", "Suspended");
  const one = await idle();
  const { spec } = cluster;
  await apply(Array.from({ length: MANY - 1 }, (_, i) => ({
    apiVersion: "chatcluster.dev/v1alpha1",
    kind: "ChatCluster",
    metadata: { name: `chat-${i}`, namespace: cluster.namespace },
    spec: { ...spec, nats: { ...spec.nats, subjectPrefix: `${spec.nats.subjectPrefix}-${i}` } },
  })));
  const begin = Date.now();
  const done = async () => (await list(cluster.namespace, "chatclusters")).filter((each) => condition(each, "Ready")?.reason === "Suspended").length === MANY;
  await until(done, 120_000, `${MANY} clusters are as they shall be`);
  const settled = (Date.now() - begin) / 1000;
  const many = await idle();
  const mebibytes = (bytes) => Math.round(bytes / 104_857.6) / 10;
  t.diagnostic(`figures ${JSON.stringify({
    "RSS MiB with 1": mebibytes(one.rss), [`with ${MANY}`]: mebibytes(many.rss),
    "CPU % with 1": Math.round(one.percent * 10) / 10, [`CPU % with ${MANY}`]: Math.round(many.percent * 10) / 10,
    [`s until ${MANY} are made`]: settled, "writes while idle": one.writes + many.writes,
  })}`);
  assert.equal(one.writes + many.writes, 0, "writes while nothing changes");
});
