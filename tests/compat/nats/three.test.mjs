// A NATS of three servers, every stream on all of them, whose leader is killed under load (under-load.mjs).
import assert from "node:assert/strict";
import { describe } from "node:test";
import { NatsClient } from "../support/jetstream.mjs";
import { startTrio } from "../support/nats.mjs";
import { until } from "../support/wait.mjs";
import { LONG, RATE, TITLE, underLoad } from "./under-load.mjs";

/** An election takes 4 to 9 s, unless the votes are split: then there is another one. */
const ELECTION = 9_000;
/** With a leader, what waits is stored: an attempt is given up after 2 s, and the next one begins within 1 s. */
const STORED = 6_000;
/** From the kill on, if one election was enough: a message is tried for so long. */
const FLOWING = 12_000;

/** Kills the log's leader, and waits until another one is elected and messages flow; says when, in milliseconds from the kill on. */
async function killLeader({ nats: { nodes }, log }, load, leader) {
  const client = await NatsClient.open(nodes[(leader + 1) % nodes.length].port);
  try {
    let elected;
    // nobody answers questions about a stream without a leader
    await client.listen(`$JS.EVENT.ADVISORY.STREAM.LEADER_ELECTED.${log}`, () => (elected ??= Date.now()));
    await nodes[leader].kill();
    const begin = Date.now();
    await until(() => elected, 3 * ELECTION, "another leader is elected");
    // more than was on its way
    await load.flows(RATE, STORED);
    return { elected: elected - begin, flowing: Date.now() - begin };
  } finally {
    client.close();
  }
}

/** Kills the log's leader and brings it back, so often. */
async function killLeaders(cluster, load, times) {
  const trio = cluster.nats;
  for (let i = 0; i < times; i++) {
    const leader = await trio.leaderOf(cluster.log);
    const { elected, flowing } = await killLeader(cluster, load, leader);
    assert.ok(flowing <= FLOWING || elected > ELECTION, `messages flow after ${flowing} ms; a leader was elected after ${elected} ms`);
    await trio.nodes[leader].restart();
    await trio.isWhole(cluster.log);
  }
  return 0;
}

describe(`a NATS of three, ${TITLE}`, () => {
  underLoad(
    "the log's leader is killed: messages flow again within 12 s, connections stay, and it comes back",
    (cluster, load) => killLeaders(cluster, load, LONG ? 3 : 1),
    { nats: startTrio, config: { nats: { replicas: 3 } } },
  );
});
