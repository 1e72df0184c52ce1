// A server with many clients is killed, and all come back at once on the others. What that costs NATS is counted beside it.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { jetStream, NatsClient } from "../support/jetstream.mjs";
import { sumOf } from "../support/metrics.mjs";
import { startCluster } from "../support/nats.mjs";
import { SOON, until } from "../support/wait.mjs";
import { Load } from "./load.mjs";
import { row } from "./table.mjs";
import { CONFIG, DEADLINE, figures, lasting } from "./under-load.mjs";
import { assertWell } from "./verdict.mjs";

const COUNT = lasting(500, 5_000);
/** Of the server that is killed. */
const HOME = 0;

/** Requests to JetStream's API about the log, and reads and writes of each session, from now on. */
async function tap(cluster) {
  const client = await NatsClient.open(cluster.nats.port);
  const [requests, reads, writes] = [new Map(), new Map(), new Map()];
  const count = (map, key) => map.set(key, (map.get(key) ?? 0) + 1);
  // A server's own notice in the same bucket is no session.
  const countSession = (map, key) => key.startsWith("swept-") || count(map, key);
  const bucket = `$KV.${cluster.sessions.slice("KV_".length)}.`;
  const read = `DIRECT.GET.${cluster.sessions}.${bucket}`;
  await client.listen("$JS.API.>", (subject) => {
    const what = subject.slice("$JS.API.".length);
    if (subject.includes(cluster.log)) count(requests, what.split(`.${cluster.log}`)[0]);
    else if (what.startsWith(read)) countSession(reads, what.slice(read.length));
  });
  await client.listen(`${bucket}>`, (subject) => countSession(writes, subject.slice(bucket.length)));
  return { requests, reads, writes, close: () => client.close() };
}

/** @param {Map<string, number>} counts */
const total = (counts) => [...counts.values()].reduce((sum, count) => sum + count, 0);

/** What the living servers have done with sessions. */
async function sessionCalls({ servers }) {
  const living = servers.filter((_, index) => index !== HOME);
  const names = ["session_reads", "session_writes", "session_writes_found", "session_conflicts", "session_retries", "session_timeouts", "sessions_swept", "log_reads_renewed"];
  const values = await Promise.all(names.map((name) => sumOf(living, `nats_${name}_total`)));
  return Object.fromEntries(names.map((name, i) => [name, values[i]]));
}

const difference = (after, before) => Object.fromEntries(Object.keys(after).map((name) => [name, after[name] - before[name]]));

describe(`${COUNT} clients of a server that is killed come back at once on two others`, () => {
  it("all are recovered; each costs one read and one write of its session, and no read of the log", { timeout: DEADLINE }, async (t) => {
    const cluster = await startCluster({ servers: 3, config: CONFIG });
    let load;
    let tapped;
    try {
      load = await Load.start(cluster, { clients: COUNT, senders: 5, rate: 5, home: HOME });
      await load.flows(10);
      const before = await sessionCalls(cluster);
      tapped = await tap(cluster);
      const consumers = (await jetStream(cluster.nats, `STREAM.INFO.${cluster.log}`)).state.consumer_count;
      await cluster.kill(HOME);
      const begin = Date.now();
      await until(() => load.members.every(({ returns }) => returns.length > 0), SOON, "all have noticed");
      await load.allHere();
      const healed = Date.now() - begin;
      await load.rest();
      const cost = difference(await sessionCalls(cluster), before);
      const verdict = load.verdict();
      row(t, figures(load, verdict));
      t.diagnostic(`all back after ${healed} ms; ${JSON.stringify(cost)}, on subjects ${total(tapped.reads)} reads and ${total(tapped.writes)} writes of ${tapped.writes.size} sessions; about the log: ${JSON.stringify([...tapped.requests])}`);
      for (const client of verdict.unrecovered.slice(0, 20)) t.diagnostic(`not recovered: ${client}`);
      assertWell(verdict);
      assert.equal(verdict.returns, COUNT, "each has come back once");
      assert.equal(cost.session_timeouts, 0, "NATS answered");
      // who takes long may meet the sweep of the dead server's sessions: one of the two writes is refused, and the client's tried anew
      const besides = cost.session_conflicts + cost.sessions_swept;
      assert.equal(cost.session_writes, COUNT + besides, "writes of sessions");
      assert.ok(cost.session_reads >= COUNT && cost.session_reads <= COUNT + cost.session_conflicts, "reads of sessions");
      // the same on the wire, where a refused write is followed by a look at what is there, and what is not answered in time is tried again
      const looks = cost.session_conflicts + cost.session_writes_found;
      const again = cost.session_retries;
      const [reads, writes] = [total(tapped.reads), total(tapped.writes)];
      assert.equal(tapped.writes.size, COUNT, "sessions written");
      assert.ok(writes >= cost.session_writes + cost.session_writes_found && writes <= cost.session_writes + again, "writes on the subjects of the bucket");
      assert.ok(reads <= cost.session_reads + looks + again, "reads on the subjects of the bucket");
      assert.ok(reads + writes <= cost.session_reads + cost.session_writes + looks + again, "reads and writes, each that was not answered once more");
      if (besides + looks + again === 0) assert.deepEqual(new Set([...tapped.reads.values(), ...tapped.writes.values()]), new Set([1]), "each once");
      assert.equal(cost.log_reads_renewed, 0);
      const now = (await jetStream(cluster.nats, `STREAM.INFO.${cluster.log}`)).state.consumer_count;
      assert.ok(now <= consumers, `${consumers} consumers of the log became ${now}`);
      // every server looks at the stream each 2 s, and asks for what comes next
      const allowed = ["STREAM.INFO", "CONSUMER.MSG.NEXT"];
      assert.deepEqual([...tapped.requests.keys()].filter((what) => !allowed.includes(what)), [], "requests about the log");
    } finally {
      tapped?.close();
      load?.close();
      await cluster.stop();
    }
  });
});
