// The last message ever of a quiet room, said while its readers' server is being changed: nothing comes after it that would
// show that it is missing.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { MODES, People } from "../chat/people.mjs";
import { startCluster } from "../support/nats.mjs";
import { until } from "../support/wait.mjs";
import { row } from "./table.mjs";
import { CONFIG, DEADLINE, lasting } from "./under-load.mjs";

const READERS = lasting(30, 300);
/** From being back, or from when it is said, to having it. */
const BOUND = 3_000;

/** Somebody in the room on server 1, who goes to server 0 when that ends. */
async function reader(people, cluster, room, index) {
  const person = await people.enter(cluster.urls[1], {}, MODES[Object.keys(MODES)[index % 3]]);
  await person.ask("room:join", room);
  const { socket } = person;
  const times = { gone: 0, back: 0, shown: 0 };
  socket.io.on("reconnect_attempt", () => (socket.io.uri = cluster.urls[0]));
  socket.on("disconnect", () => (times.gone = Date.now()));
  socket.on("connect", () => (times.back = Date.now()));
  socket.on("room:message", () => (times.shown = Date.now()));
  return { person, socket, times, recovered: () => socket.recovered };
}

/** When it is said: beside the signal, or between two connections. */
const MOMENTS = {
  "at that moment": () => {},
  "when the first of them has gone": (readers) => until(() => readers.some(({ times }) => times.gone), undefined, "the first goes"),
  "when all have gone": (readers) => until(() => readers.every(({ times }) => times.gone), undefined, "all go"),
};

describe(`the last message of a quiet room with ${READERS} readers`, () => {
  for (const [signal, end] of [["SIGTERM", "terminate"], ["SIGKILL", "kill"]]) {
    it(`said while their server gets ${signal} reaches each within 3 s of being back, once`, { timeout: DEADLINE }, async (t) => {
      const cluster = await startCluster({ config: { ...CONFIG, drain: { deadline: "10s", rate: 100 } } });
      const people = new People({ reconnectionDelay: 50, reconnectionDelayMax: 500 });
      let latest = 0;
      let away = 0;
      try {
        const writer = await people.enter(cluster.urls[0]);
        for (const [moment, comes] of Object.entries(MOMENTS)) {
          await writer.ask("room:join", moment);
          const readers = await Promise.all(Array.from({ length: READERS }, (_, index) => reader(people, cluster, moment, index)));
          const ended = cluster[end](1);
          await comes(readers);
          const began = Date.now();
          const { serverOffset } = await writer.sayIn(moment, "the last");
          await ended;
          await until(() => readers.every(({ socket, times }) => times.gone && socket.connected), 20_000, "all are back");
          const lacking = () => readers.filter(({ times }) => !times.shown).length;
          await until(() => lacking() === 0, BOUND, () => `said ${moment}, all have it; ${lacking()} have not`);
          latest = Math.max(latest, ...readers.map(({ times }) => times.shown - Math.max(times.back, began)));
          away = Math.max(away, ...readers.map(({ times }) => times.back - times.gone));
          assert.deepEqual(readers.filter(({ recovered }) => !recovered()).length, 0, "readers that were not recovered");
          for (const { person, socket } of readers) {
            assert.deepEqual(person.rooms[moment].map(({ serverOffset }) => serverOffset), [serverOffset]);
            socket.disconnect();
          }
          await cluster.again(1);
        }
        const count = READERS * Object.keys(MOMENTS).length;
        row(t, { clients: count, messages: 3, acknowledged: 3, reconnects: count, recovered: count, lost: 0, doubled: 0, "longest away ms": away });
        t.diagnostic(`shown at most ${latest} ms after being back, or after it was said`);
        assert.ok(latest < BOUND);
      } finally {
        people.close();
        await cluster.stop();
      }
    });
  }
});
