// One server is cut off from NATS under load (under-load.mjs), the others are not. It keeps its clients for a while, and then
// gives them to those that can serve them.
import assert from "node:assert/strict";
import { describe } from "node:test";
import { pause, until } from "../support/wait.mjs";
import { lasting, SERVERS, SPAN, SPARSE, TITLE, underLoad } from "./under-load.mjs";

const CUT_OFF = SERVERS - 1;

/** @param {import("../support/servers.mjs").Chat} server */
const isReady = async (server) => (await fetch(`${server.adminUrl}/readyz`)).status === 200;

/** Cuts the last server off for a while; then half of its clients go to another, to see that it still has their sessions. */
async function cutOff(cluster, load, hurt) {
  await hurt(cluster.proxy);
  // the fault itself: so long
  await pause(lasting(5_000));
  await cluster.proxy.heal();
  await load.flows(SPAN);
  await load.allHere();
  const others = load.members.filter(({ home }) => home !== CUT_OFF);
  assert.deepEqual(others.filter(({ retries }) => retries > 0).map(({ index }) => index), [], "senders on other servers that had to try again");
  const going = load.on(CUT_OFF).filter((_, i) => i % 2 === 0);
  load.cut(going);
  return going.length;
}

describe(TITLE, () => {
  for (const [what, hurt] of [
    ["its connections end and new ones are refused", (proxy) => proxy.cut()],
    ["nothing comes through any more", (proxy) => proxy.stall()],
  ]) {
    underLoad(
      `one server is cut off from NATS for ${lasting(5_000) / 1000} s, ${what}: its clients stay and catch up, the others do not notice`,
      (cluster, load) => cutOff(cluster, load, hurt),
      { ...SPARSE, proxied: true, config: { nats: { handOverGrace: "0s" } } },
    );
  }

  underLoad(
    "one server is cut off from NATS for longer than the grace, and another is well: its clients are handed over, once each, and recover",
    async (cluster, load) => {
      const going = load.on(CUT_OFF).length;
      await cluster.proxy.cut();
      await until(() => load.on(CUT_OFF).length === 0, lasting(20_000), "its clients have gone to the others");
      await load.allHere();
      await load.flows(SPAN);
      await cluster.proxy.heal();
      await until(() => isReady(cluster.servers[CUT_OFF]), lasting(20_000), "it is ready again");
      return going;
    },
    { ...SPARSE, proxied: true, config: { nats: { handOverGrace: "2s" } } },
  );
});
