// Servers are ended, killed, stopped and started again under load (under-load.mjs).
import { describe } from "node:test";
import { pause } from "../support/wait.mjs";
import { CLIENTS, TITLE, underLoad } from "./under-load.mjs";

const HALF = CLIENTS / 2;

describe(TITLE, () => {
  underLoad("a server ends (SIGTERM): its clients are recovered on the other", (cluster) => cluster.terminate(1), HALF);

  underLoad("a server is killed (SIGKILL): its clients are recovered on the other", (cluster) => cluster.kill(1), HALF);

  underLoad(
    "both servers are started again, one after the other, on their ports and data",
    async (cluster, load) => {
      for (const index of [0, 1]) {
        await cluster.terminate(index);
        await cluster.again(index);
        await load.allHere();
      }
    },
    // first those of one server, then everybody
    HALF + CLIENTS,
  );

  underLoad(
    "both servers are killed at once and started again on their ports and data",
    async (cluster) => {
      await Promise.all([cluster.kill(0), cluster.kill(1)]);
      await Promise.all([cluster.again(0), cluster.again(1)]);
    },
    CLIENTS,
  );

  underLoad(
    "a server stands still until the other takes it for dead, half of its clients go, and it wakes up",
    async (cluster, load) => {
      const going = load.members.filter(({ index }) => index % 4 === 1);
      cluster.servers[1].signal("SIGSTOP");
      load.cut(going);
      // longer than three heartbeats and a bit: the fault itself
      await pause(6_000);
      cluster.servers[1].signal("SIGCONT");
    },
    Math.ceil((CLIENTS - 1) / 4),
  );
});
