// People who chat through the ingress, and backends that emit by the API, while something happens to the cluster; judged by
// the people's own lists.
import assert from "node:assert/strict";
import { verdict } from "../../compat/nats/verdict.mjs";
import { until } from "../../compat/support/wait.mjs";
import { Crowd } from "./crowd.mjs";

export const CLIENTS = Number(process.env.E2E_CLIENTS ?? 300);
/**
 * Messages a second, of all senders: people and backends, for so many clients. Each is shown to most clients, which takes them, the proxy and the servers about
 * 150 ms of this machine's two cores for 2,000 of them.
 * @param {number} clients
 */
export const rateFor = (clients) => (clients > 1_000 ? 2 : 20);
/**
 * Seconds over which the pace is judged, for so many clients. A message to thousands of them holds each end of a connection up that comes with it, by more than
 * a tenth of a second: that is more than the pace may be off within one second. With fewer than 2,000 a pod has too few for five.
 * @param {number} clients
 */
export const windowFor = (clients) => (clients >= 2_000 ? 5 : 1);
const RATE = rateFor(CLIENTS);
/** Clients come back as they do as the official client does unless it is told otherwise, and keep cookies as browsers do. */
const CLIENT = { reconnectionDelay: 1_000, reconnectionDelayMax: 5_000, withCredentials: true };

const PODS_SEEN = 10_000;
/** Who is away for longer is shown one by one, in milliseconds. */
const LONG = 4_000;

/** @param {number[]} sorted @param {number} share */
const quantile = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;

/** The most of these moments within any so many seconds. @param {number[]} moments milliseconds @param {number} [seconds] */
export function peak(moments, seconds = 1) {
  const sorted = moments.toSorted((a, b) => a - b);
  let first = 0;
  return sorted.reduce((most, moment, i) => {
    while (sorted[first] <= moment - seconds * 1_000) first++;
    return Math.max(most, i - first + 1);
  }, 0);
}

/**
 * Runs `happens` under load, and returns what the clients saw.
 * @param {import("node:test").TestContext} t
 * @param {{plane: {url: string}, backends: import("./backends.mjs").Backends}} chat
 * @param {() => Promise<unknown>} happens
 * @param {{clients?: number, ends?: RegExp}} [options] `ends`: how connections may end
 */
export async function underLoad(t, { plane, backends }, happens, { clients = CLIENTS, ends } = {}) {
  await until(() => backends.origins.length > 0, PODS_SEEN, "backends see a pod");
  const crowd = await Crowd.start(plane.url, backends, { clients, rate: RATE, client: CLIENT, ends });
  try {
    await crowd.flows(2 * RATE);
    await crowd.watch();
    const begin = Date.now();
    await happens();
    const seconds = (Date.now() - begin) / 1000;
    await crowd.allHere();
    await crowd.flows(2 * RATE);
    await crowd.rest();
    return report(t, await crowd.seen(), seconds);
  } finally {
    crowd.close();
  }
}

/** What was seen, with the figures of docs/e2e.md. @param {import("node:test").TestContext} t @param {Awaited<ReturnType<Crowd["seen"]>>} parts @param {number} seconds */
function report(t, parts, seconds) {
  const seen = verdict(parts.map(({ record }) => record));
  const members = parts.flatMap(({ record }) => record.members);
  const returns = members.flatMap((member) => member.returns);
  const ends = returns.map(({ at }) => at);
  const window = windowFor(CLIENTS);
  const away = returns.map((end) => end.away).sort((a, b) => a - b);
  const counts = members.map((member) => member.returns.length);
  const histogram = Array.from({ length: Math.max(...counts) + 1 }, (_, n) => counts.filter((count) => count === n).length);
  const figures = {
    clients: counts.length,
    seconds,
    acknowledged: seen.acknowledged,
    lost: seen.lost,
    doubled: seen.doubled,
    reconnects: seen.returns,
    recovered: seen.recovered,
    "clients by reconnects": histogram,
    "ended within a second": peak(ends),
    ...(window > 1 ? { [`ended a second, over ${window}`]: peak(ends, window) / window } : {}),
    "own longest stall ms": Math.max(...parts.map(({ stall }) => stall)),
    "away ms p50": quantile(away, 0.5),
    "away ms p99": quantile(away, 0.99),
    "away ms max": away.at(-1) ?? 0,
  };
  t.diagnostic(`figures ${JSON.stringify(figures)}`);
  for (const { index, mode, returns: [end] } of members.filter((member) => member.returns.some(({ away: ms }) => ms > LONG)).slice(0, 10)) {
    t.diagnostic(`long away: client ${index} by ${mode}: ${end.reason}, ${end.away} ms, attempts that failed: ${end.failures.join(", ") || "none"}`);
  }
  for (const client of seen.unrecovered.slice(0, 10)) t.diagnostic(`not recovered: ${client}`);
  for (const member of seen.wrong.slice(0, 10)) t.diagnostic(`wrong: ${JSON.stringify(member)}`);
  return { ...seen, figures, histogram, rate: peak(ends, window) / window };
}

/**
 * Connections ended at the pace, plus a tenth; and never at once, which a longer window would not tell. The clock is that of the clients: how long a thread of them stood still is said beside it.
 * @param {{rate: number, figures: Record<string, any>}} seen @param {number} pace
 */
export function assertPace({ rate, figures }, pace) {
  assert.ok(figures["ended within a second"] <= 2 * pace, `the pace is ${pace}: ${figures["ended within a second"]} ended within a second`);
  assert.ok(rate <= pace * 1.1, `the pace is ${pace}: ${rate} a second ended within ${windowFor(CLIENTS)} s, as clients saw it, a thread of which stood still for ${figures["own longest stall ms"]} ms at most`);
}
