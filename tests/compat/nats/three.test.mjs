// A NATS of three servers, every stream on all of them, whose leader is killed under load (under-load.mjs).
import { describe } from "node:test";
import { startTrio } from "../support/nats.mjs";
import { LONG, RATE, TITLE, underLoad } from "./under-load.mjs";

/** An election takes 4 to 9 s; a message is tried for 12 s. */
const ELECTED = 12_000;

/** Kills the log's leader and brings it back, so often. */
async function killLeaders(cluster, load, times) {
  const trio = cluster.nats;
  for (let i = 0; i < times; i++) {
    const leader = await trio.leaderOf(cluster.log);
    await trio.nodes[leader].kill();
    // more than was on its way
    await load.flows(RATE, ELECTED);
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
