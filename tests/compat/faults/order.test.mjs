// One order for everyone: many events of one socket, and two senders on two nodes with every kind of broadcast.
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";
import { startFeatures } from "../client/features.mjs";
import { ask, Clients, MODES, settled } from "../client/official.mjs";
import { againstReference } from "../support/servers.mjs";
import { until } from "../support/wait.mjs";

const EVENTS = Number(process.env.ORDER_EVENTS ?? 20_000);
const EACH = Number(process.env.ORDER_EVENTS_PER_SENDER ?? 1_000);

/** The position in an offset `c1.<epoch>.<position>`. */
const positionOf = (offset) => Number.parseInt(offset.split(".").at(-1), 36);
const numbers = (n) => Array.from({ length: n }, (_, i) => i);
const rising = (list) => list.every((value, i) => i === 0 || value > list[i - 1]);

/** Keeps all values of `m` and the positions of all events. */
function record(socket) {
  const values = [];
  const positions = [];
  socket.onAny((event, ...args) => {
    if (!againstReference) positions.push(positionOf(args.at(-1)));
    if (event === "m") values.push(args[0]);
  });
  return { values, positions };
}

describe("order", () => {
  let server;
  let clients;
  before(async () => void (server = await startFeatures({ nodes: 4, recovery: true })));
  after(() => server?.stop());
  beforeEach(() => void (clients = new Clients(MODES.websocket)));
  afterEach(() => clients.close());

  it(`${EVENTS} events of one socket arrive in order on every node`, { timeout: 120_000 }, async () => {
    const sender = await clients.connect(server.urls[0]);
    const readers = await Promise.all(server.urls.map((url) => clients.connect(url)));
    const records = readers.map(record);
    for (let i = 0; i < EVENTS; i++) sender.emit("emit-to", { from: "socket", event: "m", args: [i] });
    await until(() => records.every(({ values }) => values.length >= EVENTS), 100_000, () => `${EVENTS} events; got ${records.map(({ values }) => values.length)}`);
    await settled(...readers);
    for (const { values, positions } of records) {
      assert.deepEqual(values, numbers(EVENTS));
      assert.ok(rising(positions));
    }
  });

  it(`${EVENTS} events in one burst to their own socket arrive in order`, { timeout: 120_000 }, async () => {
    const socket = await clients.connect(server.urls[1]);
    const got = [];
    socket.on("burst", (i) => got.push(i));
    await socket.timeout(100_000).emitWithAck("burst", EVENTS, 10);
    await until(() => got.length >= EVENTS, 60_000, () => `${EVENTS} events; got ${got.length}`);
    assert.deepEqual(got, numbers(EVENTS));
  });

  for (const mode of ["websocket", "polling"]) {
    it(`two senders on two nodes, every kind of broadcast, receivers on all nodes by ${mode}: one order`, { timeout: 120_000 }, async () => {
      const senders = [await clients.connect(server.urls[0]), await clients.connect(server.urls[1])];
      const memberships = [["r", "s"], ["r"], ["s"], [], ["r", "muted"]];
      const receivers = [];
      for (const url of server.urls) {
        for (const rooms of memberships) {
          const socket = await clients.connect(url, MODES[mode]);
          if (rooms.length) await ask(socket, "join", rooms);
          receivers.push({ rooms, socket, ...record(socket) });
        }
      }
      const kinds = [
        { rooms: ["r"] },
        {},
        { except: ["muted"] },
        { rooms: ["r", "s"] },
        { rooms: ["r"], except: ["muted"] },
        { rooms: ["s"] },
        { rooms: ["r", "s"], except: ["muted"] },
      ];
      // the other sender is in no room: what it gets does not matter here
      for (let i = 0; i < EACH; i++) {
        for (const [who, sender] of senders.entries()) {
          const kind = (i * (who + 2) + who) % kinds.length;
          sender.emit("emit-to", { ...kinds[kind], event: "m", args: [{ who, i, kind }] });
        }
      }
      for (const sender of senders) await sender.timeout(60_000).emitWithAck("emit-to", { event: "m", args: [{ who: -1 }] });
      const done = ({ values }) => values.filter(({ who }) => who === -1).length === 2;
      await until(() => receivers.every(done), 60_000, () => `all fences; got ${receivers.filter(done).length} of ${receivers.length}`);
      const all = receivers[0].values;
      assert.equal(all.length, 2 * EACH + 2);
      for (const who of [0, 1]) {
        assert.deepEqual(all.filter((value) => value.who === who).map(({ i }) => i), numbers(EACH));
      }
      const entitled = (rooms) => ({ kind }) => {
        const { rooms: to = [], except = [] } = kinds[kind] ?? {};
        return (to.length === 0 || to.some((room) => rooms.includes(room))) && !except.some((room) => rooms.includes(room));
      };
      for (const { rooms, values, positions } of receivers) {
        assert.deepEqual(values, all.filter(entitled(rooms)), `rooms ${rooms}`);
        assert.ok(rising(positions), "positions fall");
      }
    });
  }
});
