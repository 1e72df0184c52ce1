// Servers are ended, killed, stopped and started again under load (under-load.mjs).
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe } from "node:test";
import { pause } from "../support/wait.mjs";
import { CLIENTS, drained, lasting, SPAN, TITLE, underLoad } from "./under-load.mjs";

/** MiB of a process: what is resident, or was at most. @param {number} pid @param {"VmRSS" | "VmHWM"} what */
const memory = (pid, what) => Number(new RegExp(`^${what}:\\s+(\\d+) kB`, "m").exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024;

describe(TITLE, () => {
  underLoad("a server ends (SIGTERM): its clients are recovered on another", (cluster, load) => drained(cluster, load, 1));

  underLoad("a server is killed (SIGKILL): its clients are recovered on another", async (cluster, load) => {
    const going = load.on(1).length;
    await cluster.kill(1);
    return going;
  });

  underLoad("all servers are started again, one after the other, on their ports and data", async (cluster, load) => {
    let reconnects = 0;
    for (const index of cluster.servers.keys()) reconnects += await drained(cluster, load, index, () => cluster.again(index));
    return reconnects;
  });

  underLoad("all servers are killed at once and started again on their ports and data", async (cluster) => {
    const all = [...cluster.servers.keys()];
    await Promise.all(all.map((index) => cluster.kill(index)));
    await Promise.all(all.map((index) => cluster.again(index)));
    return CLIENTS;
  });

  underLoad("a server stands still until the others take it for dead, half of its clients go, and it wakes up", async (cluster, load) => {
    const going = load.on(1).filter((_, i) => i % 2 === 0);
    await cluster.servers[1].pause();
    load.cut(going);
    // longer than three heartbeats and a bit: the fault itself
    await pause(6_000);
    cluster.servers[1].resume();
    return going.length;
  });

  underLoad("a server stands still for 8 s, its clients stay, and it catches up in bounded memory", async (cluster, load) => {
    const server = cluster.servers[1];
    const before = memory(server.pid, "VmRSS");
    await server.pause();
    // the fault itself: so long
    await pause(8_000);
    server.resume();
    await load.flows(SPAN);
    const growth = memory(server.pid, "VmHWM") - before;
    assert.ok(growth < 100, `resident memory grew by ${growth} MiB`);
    return 0;
  });
});

if (lasting(0) > 0) {
  describe(`for longer, ${TITLE}`, () => {
    underLoad(
      "a server stands still for 60 s: its clients notice, and are recovered on another",
      async (cluster, load) => {
        const going = load.on(1).length;
        await cluster.servers[1].pause();
        // longer than a client waits for a ping: the fault itself
        await pause(lasting(0));
        cluster.servers[1].resume();
        return going;
      },
      { ends: /^(transport (close|error)|ping timeout)$/ },
    );
  });
}
