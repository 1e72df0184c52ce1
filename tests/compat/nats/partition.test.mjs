// One server is cut off from NATS under load (under-load.mjs), the others are not. It keeps its clients.
import assert from "node:assert/strict";
import { describe } from "node:test";
import { pause } from "../support/wait.mjs";
import { lasting, SERVERS, SPAN, SPARSE, TITLE, underLoad } from "./under-load.mjs";

const CUT_OFF = SERVERS - 1;

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
      { ...SPARSE, proxied: true },
    );
  }
});
