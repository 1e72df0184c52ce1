// Hurts a cluster while 60 clients chat on two servers: nothing acknowledged may be lost, nothing doubled, all see one order.
// NATS_CLIENTS and NATS_RATE (messages a second) make it larger.
import assert from "node:assert/strict";
import { it } from "node:test";
import { People, UNLIMITED } from "../chat/people.mjs";
import { startCluster } from "../support/nats.mjs";
import { Load } from "./load.mjs";

export const CLIENTS = Number(process.env.NATS_CLIENTS ?? 60);
export const RATE = Number(process.env.NATS_RATE ?? 50);
const CONFIG = { limits: UNLIMITED, drain: { deadline: "10s" } };
/** Acknowledged messages before a fault, and after it. */
const SPAN = 2 * RATE;

/** Everything stored in the lobby, oldest first. */
async function lobbyOf(url) {
  const people = new People();
  try {
    const reader = await people.enter(url, { serverOffset: Number.MAX_SAFE_INTEGER });
    const all = [];
    for (let page = { more: true }; page.more; all.push(...page.messages)) {
      page = await reader.ask("history", { after: all.at(-1)?.serverOffset ?? 0, limit: 100 });
    }
    return all.map(({ content, serverOffset }) => `${serverOffset} ${content}`);
  } finally {
    people.close();
  }
}

/** @typedef {import("../support/nats.mjs").ChatCluster} ChatCluster */

/** What a description of such tests begins with. */
export const TITLE = `${CLIENTS} clients on two servers, ${RATE} messages a second: none lost, none doubled, one order`;

/**
 * A test of one fault.
 * @param {string} name
 * @param {(cluster: ChatCluster, load: Load) => unknown} fault
 * @param {number} reconnects how often connections end by it, of all clients together
 */
export const underLoad = (name, fault, reconnects) => it(name, { timeout: 90_000 }, (t) => run(t, fault, reconnects));

/** Runs `fault` under load, says what was measured, and judges by the clients' lists. */
async function run(t, fault, reconnects) {
  const cluster = await startCluster({ config: CONFIG });
  let load;
  try {
    load = await Load.start(cluster.urls, { clients: CLIENTS, rate: RATE });
    await load.flows(SPAN);
    const begin = Date.now();
    await fault(cluster, load);
    await load.allHere();
    const healed = Date.now() - begin;
    await load.flows(SPAN);
    await load.rest();
    const verdict = load.verdict();
    report(t, load, verdict, healed);
    assertWell(verdict);
    assert.equal(verdict.returns, reconnects, "connections that ended");
    const histories = await Promise.all(cluster.livingUrls.map(lobbyOf));
    const shown = load.members[0].list.filter(({ room }) => room === null).map(({ content, position }) => `${position} ${content}`);
    for (const history of histories) assert.deepEqual(history, shown, "the history is what was shown live");
  } finally {
    load?.close();
    await cluster.stop();
  }
}

function report(t, { members, retries, refusals }, verdict, healed) {
  const { messages, acknowledged, returns, recovered, longestAway, latencies, wrong, surprises } = verdict;
  const at = (share) => latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * share))];
  const refused = [...refusals].map(([code, count]) => `${count} with ${code}`).join(", ") || "none";
  t.diagnostic(`${members.length} clients, ${messages} messages, ${acknowledged} acknowledged, ${returns} reconnects, ${recovered} recovered, healed after ${healed} ms`);
  t.diagnostic(`acknowledged after ${at(0.5)} ms (median), ${at(0.99)} ms (p99), ${at(1)} ms (slowest); longest away ${longestAway} ms; ${retries} retries; refused: ${refused}`);
  for (const member of wrong.slice(0, 20)) t.diagnostic(`wrong: ${JSON.stringify(member)}`);
  for (const surprise of surprises.slice(0, 20)) t.diagnostic(`surprise: ${surprise}`);
}

function assertWell({ storedTwice, misplaced, wrong, surprises, returns, recovered }) {
  assert.deepEqual(wrong.map(({ client, faults }) => `client ${client}: ${faults.join("; ")}`).slice(0, 5), [], "clients that lost, doubled or reordered");
  assert.deepEqual(storedTwice.slice(0, 5), [], "messages at two positions");
  assert.deepEqual(misplaced.slice(0, 5), [], "messages acknowledged with another position than they were shown with");
  assert.deepEqual(surprises.slice(0, 5), []);
  assert.equal(recovered, returns, "each client that came back was recovered");
}
