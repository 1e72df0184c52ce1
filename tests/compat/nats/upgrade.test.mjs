// Servers of two releases, which write other formats on NATS, are exchanged for each other under load (under-load.mjs). The
// next release is server/examples/next_release.rs: the same server, but for what it writes.
import assert from "node:assert/strict";
import { describe } from "node:test";
import { NatsClient } from "../support/jetstream.mjs";
import { sumOf } from "../support/metrics.mjs";
import { drained, SPAN, TITLE, underLoad } from "./under-load.mjs";

const [THIS, NEXT] = /** @type {const} */ (["server", "next_release"]);
/** What servers put on NATS, by the first part of its subject behind the prefix; with the bucket of the sessions. */
const KINDS = ["log", "cast", "node", "sessions"];
const UNREADABLE = ["nats_log_entries_unreadable_total", "nats_messages_unreadable_total", "nats_sessions_unreadable_total"];

/** A message's events, each with its version, if it holds several (docs/adr/0037); else itself. @param {Buffer} message @returns {Buffer[]} */
function formatted(message) {
  if (message[0] !== 0x80) return [message];
  const events = [];
  for (let at = 2; at < message.length; at += 4 + message.readUInt32BE(at)) events.push(message.subarray(at + 4, at + 4 + message.readUInt32BE(at)));
  return events;
}

/** Counts what goes over NATS by kind and version of its format. @param {import("../support/nats.mjs").ChatCluster} cluster */
async function versions({ nats, prefix }) {
  /** @type {Record<string, Record<number, number>>} */
  const seen = Object.fromEntries(KINDS.map((kind) => [kind, {}]));
  const client = await NatsClient.open(nats.port);
  const count = (kind, message) => {
    for (const [version] of formatted(message)) if (seen[kind] && version !== undefined) seen[kind][version] = (seen[kind][version] ?? 0) + 1;
  };
  await client.listen(`${prefix}.>`, (subject, payload) => count(subject.slice(prefix.length + 1).split(".")[0], payload));
  await client.listen(`$KV.${prefix}_sessions.>`, (_, payload) => count("sessions", payload));
  return { seen, close: () => client.close() };
}

/** Nobody was told anything that it could not read. @param {import("../support/nats.mjs").ChatCluster} cluster */
async function allWasReadable(cluster) {
  for (const name of UNREADABLE) assert.equal(await sumOf(cluster.living, name), 0, name);
}

/** Ends a server in order, and starts it as another release; messages flow again after that. @returns {Promise<number>} connections that end */
async function exchange(cluster, load, index, release) {
  await allWasReadable(cluster);
  const going = await drained(cluster, load, index, () => cluster.again(index, release));
  await load.flows(SPAN / 2);
  return going;
}

describe(TITLE, () => {
  underLoad("all servers are upgraded to a release of another format, one after the other, and back again", async (cluster, load) => {
    const { seen, close } = await versions(cluster);
    let reconnects = 0;
    for (const release of [NEXT, THIS]) for (const index of cluster.servers.keys()) reconnects += await exchange(cluster, load, index, release);
    await allWasReadable(cluster);
    close();
    for (const kind of KINDS) assert.deepEqual(Object.keys(seen[kind]), ["1", "2"], `both formats of ${kind}: ${JSON.stringify(seen)}`);
    return reconnects;
  });

  underLoad("servers of two releases: one is killed and its clients are recovered on the other, both ways", async (cluster, load) => {
    let reconnects = await exchange(cluster, load, 1, NEXT);
    for (const [index, release] of /** @type {const} */ ([[0, THIS], [1, NEXT]])) {
      reconnects += load.on(index).length;
      await cluster.kill(index);
      await cluster.again(index, release);
      await load.allHere();
      await load.flows(SPAN / 2);
    }
    await allWasReadable(cluster);
    return reconnects;
  });
});
