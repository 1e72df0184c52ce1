// Real proxies, configured from what the operator wrote for their controllers; and one that is not sticky at all.
import assert from "node:assert/strict";
import { MODES, People } from "../../compat/chat/people.mjs";
import { until } from "../../compat/support/wait.mjs";
import { kubectl } from "../support/kubectl.mjs";
import { scenario } from "../support/scenario.mjs";
import { serve } from "../support/serve.mjs";

const CLIENTS = 60;
/** Messages of each client, and polls at least. */
const ROUNDS = 5;

/** The sum of a metric over the cluster's pods. @param {import("../support/chat-cluster.mjs").ChatCluster} cluster @param {RegExp} name */
async function sumOf(cluster, name) {
  const pods = await cluster.pods();
  const texts = await Promise.all(pods.map(({ metadata }) => kubectl(["get", "--raw", `/api/v1/namespaces/${cluster.namespace}/pods/${metadata.name}:9090/proxy/metrics`])));
  const lines = texts.flatMap((text) => text.split("\n")).filter((line) => name.test(line));
  assert.ok(lines.length > 0, `a metric like ${name}`);
  return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" ") + 1)), 0);
}

/** Everybody polls, says things, and nobody is sent away. @returns {Promise<number>} polls that went to a pod that is not theirs */
async function poll(open, cluster, plane, options) {
  const people = open(new People(options));
  const everybody = await Promise.all(Array.from({ length: CLIENTS }, () => people.enter(plane.url, {}, MODES.polling)));
  for (const { socket } of everybody) assert.equal(socket.io.engine.transport.name, "polling");
  const ends = [];
  for (const { socket } of everybody) socket.on("disconnect", (reason) => ends.push(reason));
  for (let round = 0; round < ROUNDS; round++) {
    await Promise.all(everybody.map((person, i) => person.say(`${i} in round ${round}`)));
    await Promise.all(everybody.map((person) => until(() => person.lobby.length === CLIENTS * (round + 1), 30_000, "everybody was shown everything")));
  }
  for (const { contents } of everybody) assert.deepEqual(contents, everybody[0].contents, "one order");
  assert.deepEqual(ends, [], "nobody was told `Session ID unknown`");
  return sumOf(cluster, /^chatcluster_relay_requests_total\{kind="(poll|post)",outcome="ok"\}/);
}

for (const controller of /** @type {const} */ (["HAProxyTech", "Nginx"])) {
  scenario(`${controller}, polling: every request comes to the pod that holds the session`, 120, async (t, open) => {
    const { cluster, plane } = await serve(open, controller.toLowerCase(), {}, { controller });
    assert.equal(await poll(open, cluster, plane, { withCredentials: true }), 0, "requests that were relayed");
  });

  scenario(`${controller}, polling, by clients that keep no cookie: requests are relayed, nobody notices`, 120, async (t, open) => {
    const { cluster, plane } = await serve(open, `${controller.toLowerCase()}-relay`, {}, { controller });
    const relayed = await poll(open, cluster, plane, {});
    assert.ok(relayed > CLIENTS, `of three requests two come to another pod; ${relayed} were relayed`);
  });
}
