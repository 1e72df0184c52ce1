// Hurts a cluster while clients chat on its servers: nothing acknowledged may be lost, nothing doubled, all see one order.
// 60 clients on two servers in `make test`; `make faults` makes it larger and longer (long.mjs): NATS_CLIENTS, NATS_SERVERS,
// NATS_RATE (messages a second), NATS_LONG.
import assert from "node:assert/strict";
import { it } from "node:test";
import { People, UNLIMITED } from "../chat/people.mjs";
import { notRecovered } from "../support/metrics.mjs";
import { startCluster } from "../support/nats.mjs";
import { until } from "../support/wait.mjs";
import { Load } from "./load.mjs";
import { PATIENCE } from "./member.mjs";
import { row } from "./table.mjs";
import { assertWell } from "./verdict.mjs";

export const LONG = Boolean(process.env.NATS_LONG);
export const CLIENTS = Number(process.env.NATS_CLIENTS ?? 60);
export const SERVERS = Number(process.env.NATS_SERVERS ?? 2);
export const RATE = Number(process.env.NATS_RATE ?? 50);
/** Clients that a server which ends in order lets go each second. */
const PACE = 500;
export const CONFIG = { limits: { ...UNLIMITED, connectionsPerAddress: 0 }, drain: { deadline: "10s", rate: PACE } };
/** How long a fault lasts, in milliseconds. @param {number} short in `make test` @param {number} long in `make faults` */
export const lasting = (short, long = 60_000) => (LONG ? long : short);
/** Acknowledged messages before a fault, and after it. */
export const SPAN = 2 * RATE;
/**
 * Of cases in which messages wait for as long as a fault lasts, and then reach everybody at once: all clients live in this
 * process, and if that takes it longer than a ping may, they take their connections for dead.
 */
export const SPARSE = { rate: lasting(RATE, RATE / 4) };
/** One case's deadline. */
export const DEADLINE = LONG ? 400_000 : 90_000;

/** Everything stored in the lobby, oldest first. @param {string} url */
export async function lobbyOf(url) {
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
/**
 * @typedef {object} Options
 * @property {boolean} [proxied] the last server has a proxy between itself and NATS
 * @property {() => Promise<import("../support/nats.mjs").NatsTrio>} [nats] another NATS than one server of its own
 * @property {object} [config] settings of the servers beside CONFIG
 * @property {RegExp} [ends] how connections may end
 * @property {number} [rate] a second, of all kinds
 */

/** What a description of such tests begins with. */
export const TITLE = `${CLIENTS} clients on ${SERVERS} servers, ${RATE} messages a second: none lost, none doubled, one order`;

/**
 * A test of one fault.
 * @param {string} name
 * @param {(cluster: ChatCluster, load: Load) => Promise<number>} fault says how many connections of clients end by it
 * @param {Options} [options]
 */
export const underLoad = (name, fault, options = {}) => it(name, { timeout: DEADLINE }, (t) => run(t, fault, options));

/** Runs `fault` under load, says what was measured, and judges by the clients' lists. */
async function run(t, fault, { proxied, nats: startNats, config, ends, rate = RATE }) {
  const nats = await startNats?.();
  let cluster;
  let load;
  try {
    cluster = await startCluster({ servers: proxied ? SERVERS - 1 : SERVERS, config: { ...CONFIG, ...config }, nats });
    if (proxied) await cluster.addBehindProxy();
    load = await Load.start(cluster, { clients: CLIENTS, rate, ends });
    await load.flows(SPAN);
    const begin = Date.now();
    const reconnects = await fault(cluster, load);
    await load.allHere();
    const healed = Date.now() - begin;
    await load.flows(SPAN);
    await load.rest();
    const verdict = load.verdict();
    report(t, load, verdict, healed, await notRecovered(cluster.living));
    assertWell(verdict);
    assert.equal(verdict.returns, reconnects, "connections that ended");
    const histories = await Promise.all(cluster.livingUrls.map(lobbyOf));
    const shown = load.members[0].list.filter(({ kind }) => kind === "wide").map(({ content, position }) => `${position} ${content}`);
    for (const history of histories) assert.deepEqual(history, shown, "the history is what was shown live");
  } finally {
    load?.close();
    await cluster?.stop();
    await nats?.stop();
  }
}

/**
 * Ends a server in order, starts it again if that is wanted, and waits until its clients are back: within the pace at which
 * they were let go, and 5 s.
 * @param {ChatCluster} cluster @param {Load} load @param {number} index @param {() => Promise<unknown>} [again]
 * @returns {Promise<number>} connections that end by it
 */
export async function drained(cluster, load, index, again) {
  const going = load.on(index);
  const ends = going.map(({ returns }) => returns.length);
  const [begin, cpu, loop] = [Date.now(), process.cpuUsage(), performance.eventLoopUtilization()];
  await cluster.terminate(index);
  await again?.();
  // a client may learn of the end of its connection after this process has learned of the server's
  await until(() => going.every(({ returns }, i) => returns.length > ends[i]), PATIENCE, "its clients have noticed");
  await load.allHere();
  const back = Math.max(0, ...going.map(({ returns }) => returns.at(-1)).map(({ at, away }) => at + away - begin));
  const bound = (going.length / PACE) * 1_000 + 5_000;
  // a process that did not get the processor says nothing about the servers
  const { user, system } = process.cpuUsage(cpu);
  const busy = Math.round(performance.eventLoopUtilization(loop).utilization * 100);
  const own = `all clients are in one process: its loop was busy for ${busy} % of the time, with ${Math.round((user + system) / 10 / (Date.now() - begin))} % of a core`;
  assert.ok(back <= bound, `${going.length} clients of a server that ended in order were back after ${back} ms, not within ${bound} ms; ${own}`);
  return going.length;
}

function report(t, load, verdict, healed, causes) {
  const { latencies, wrong, surprises, unrecovered, longestAway } = verdict;
  const at = (share) => latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * share))];
  const refused = [...load.refusals].map(([code, count]) => `${count} with ${code}`).join(", ") || "none";
  row(t, figures(load, verdict));
  t.diagnostic(`of each kind: ${JSON.stringify(verdict.kinds)}`);
  t.diagnostic(`healed after ${healed} ms; acknowledged after ${at(0.5)} ms (median), ${at(0.99)} ms (p99); longest away ${longestAway} ms; ${load.retries} retries; refused: ${refused}`);
  if (unrecovered.length > 0) t.diagnostic(`servers did not recover: ${JSON.stringify(causes)}`);
  for (const client of unrecovered.slice(0, 20)) t.diagnostic(`not recovered: ${client}`);
  for (const member of wrong.slice(0, 20)) t.diagnostic(`wrong: ${JSON.stringify(member)}`);
  for (const surprise of surprises.slice(0, 20)) t.diagnostic(`surprise: ${surprise}`);
}

/** The row of a case. @param {Load} load @param {ReturnType<Load["verdict"]>} verdict */
export const figures = (load, verdict) => ({
  clients: load.members.length,
  messages: verdict.messages,
  acknowledged: verdict.acknowledged,
  reconnects: verdict.returns,
  recovered: verdict.recovered,
  lost: verdict.lost,
  doubled: verdict.doubled,
  "slowest ack ms": verdict.latencies.at(-1),
  "longest away ms": verdict.longestAway,
});
