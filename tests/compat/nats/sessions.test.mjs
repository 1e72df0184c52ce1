// Sessions of a server that was killed, whose clients do not come back: they go, and those of living servers are left alone.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { People } from "../chat/people.mjs";
import { jetStream } from "../support/jetstream.mjs";
import { sumOf } from "../support/metrics.mjs";
import { startCluster } from "../support/nats.mjs";
import { until } from "../support/wait.mjs";
import { row } from "./table.mjs";
import { CONFIG, DEADLINE, lasting } from "./under-load.mjs";

const EACH = lasting(20, 1_000);
/** All who are cut off at once have to be back in it. */
const WINDOW = lasting(2_000, 15_000);
/** A server sweeps when it has listened for 7 s; the notice that it leaves stays 10 s longer than the sessions. NATS takes a while to remove that, and its mark. */
const GONE = 7_000 + WINDOW + 10_000 + 15_000;

/** Sessions in the bucket, and notices about them. */
async function sessionsOf(cluster) {
  const { state } = await jetStream(cluster.nats, `STREAM.INFO.${cluster.sessions}`);
  return state.messages;
}

describe(`${EACH} clients each on two servers, one of which is killed for good, with a window of ${WINDOW / 1000} s`, () => {
  it("the sessions of clients that do not come back are gone after the window; nobody else's is written", { timeout: DEADLINE }, async (t) => {
    const cluster = await startCluster({ config: { ...CONFIG, recovery: { window: `${WINDOW / 1000}s` } } });
    const people = new People();
    try {
      const persons = [];
      for (let i = 0; i < EACH; i++) persons.push(...(await Promise.all(cluster.urls.map((url) => people.enter(url)))));
      assert.equal(await sessionsOf(cluster), 2 * EACH);
      const staying = persons.filter((_, i) => i % 2 === 0);
      const going = persons.filter((_, i) => i % 2 === 1);
      for (const { socket } of going) socket.io.reconnection(false);
      const living = [cluster.servers[0]];
      const writes = await sumOf(living, "nats_session_writes_total");
      await cluster.kill(1);
      await until(() => going.every(({ socket }) => !socket.connected), undefined, "its clients notice");
      const begin = Date.now();
      let last = 0;
      await until(async () => (last = await sessionsOf(cluster)) === EACH, GONE, () => `${EACH} sessions are left; ${last} are`);
      const after = Date.now() - begin;
      const swept = await sumOf(living, "nats_sessions_swept_total");
      const written = (await sumOf(living, "nats_session_writes_total")) - writes;
      t.diagnostic(`gone after ${after} ms; the living server wrote ${written} sessions, ${swept} of them to give them their window`);
      assert.ok(after >= WINDOW, "sooner than the window");
      assert.equal(swept, EACH);
      assert.equal(written, EACH, "writes besides those that end the dead server's sessions");
      assert.ok(staying.every(({ socket }) => socket.connected));
      // they have theirs
      for (const { socket } of staying) people.cut(socket, "hard");
      await until(() => staying.every(({ socket, sessions }) => socket.connected && sessions.length === 2), undefined, "those who stayed come back");
      const recovered = staying.filter(({ socket }) => socket.recovered).length;
      row(t, { clients: 2 * EACH, reconnects: staying.length, recovered });
      assert.equal(recovered, staying.length);
    } finally {
      people.close();
      await cluster.stop();
    }
  });
});
