// NATS is killed, stopped and started again under load (under-load.mjs).
import { describe } from "node:test";
import { pause } from "../support/wait.mjs";
import { lasting, RATE, SPARSE, TITLE, underLoad } from "./under-load.mjs";

describe(TITLE, () => {
  underLoad("NATS is killed and started again: connections stay", async (cluster, load) => {
    await cluster.nats.kill();
    await load.stalls(RATE);
    await cluster.nats.restart();
    return 0;
  });

  underLoad(
    `NATS stands still for ${lasting(5_000) / 1000} s: connections stay`,
    async (cluster) => {
      await cluster.nats.pause();
      // the fault itself: so long
      await pause(lasting(5_000));
      cluster.nats.resume();
      return 0;
    },
    SPARSE,
  );

  underLoad(
    "NATS is away for longer than a message is tried: connections stay",
    async (cluster) => {
      await cluster.nats.kill();
      // the fault itself: a message is given up after 12 s
      await pause(lasting(15_000));
      await cluster.nats.restart();
      return 0;
    },
    SPARSE,
  );

  underLoad("a server is killed while NATS is away: its clients are recovered on another", async (cluster, load) => {
    const going = load.on(1).length;
    await cluster.nats.kill();
    await load.stalls(RATE / 2);
    await cluster.kill(1);
    await cluster.nats.restart();
    return going;
  });
});
