// Four nodes in one process act as one server.
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";
import { collect, until } from "../support/wait.mjs";
import { startFeatures } from "./features.mjs";
import { ask, Clients, MODES, once, settled } from "./official.mjs";

const sorted = (list) => [...list].sort();

describe("four nodes", () => {
  let server;
  let clients;
  let sockets;
  before(async () => void (server = await startFeatures({ nodes: 4 })));
  after(() => server?.stop());
  beforeEach(async () => {
    clients = new Clients(MODES.websocket);
    sockets = await Promise.all(server.urls.map((url) => clients.connect(url)));
    const ids = sorted(sockets.map(({ id }) => id)).join();
    const here = async () => (await ask(sockets[0], "fetch", {})).sockets.map(({ id }) => id).join();
    await until(async () => (await here()) === ids, undefined, "the four sockets, and nobody of the test before, are here");
  });
  afterEach(() => clients.close());

  it("each client is on the node of its port", async () => {
    const nodes = await Promise.all(sockets.map(async (socket) => (await ask(socket, "whoami")).node));
    assert.deepEqual(nodes, [0, 1, 2, 3]);
  });

  it("broadcasts reach every node, rooms and except included", async () => {
    await ask(sockets[1], "join", "r");
    await ask(sockets[2], "join", ["r", "muted"]);
    const inboxes = sockets.map((socket) => collect(socket, "m"));
    await ask(sockets[0], "emit-to", { event: "m", args: ["wide"] });
    await ask(sockets[0], "emit-to", { rooms: ["r"], event: "m", args: ["room"] });
    await ask(sockets[0], "emit-to", { rooms: ["r"], except: ["muted"], event: "m", args: ["except"] });
    await ask(sockets[0], "emit-to", { from: "socket", event: "m", args: ["others"] });
    await ask(sockets[0], "emit-to", { rooms: [sockets[3].id], event: "m", args: ["to one"] });
    await ask(sockets[0], "emit-to", { event: "m", args: ["fence"] });
    const expected = [
      ["wide", "fence"],
      ["wide", "room", "except", "others", "fence"],
      ["wide", "room", "others", "fence"],
      ["wide", "others", "to one", "fence"],
    ];
    for (const [i, values] of expected.entries()) assert.deepEqual((await inboxes[i].take(values.length)).flat(), values, `node ${i}`);
  });

  it("local broadcasts stay on their node", async () => {
    const neighbour = await clients.connect(server.urls[0]);
    const inboxes = [...sockets, neighbour].map((socket) => collect(socket, "m"));
    await ask(sockets[0], "emit-to", { local: true, event: "m", args: ["local"] });
    await ask(sockets[0], "emit-to", { event: "m", args: ["fence"] });
    for (const [i, inbox] of inboxes.entries()) {
      const values = i === 0 || i === 4 ? ["local", "fence"] : ["fence"];
      assert.deepEqual(sorted((await inbox.take(values.length)).flat()), sorted(values));
    }
    await settled(...sockets, neighbour);
    assert.ok(inboxes.every((inbox) => inbox.unread.length === 0));
  });

  it("binary broadcasts reach every node", async () => {
    const inboxes = sockets.map((socket) => collect(socket, "m"));
    await ask(sockets[2], "emit-to", { event: "m", args: [{ data: Buffer.from([7, 8]) }] });
    for (const inbox of inboxes) assert.deepEqual([...(await inbox.next())[0].data], [7, 8]);
  });

  it("broadcast acknowledgements gather the answers of all nodes, partial ones on timeout", async () => {
    for (const [i, socket] of sockets.entries()) socket.on("question", (x, ack) => ack(x * i));
    const all = await ask(sockets[0], "broadcast-ack", { event: "question", args: [10], timeout: 3_000 });
    assert.equal(all.error, null);
    assert.deepEqual(sorted(all.responses), [0, 10, 20, 30]);
    sockets[3].off("question");
    const partial = await ask(sockets[0], "broadcast-ack", { event: "question", args: [10], timeout: 2_000 });
    assert.equal(partial.error, "operation has timed out");
    assert.deepEqual(sorted(partial.responses), [0, 10, 20]);
    await ask(sockets[1], "join", "one");
    const one = await ask(sockets[0], "broadcast-ack", { rooms: ["one"], event: "question", args: [10], timeout: 3_000 });
    assert.deepEqual(one, { responses: [10], error: null });
  });

  it("sockets of other nodes are fetched with rooms and data", async () => {
    await ask(sockets[3], "join", "far");
    await ask(sockets[3], "set-data", { deep: [1] });
    const { sockets: found, missing } = await ask(sockets[0], "fetch", { rooms: ["far"] });
    assert.deepEqual(missing, []);
    assert.deepEqual(found.map((one) => ({ ...one, rooms: sorted(one.rooms) })), [{ id: sockets[3].id, rooms: sorted([sockets[3].id, "far"]), data: { value: { deep: [1] } } }]);
    const local = await ask(sockets[0], "fetch", { local: true });
    assert.deepEqual(local.sockets.map(({ id }) => id), [sockets[0].id]);
    const all = await ask(sockets[0], "fetch", {});
    assert.deepEqual(all.sockets.map(({ id }) => id), sorted(sockets.map(({ id }) => id)));
  });

  it("sockets of other nodes join and leave rooms", async () => {
    await ask(sockets[1], "join", "a");
    await ask(sockets[2], "join", "a");
    const has = async (index, room) => (await ask(sockets[index], "whoami")).rooms.includes(room);
    await ask(sockets[0], "sockets-join", { rooms: ["a"] }, ["b", "c"]);
    await until(async () => (await has(1, "b")) && (await has(1, "c")) && (await has(2, "b")));
    assert.equal(await has(3, "b"), false);
    await ask(sockets[0], "sockets-leave", { rooms: ["a"], except: [sockets[2].id] }, "b");
    await until(async () => !(await has(1, "b")));
    assert.equal(await has(2, "b"), true);
  });

  it("sockets of other nodes are disconnected", async () => {
    await ask(sockets[2], "join", "out");
    const reason = once(sockets[2], "disconnect");
    await ask(sockets[0], "disconnect-sockets", { rooms: ["out"] }, true);
    assert.equal((await reason)[0], "io server disconnect");
    assert.ok([0, 1, 3].every((i) => sockets[i].connected));
  });

  it("server-side events reach the other nodes only, and are answered by all of them", async () => {
    const inboxes = sockets.map((socket) => collect(socket, "relayed"));
    assert.equal(await ask(sockets[1], "server-side", ["x", 1], false), "ok");
    for (const node of [0, 2, 3]) assert.deepEqual(await inboxes[node].next(), [node, "x", 1]);
    const answer = await ask(sockets[1], "server-side", ["y"], true);
    assert.deepEqual(answer, { responses: [0, 2, 3], missing: [] });
    await settled(...sockets);
    assert.deepEqual(inboxes[1].all, []);
  });
});
