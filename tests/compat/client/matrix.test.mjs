// Every feature of the Socket.IO layer with the official client, on each transport.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";
import { Manager } from "socket.io-client";
import { againstReference } from "../support/servers.mjs";
import { collect, collectAny, SOON, until } from "../support/wait.mjs";
import { startFeatures } from "./features.mjs";
import { ask, Clients, connected, MODES, once, reconnected, refusal, settled } from "./official.mjs";

const bytes = (n, seed = 1) => Buffer.from(Array.from({ length: n }, (_, i) => (i * 7 + seed) % 256));
const sorted = (list) => [...list].sort();

for (const [mode, options] of Object.entries(MODES)) {
  describe(`by ${mode}`, () => {
    let server;
    let clients;
    before(async () => void (server = await startFeatures()));
    after(() => server?.stop());
    afterEach(() => clients.close());
    const connect = (path = "/", more = {}) => {
      clients ??= new Clients(options);
      return clients.connect(server.url + path, more);
    };
    const fresh = (name, test) =>
      it(name, async () => {
        clients = new Clients(options);
        await test();
      });

    fresh("connects, and says who it is on which transport", async () => {
      const socket = await connect();
      const self = await ask(socket, "whoami");
      assert.equal(self.id, socket.id);
      assert.notEqual(socket.id, socket.io.engine.id);
      assert.equal(self.transport, mode === "polling" ? "polling" : "websocket");
      assert.deepEqual(self.rooms, [socket.id]);
      assert.ok(!socket.recovered);
      assert.equal(self.recovered, false);
    });

    fresh("auth reaches the server as it was given, also by function and anew on reconnect", async () => {
      const auth = { token: "ä€😀", nested: { list: [1, null, true] } };
      assert.deepEqual((await ask(await connect("/", { auth }), "whoami")).auth, auth);
      let count = 0;
      const socket = await connect("/", { auth: (give) => give({ count: ++count }) });
      assert.deepEqual((await ask(socket, "whoami")).auth, { count: 1 });
      clients.cut(socket, "polite");
      await reconnected(socket);
      assert.deepEqual((await ask(socket, "whoami")).auth, { count: 2 });
    });

    fresh("events carry every JSON value both ways", async () => {
      const socket = await connect();
      const args = [0, -1.5, 1e21, "", "ä€😀\u2028\u0000\"\\", true, null, [], {}, [[{ a: [1] }]], { é: { "": null } }];
      const answer = once(socket, "echoed");
      socket.emit("echo-event", ...args);
      assert.deepEqual(await answer, args);
    });

    fresh("an event without arguments arrives without arguments", async () => {
      const socket = await connect();
      const answer = once(socket, "echoed");
      socket.emit("echo-event");
      assert.deepEqual(await answer, []);
    });

    fresh("events emitted before the connection arrive in order after it", async () => {
      const socket = clients.open(server.url);
      const echoed = collect(socket, "echoed");
      for (let i = 0; i < 50; i++) socket.emit("echo-event", i);
      assert.deepEqual((await echoed.take(50)).flat(), Array.from({ length: 50 }, (_, i) => i));
    });

    fresh("the server acknowledges the client's events, each with its own answer", async () => {
      const socket = await connect();
      const answers = await Promise.all(Array.from({ length: 50 }, (_, i) => ask(socket, "echo", { i })));
      assert.deepEqual(answers, Array.from({ length: 50 }, (_, i) => ({ i })));
      const several = await new Promise((done) => socket.emit("echo", 1, "two", [3], (...args) => done(args)));
      assert.deepEqual(several, [1, "two", [3]]);
    });

    fresh("a client's timeout runs out if the event is unknown, and the connection stays", async () => {
      const socket = await connect();
      await assert.rejects(socket.timeout(100).emitWithAck("nobody listens to this"), /timed out/);
      assert.equal(await ask(socket, "echo", "still here"), "still here");
    });

    fresh("the client acknowledges the server's events, and a handler may wait for its own client", async () => {
      const socket = await connect();
      socket.on("question", (a, b, ack) => ack(a + b, "and more"));
      const spec = { event: "question", args: [2, 3] };
      assert.deepEqual(await ask(socket, "ask", spec), { answer: [5, "and more"], error: null });
    });

    fresh("an acknowledgement that does not come in time is a timeout, and one that comes late is ignored", async () => {
      const socket = await connect();
      let late;
      socket.on("question", (ack) => (late = ack));
      const answer = await ask(socket, "ask", { event: "question", timeout: 50 });
      assert.deepEqual(answer, { answer: null, error: "operation has timed out" });
      late("too late");
      assert.equal(await ask(socket, "echo", "still here"), "still here");
    });

    fresh("handlers of one socket run in order, one at a time", async () => {
      if (againstReference) return; // Node starts them concurrently
      const socket = await connect();
      const order = [];
      const slow = ask(socket, "sleep", 100).then(() => order.push("slow"));
      const quick = ask(socket, "echo", 1).then(() => order.push("quick"));
      await Promise.all([slow, quick]);
      assert.deepEqual(order, ["slow", "quick"]);
    });

    fresh("binary arguments arrive unchanged both ways, alone, nested and mixed", async () => {
      const socket = await connect();
      for (const value of [bytes(1), bytes(0), bytes(70_000)]) {
        assert.ok(value.equals(await ask(socket, "echo", value)), `${value.length} bytes`);
      }
      const answer = once(socket, "echoed");
      socket.emit("echo-event", { a: bytes(3), list: ["x", bytes(300, 5)] }, 7, bytes(5, 9));
      const [nested, seven, last] = await answer;
      assert.ok(bytes(3).equals(nested.a));
      assert.equal(nested.list[0], "x");
      assert.ok(bytes(300, 5).equals(nested.list[1]));
      assert.equal(seven, 7);
      assert.ok(bytes(5, 9).equals(last));
      assert.ok(bytes(2).equals(await ask(socket, "echo", new Uint8Array(bytes(2)).buffer)), "ArrayBuffer");
    });

    fresh("a binary acknowledgement of the client reaches the handler", async () => {
      const socket = await connect();
      socket.on("question", (value, ack) => ack(value, { again: value }));
      const { answer } = await ask(socket, "ask", { event: "question", args: [bytes(40)] });
      assert.ok(bytes(40).equals(answer[0]) && bytes(40).equals(answer[1].again));
    });

    fresh("ten attachments in one event are accepted", async () => {
      const socket = await connect();
      const sent = Array.from({ length: 10 }, (_, i) => bytes(4, i));
      const answer = once(socket, "echoed");
      socket.emit("echo-event", ...sent);
      const got = await answer;
      assert.equal(got.length, 10);
      assert.ok(got.every((value, i) => sent[i].equals(value)));
    });

    fresh("binary events to a room reach every member unchanged and in order with text", async () => {
      const [a, b] = await Promise.all([connect(), connect()]);
      await Promise.all([ask(a, "join", "bin"), ask(b, "join", "bin")]);
      const inboxes = [collect(a, "m"), collect(b, "m")];
      for (let i = 0; i < 20; i++) {
        a.emit("emit-to", { rooms: ["bin"], event: "m", args: [i, i % 2 ? bytes(i * 100) : "text"] });
      }
      for (const inbox of inboxes) {
        const got = await inbox.take(20);
        assert.deepEqual(got.map(([i]) => i), Array.from({ length: 20 }, (_, i) => i));
        assert.ok(got.every(([i, value]) => (i % 2 ? bytes(i * 100).equals(value) : value === "text")));
      }
    });

    fresh("rooms: joined ones deliver, left ones do not, several are a union with one copy", async () => {
      const [a, b, c] = await Promise.all([connect(), connect(), connect()]);
      assert.equal(await ask(a, "join", ["one", "two"]), "ok");
      await ask(b, "join", "two");
      assert.deepEqual((await ask(a, "whoami")).rooms, sorted([a.id, "one", "two"]));
      const inboxes = [a, b, c].map((socket) => collect(socket, "m"));
      const emit = (rooms, value) => ask(c, "emit-to", { rooms, event: "m", args: [value] });
      await emit(["one", "two"], "union");
      await emit(["one"], "only one");
      // acknowledged is logged, not yet delivered: the leave is another client's, and could come first
      await settled(a);
      await ask(a, "leave", "one");
      await emit(["one"], "nobody");
      await emit([], "all");
      const expected = [["union", "only one", "all"], ["union", "all"], ["all"]];
      for (const [i, values] of expected.entries()) {
        assert.deepEqual((await inboxes[i].take(values.length)).flat(), values);
      }
      await settled(a, b, c);
      assert.deepEqual(inboxes.map((inbox) => inbox.unread), [[], [], []]);
      assert.deepEqual((await ask(a, "whoami")).rooms, sorted([a.id, "two"]));
    });

    fresh("every socket has a room of its own name", async () => {
      const [a, b] = await Promise.all([connect(), connect()]);
      const private_ = once(b, "private");
      await ask(a, "emit-to", { rooms: [b.id], event: "private", args: ["psst"] });
      assert.deepEqual(await private_, ["psst"]);
    });

    fresh("a broadcast from a socket leaves the sender out, with and without rooms", async () => {
      const [a, b] = await Promise.all([connect(), connect()]);
      await Promise.all([ask(a, "join", "r"), ask(b, "join", "r")]);
      const [mine, theirs] = [collect(a, "m"), collect(b, "m")];
      await ask(a, "emit-to", { from: "socket", event: "m", args: [1] });
      await ask(a, "emit-to", { from: "socket", rooms: ["r"], event: "m", args: [2] });
      await ask(a, "emit-to", { event: "m", args: ["fence"] });
      assert.deepEqual((await theirs.take(3)).flat(), [1, 2, "fence"]);
      assert.deepEqual((await mine.take(1)).flat(), ["fence"]);
    });

    fresh("except leaves out rooms and single sockets", async () => {
      const [a, b, c] = await Promise.all([connect(), connect(), connect()]);
      await Promise.all([ask(a, "join", "r"), ask(b, "join", ["r", "muted"]), ask(c, "join", "r")]);
      const inboxes = [a, b, c].map((socket) => collect(socket, "m"));
      await ask(a, "emit-to", { except: ["muted"], event: "m", args: ["not muted"] });
      await ask(a, "emit-to", { rooms: ["r"], except: ["muted", c.id], event: "m", args: ["neither"] });
      await ask(a, "emit-to", { from: "socket", rooms: ["r"], except: ["muted"], event: "m", args: ["only c"] });
      await ask(a, "emit-to", { event: "m", args: ["fence"] });
      const expected = [["not muted", "neither", "fence"], ["fence"], ["not muted", "only c", "fence"]];
      for (const [i, values] of expected.entries()) {
        assert.deepEqual((await inboxes[i].take(values.length)).flat(), values);
      }
    });

    fresh("a volatile event arrives at a client that is ready for it", async () => {
      const [a, b] = await Promise.all([connect(), connect()]);
      const got = collect(b, "m");
      // A polling client is not ready between two polls: volatile events may be dropped, never delayed or doubled.
      let sent = 0;
      await until(async () => {
        await ask(a, "emit-to", { from: "socket", volatile: true, event: "m", args: [sent++] });
        return got.all.length > 0;
      });
      await settled(b);
      const values = got.all.flat();
      assert.deepEqual(values, sorted([...new Set(values)]));
      assert.ok(values.every((value) => value < sent));
    });

    fresh("volatile events of the client arrive, and its ordinary ones after them in order", async () => {
      const socket = await connect();
      const echoed = collect(socket, "echoed");
      await until(() => socket.io.engine.transport.writable);
      socket.volatile.emit("echo-event", "volatile");
      socket.emit("echo-event", "ordinary");
      assert.deepEqual((await echoed.take(2)).flat(), ["volatile", "ordinary"]);
    });

    fresh("a broadcast acknowledgement gathers every answer", async () => {
      const sockets = await Promise.all([connect(), connect(), connect()]);
      for (const [i, socket] of sockets.entries()) {
        await ask(socket, "join", "acks");
        socket.on("question", (factor, ack) => ack(factor * i));
      }
      const all = await ask(sockets[0], "broadcast-ack", { rooms: ["acks"], event: "question", args: [10] });
      assert.equal(all.error, null);
      assert.deepEqual(sorted(all.responses), [0, 10, 20]);
      const others = await ask(sockets[0], "broadcast-ack", { from: "socket", rooms: ["acks"], event: "question", args: [10] });
      assert.deepEqual(sorted(others.responses), [10, 20]);
    });

    fresh("a broadcast acknowledgement that misses one answer times out with the others", async () => {
      const [a, b] = await Promise.all([connect(), connect()]);
      await Promise.all([ask(a, "join", "acks"), ask(b, "join", "acks")]);
      a.on("question", (ack) => ack("a"));
      b.on("question", () => {});
      const answer = await ask(a, "broadcast-ack", { rooms: ["acks"], event: "question", timeout: 2_000 });
      assert.deepEqual(answer, { responses: ["a"], error: "operation has timed out" });
    });

    fresh("a broadcast acknowledgement of an empty room is an empty list at once", async () => {
      const socket = await connect();
      const answer = await ask(socket, "broadcast-ack", { rooms: ["nobody"], event: "question", timeout: 4_000 });
      assert.deepEqual(answer, { responses: [], error: null });
    });

    fresh("a middleware's refusal reaches the client as connect_error with its data", async () => {
      const error = await refusal(clients.open(`${server.url}/secret`, { auth: { token: "wrong" } }));
      assert.equal(error.message, "not authorized");
      assert.deepEqual(error.data, { code: 401, hint: "token" });
    });

    fresh("middlewares run in order, and a refused client may try again with other auth", async () => {
      const socket = clients.open(`${server.url}/secret`, { auth: {} });
      await refusal(socket);
      assert.equal(socket.active, false);
      socket.auth = { token: "open", user: "alice" };
      socket.connect();
      await connected(socket);
      assert.deepEqual((await ask(socket, "whoami")).data, { trail: ["first", "second"], user: "alice" });
    });

    fresh("an unknown namespace is refused, and the others of that connection go on", async () => {
      const manager = new Manager(server.url, options);
      const root = manager.socket("/");
      await connected(root);
      const error = await refusal(manager.socket("/nowhere"));
      assert.equal(error.message, "Invalid namespace");
      assert.equal(await ask(root, "echo", 1), 1);
      root.disconnect();
      manager._close();
    });

    fresh("namespaces share one connection, and rooms and broadcasts stay in theirs", async () => {
      const manager = new Manager(server.url, options);
      const root = manager.socket("/");
      const secret = manager.socket("/secret", { auth: { token: "open" } });
      const dynamic = manager.socket("/dyn-7");
      await Promise.all([root, secret, dynamic].map((socket) => connected(socket)));
      assert.equal(new Set([root.id, secret.id, dynamic.id]).size, 3);
      await Promise.all([root, secret, dynamic].map((socket) => ask(socket, "join", "same name")));
      const inboxes = [root, secret, dynamic].map((socket) => collect(socket, "m"));
      await ask(root, "emit-to", { event: "m", args: ["wide in root"] });
      await ask(dynamic, "emit-to", { rooms: ["same name"], event: "m", args: ["room in dynamic"] });
      await settled(root, secret, dynamic);
      assert.deepEqual(inboxes.map((inbox) => inbox.all.flat()), [["wide in root"], [], ["room in dynamic"]]);
      secret.disconnect();
      assert.equal(await ask(root, "echo", "others stay"), "others stay");
      manager._close();
    });

    fresh("dynamic namespaces by pattern run the parent's middleware and hear its broadcasts", async () => {
      const [one, two, root] = await Promise.all([connect("/dyn-1"), connect("/dyn-22"), connect("/")]);
      const self = await ask(one, "whoami");
      assert.equal(self.nsp, "/dyn-1");
      assert.deepEqual(self.data, { parent: true });
      const inboxes = [one, two, root].map((socket) => collect(socket, "m"));
      await ask(one, "emit-to", { from: "parent", event: "m", args: ["all children"] });
      await ask(one, "emit-to", { event: "m", args: ["mine"] });
      await settled(one, two, root);
      assert.deepEqual(inboxes.map((inbox) => inbox.all.flat()), [["all children", "mine"], ["all children"], []]);
      assert.equal((await refusal(clients.open(`${server.url}/dyn-x`))).message, "Invalid namespace");
    });

    fresh("dynamic namespaces by function see the auth", async () => {
      const socket = await connect("/tenant-acme", { auth: { tenant: "acme" } });
      assert.equal((await ask(socket, "whoami")).nsp, "/tenant-acme");
      const refused = clients.open(`${server.url}/tenant-other`, { auth: { tenant: "acme" } });
      assert.equal((await refusal(refused)).message, "Invalid namespace");
    });

    fresh("catch-all listeners see every event, on the server and on the client", async () => {
      const socket = await connect();
      const any = collectAny(socket);
      socket.emit("something new", 1);
      socket.emit("echo-event", "x");
      assert.deepEqual(await any.next(), ["echoed", "x"]);
      const seen = await ask(socket, "seen");
      assert.deepEqual(seen, ["something new", "echo-event", "seen"]);
    });

    fresh("the server can join, move and fetch sockets by room", async () => {
      const [a, b, c] = await Promise.all([connect(), connect(), connect()]);
      await Promise.all([ask(a, "join", "r"), ask(b, "join", "r"), ask(b, "set-data", 42)]);
      await ask(c, "sockets-join", { rooms: ["r"] }, ["s"]);
      await until(async () => (await ask(b, "whoami")).rooms.includes("s"));
      const { sockets, missing } = await ask(c, "fetch", { rooms: ["s"] });
      assert.deepEqual(missing, []);
      assert.deepEqual(sockets.map(({ id }) => id), sorted([a.id, b.id]));
      const found = sockets.find(({ id }) => id === b.id);
      assert.deepEqual(sorted(found.rooms), sorted([b.id, "r", "s"]));
      assert.deepEqual(found.data, { value: 42 });
      const except = await ask(c, "fetch", { rooms: ["s"], except: [a.id] });
      assert.deepEqual(except.sockets.map(({ id }) => id), [b.id]);
      await ask(c, "sockets-leave", { rooms: ["r"] }, "s");
      await until(async () => (await ask(c, "fetch", { rooms: ["s"] })).sockets.length === 0);
    });

    fresh("the server disconnects one namespace or the whole connection, and says so", async () => {
      const [a, b] = await Promise.all([connect(), connect()]);
      const reason = once(a, "disconnect");
      await ask(b, "disconnect-sockets", { rooms: [a.id] }, false);
      assert.equal((await reason)[0], "io server disconnect");
      assert.equal(a.active, false);
      const closed = once(b.io, "close");
      const second = once(b, "disconnect");
      b.emit("disconnect-me", true);
      assert.equal((await second)[0], "io server disconnect");
      await closed;
    });

    fresh("a client that disconnects leaves its rooms, and may come back as a new one", async () => {
      const [a, b] = await Promise.all([connect(), connect()]);
      await ask(a, "join", "r");
      const before_ = a.id;
      a.disconnect();
      await until(async () => (await ask(b, "fetch", { rooms: ["r"] })).sockets.length === 0);
      a.connect();
      await connected(a);
      assert.notEqual(a.id, before_);
      assert.deepEqual((await ask(a, "whoami")).rooms, [a.id]);
    });

    for (const how of ["polite", "hard"]) {
      fresh(`a ${how} cut reconnects by itself, with buffered events sent once`, async () => {
        const socket = await connect();
        const reason = once(socket, "disconnect");
        const echoed = collect(socket, "echoed");
        clients.cut(socket, how);
        await reason;
        for (let i = 0; i < 5; i++) socket.emit("echo-event", i);
        assert.deepEqual((await echoed.take(5)).flat(), [0, 1, 2, 3, 4]);
        await settled(socket);
        assert.equal(echoed.unread.length, 0);
        assert.ok(!socket.recovered);
      });
    }

    fresh("a transport that the server closes is reconnected", async () => {
      const socket = await connect();
      const reason = once(socket, "disconnect");
      socket.emit("close-engine");
      assert.match((await reason)[0], /transport (close|error)/);
      await reconnected(socket);
      assert.equal(await ask(socket, "echo", 1), 1);
    });

    fresh("the client's own retries send an unanswered event again, once answered once", async () => {
      const socket = await connect("/", { retries: 3, ackTimeout: 2_000 });
      const answers = await Promise.all([1, 2, 3].map((i) => socket.emitWithAck("echo", i)));
      assert.deepEqual(answers, [1, 2, 3]);
    });

    fresh("large messages within the limit pass both ways, and one beyond it ends the connection only of its sender", async () => {
      const [socket, other] = await Promise.all([connect(), connect()]);
      const text = "ä".repeat(300_000);
      assert.equal(await ask(socket, "echo", text), text);
      const reason = once(socket, "disconnect", 2 * SOON);
      socket.emit("echo-event", "x".repeat(1_100_000));
      assert.match((await reason)[0], /transport (close|error)/);
      assert.equal(await ask(other, "echo", 1), 1);
    });

    fresh("500 messages of one client to another arrive in order", async () => {
      const [a, b] = await Promise.all([connect(), connect()]);
      const got = collect(b, "m");
      for (let i = 0; i < 500; i++) a.emit("emit-to", { from: "socket", event: "m", args: [i] });
      assert.deepEqual((await got.take(500, 2 * SOON)).flat(), Array.from({ length: 500 }, (_, i) => i));
    });
  });
}

describe("while the transport is upgraded", () => {
  let server;
  before(async () => void (server = await startFeatures()));
  after(() => server?.stop());

  it("events flow both ways without loss, double or inversion", async () => {
    const clients = new Clients(MODES.upgrade);
    try {
      for (let round = 0; round < 10; round++) {
        const socket = clients.open(server.url);
        const echoed = collect(socket, "echoed");
        await connected(socket);
        let sent = 0;
        await until(() => {
          for (let i = 0; i < 5; i++) socket.emit("echo-event", sent++);
          return socket.io.engine.transport.name === "websocket";
        });
        for (let i = 0; i < 5; i++) socket.emit("echo-event", sent++);
        assert.deepEqual((await echoed.take(sent)).flat(), Array.from({ length: sent }, (_, i) => i));
        await settled(socket);
        assert.equal(echoed.unread.length, 0);
      }
    } finally {
      clients.close();
    }
  });
});
