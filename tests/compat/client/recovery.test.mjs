// Connection state recovery with the official client, on each transport and for each kind of cut.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";
import { Manager } from "socket.io-client";
import { collect, collectAny, pause, SOON, until, within } from "../support/wait.mjs";
import { startFeatures } from "./features.mjs";
import { ask, Clients, connected, FENCE, MODES, once, reconnected, refusal, settled } from "./official.mjs";

const isOffset = (value) => typeof value === "string" && value.length > 0;
const numbers = (n, from = 0) => Array.from({ length: n }, (_, i) => i + from);

/** The first arguments of what an inbox holds. */
const firsts = (inbox) => inbox.all.map(([first]) => first);

/** Keeps a client away until `release`, without changing what the client knows. */
function holdAway(socket) {
  socket.io.reconnection(false);
  return () => {
    socket.io.reconnection(true);
    socket.io.open();
  };
}

for (const [mode, options] of Object.entries(MODES)) {
  describe(`recovery by ${mode}`, () => {
    let server;
    let clients;
    before(async () => void (server = await startFeatures({ recovery: true, nodes: Number(process.env.REFERENCE_NODES ?? 2) })));
    after(() => server?.stop());
    afterEach(() => clients.close());
    const fresh = (name, test) =>
      it(name, async () => {
        clients = new Clients(options);
        await test();
      });
    const connect = (path = "/", more = {}) => clients.connect(server.url + path, more);
    const publish = (socket, rooms, value, more = {}) =>
      ask(socket, "emit-to", { from: "socket", rooms, event: "m", args: [value], ...more });

    for (const how of ["polite", "hard", "silent"]) {
      fresh(`a ${how} cut: same id, rooms and data, and the missed events once and in order`, async () => {
        const [socket, other] = [await connect(), await connect()];
        await ask(socket, "join", ["a", "b"]);
        await ask(socket, "set-data", "mine");
        const got = collect(socket, "m");
        await publish(other, ["a"], 0);
        await got.next();
        const { id } = socket;
        const release = holdAway(socket);
        clients.cut(socket, how);
        for (let i = 1; i <= 20; i++) await publish(other, [["a"], ["b"], ["a", "b"], []][i % 4], i);
        await publish(other, ["elsewhere"], "not for me");
        release();
        await reconnected(socket);
        await publish(other, ["b"], 21);
        await until(() => got.all.length >= 22);
        await settled(socket);
        assert.equal(socket.recovered, true);
        assert.equal(socket.id, id);
        assert.deepEqual(firsts(got), numbers(22));
        const self = await ask(socket, "whoami");
        assert.equal(self.recovered, true);
        assert.deepEqual(self.rooms, [id, "a", "b"].sort());
        assert.deepEqual(self.data, { value: "mine" });
      });
    }

    fresh("a client cut while events flow, twenty times, gets each once and in order", async () => {
      const [socket, other] = [await connect(), await connect()];
      await ask(socket, "join", "a");
      const got = collect(socket, "m");
      let sent = 0;
      const send = async () => publish(other, ["a"], sent++);
      await send();
      await got.next();
      for (const [i, how] of Array.from({ length: 20 }, (_, i) => [i, ["polite", "hard", "silent"][i % 3]])) {
        const sending = (async () => {
          for (let n = 0; n < 20; n++) await send();
        })();
        await until(() => sent > i * 20 + 7);
        clients.cut(socket, how);
        await sending;
        await reconnected(socket);
        assert.equal(socket.recovered, true, `cut ${i}, ${how}`);
      }
      await until(() => got.all.length >= sent);
      await settled(socket);
      assert.deepEqual(firsts(got), numbers(sent));
    });

    fresh("a session that never received an event recovers, with what it missed", async () => {
      const [socket, other] = [await connect(), await connect()];
      const got = collect(socket, "m");
      const { id } = socket;
      const release = holdAway(socket);
      clients.cut(socket, "silent");
      await publish(other, [], "missed");
      release();
      await reconnected(socket);
      assert.equal(socket.recovered, true);
      assert.equal(socket.id, id);
      assert.equal((await got.next())[0], "missed");
    });

    fresh("a volatile event with a trailing string does not cost the session", async () => {
      const [socket, other] = [await connect(), await connect()];
      const got = collect(socket, "v");
      await until(async () => {
        await publish(other, [], "trailing string", { event: "v", volatile: true });
        return got.all.length > 0;
      });
      const release = holdAway(socket);
      clients.cut(socket, "silent");
      const missed = collect(socket, "m");
      await publish(other, [], "missed");
      release();
      await reconnected(socket);
      assert.equal(socket.recovered, true);
      assert.equal((await missed.next())[0], "missed");
    });

    fresh("volatile events of the absence are not shown later", async () => {
      const [socket, other] = [await connect(), await connect()];
      const any = collectAny(socket);
      const release = holdAway(socket);
      clients.cut(socket, "silent");
      await publish(other, [], "gone", { event: "v", volatile: true });
      await publish(other, [], "kept");
      release();
      await reconnected(socket);
      await settled(socket);
      const events = any.all.map(([event, value]) => [event, value]).filter(([event]) => event !== FENCE);
      assert.deepEqual(events, [["m", "kept"]]);
    });

    fresh("every event without acknowledgement carries an offset last; those with one do not", async () => {
      const [socket, other] = [await connect(), await connect()];
      const got = collect(socket, "m");
      await publish(other, [], 1);
      await publish(other, [socket.id], 2);
      await ask(socket, "emit-to", { from: "self", event: "m", args: [3] });
      for (const [index, args] of (await got.take(3)).entries()) {
        assert.equal(args.length, 2);
        assert.equal(args[0], index + 1);
        assert.ok(isOffset(args[1]), `offset is ${JSON.stringify(args[1])}`);
      }
      const volatile_ = collect(socket, "v");
      await until(async () => {
        await ask(socket, "emit-to", { from: "self", volatile: true, event: "v", args: [4] });
        return volatile_.all.length > 0;
      });
      assert.ok(isOffset(volatile_.all[0][1]));
      socket.on("question", (...args) => args.pop()(args));
      assert.deepEqual((await ask(socket, "ask", { event: "question", args: [5] })).answer, [[5]]);
      assert.deepEqual(await ask(socket, "echo", 6), 6);
    });

    fresh("a foreign offset is refused, never guessed", async () => {
      for (const offset of ["MzUPkW0", "", "1700000000000-0", "9999999999999999999", "😀", "c1.1.1"]) {
        const [socket, other] = [await connect(), await connect()];
        const got = collect(socket, "m");
        await publish(other, [], "before");
        await got.next();
        const { id } = socket;
        socket._lastOffset = offset;
        clients.cut(socket, "polite");
        await until(() => !socket.connected);
        await reconnected(socket);
        assert.equal(socket.recovered, false, `offset ${JSON.stringify(offset)}`);
        assert.notEqual(socket.id, id);
        await settled(socket);
        assert.deepEqual(firsts(got), ["before"]);
        clients.close();
        clients = new Clients(options);
      }
    });

    fresh("an unknown pid recovers nothing, and the client goes on as a new one", async () => {
      const socket = await connect();
      socket._pid = "AAAAAAAAAAAAAAAAAAAA";
      clients.cut(socket, "polite");
      await until(() => !socket.connected);
      await reconnected(socket);
      assert.equal(socket.recovered, false);
      assert.notEqual(socket._pid, "AAAAAAAAAAAAAAAAAAAA");
    });

    fresh("a pid without an offset starts at the session's start, each event once", async () => {
      const [socket, other] = [await connect(), await connect()];
      const got = collect(socket, "m");
      await publish(other, [], "seen");
      await got.next();
      socket._lastOffset = undefined;
      const release = holdAway(socket);
      clients.cut(socket, "polite");
      await publish(other, [], "missed");
      release();
      await reconnected(socket);
      assert.equal(socket.recovered, true);
      await settled(socket);
      assert.deepEqual(firsts(got), ["seen", "seen", "missed"]);
    });

    fresh("a cut inside the replay, three times, doubles nothing", async () => {
      const COUNT = 500;
      const [socket, other] = [await connect(), await connect()];
      await ask(socket, "join", "a");
      const got = collect(socket, "m");
      await publish(other, ["a"], 0);
      await got.next();
      const complete = () => got.all.length >= COUNT;
      let release = holdAway(socket);
      clients.cut(socket, "silent");
      // large enough not to arrive in one turn of the event loop
      for (let i = 1; i < COUNT; i++) other.emit("emit-to", { from: "socket", rooms: ["a"], event: "m", args: [i, "x".repeat(20_000)] });
      await other.timeout(4 * SOON).emitWithAck("echo", "fence");
      let inside = 0;
      for (const how of ["hard", "silent", "polite"]) {
        const before_ = got.all.length;
        const more = new Promise((done) => socket.once("m", done));
        release();
        await within(more, 2 * SOON, "the replay goes on");
        // not inside the handler: a network ends between two turns of the event loop
        await new Promise((done) => setImmediate(done));
        assert.ok(got.all.length > before_);
        if (complete()) break;
        inside++;
        release = holdAway(socket);
        clients.cut(socket, how);
      }
      if (!complete()) release();
      await until(() => complete() && socket.connected, 2 * SOON);
      await settled(socket);
      assert.equal(socket.recovered, true);
      assert.deepEqual(firsts(got), numbers(COUNT));
      // an answer to a poll holds the whole replay: there is no inside
      if (mode === "websocket") assert.equal(inside, 3);
    });

    fresh("the CONNECT packet comes before the missed events", async () => {
      const [socket, other] = [await connect(), await connect()];
      const order = [];
      const release = holdAway(socket);
      clients.cut(socket, "silent");
      for (let i = 0; i < 3; i++) await publish(other, [], i);
      socket.io.on("packet", ({ type }) => order.push(type));
      release();
      await reconnected(socket);
      await settled(socket);
      assert.deepEqual(order.slice(0, 4), [0, 2, 2, 2]);
    });

    fresh("rooms joined and left around the cut show exactly what the client was entitled to", async () => {
      // the third one is where the first one is
      const [socket, other, neighbour] = [await connect(), await connect(), await connect()];
      const { id } = socket;
      const got = collect(socket, "m");
      await publish(other, ["a"], "a before joining");
      await ask(socket, "join", "a");
      await ask(socket, "join", "b");
      await publish(other, ["a"], 1);
      await ask(socket, "leave", "b");
      await publish(other, ["b"], "b after leaving");
      await got.next();
      const release = holdAway(socket);
      clients.cut(socket, "silent");
      await publish(other, ["a"], 2);
      await publish(other, ["b"], "b while away");
      // leaving and joining count from where the node's pipeline is: the events before them must have come through
      await settled(other, neighbour);
      await ask(other, "sockets-leave", { rooms: [id] }, "a");
      await publish(other, ["a"], "a after the server took it out");
      await ask(other, "sockets-join", { rooms: [id] }, "c");
      await publish(other, ["c"], 3);
      await settled(other, neighbour);
      await ask(other, "sockets-join", { rooms: [id] }, "a");
      await publish(other, ["a"], 4);
      release();
      await reconnected(socket);
      await publish(other, ["a", "b", "c"], 5);
      await until(() => firsts(got).includes(5));
      await settled(socket);
      assert.equal(socket.recovered, true);
      assert.deepEqual(firsts(got), [1, 2, 3, 4, 5]);
      assert.deepEqual((await ask(socket, "whoami")).rooms, [id, "a", "c"].sort());
    });

    fresh("except holds for what was missed", async () => {
      const [socket, other] = [await connect(), await connect()];
      await ask(socket, "join", ["a", "muted"]);
      const { id } = socket;
      const got = collect(socket, "m");
      const release = holdAway(socket);
      clients.cut(socket, "silent");
      await publish(other, ["a"], "muted", { except: ["muted"] });
      await publish(other, [], "me excluded", { except: [id] });
      await publish(other, ["a"], "heard", { except: ["else"] });
      release();
      await reconnected(socket);
      await settled(socket);
      assert.deepEqual(firsts(got), ["heard"]);
    });

    fresh("a sender does not get its own broadcast again when it recovers", async () => {
      const socket = await connect();
      await ask(socket, "join", "a");
      const got = collect(socket, "m");
      await publish(socket, ["a"], "my own");
      clients.cut(socket, "silent");
      await until(() => !socket.connected);
      await reconnected(socket);
      await settled(socket);
      assert.equal(socket.recovered, true);
      assert.deepEqual(firsts(got), []);
    });

    fresh("missed unicast and binary events are replayed", async () => {
      const [socket, other] = [await connect(), await connect()];
      const { id } = socket;
      const got = collect(socket, "m");
      const release = holdAway(socket);
      clients.cut(socket, "silent");
      await publish(other, [id], Buffer.from([1, 2, 3]));
      await publish(other, [], { nested: Buffer.from([4]) });
      release();
      await reconnected(socket);
      const [[first], [second, offset]] = await got.take(2);
      assert.deepEqual([...first], [1, 2, 3]);
      assert.deepEqual([...second.nested], [4]);
      assert.ok(isOffset(offset));
    });

    fresh("the old connection, ending late, does not hurt the recovered one", async () => {
      const [socket, other] = [await connect(), await connect()];
      await ask(socket, "join", "late");
      const got = collect(socket, "m");
      clients.cut(socket, "silent");
      await until(() => !socket.connected);
      await reconnected(socket);
      assert.equal(socket.recovered, true);
      clients.endAbandoned();
      // The end of the old connection reaches the server in its own time: watch a while.
      for (let i = 0; i < 10; i++) {
        await publish(other, ["late"], i);
        await pause(20);
      }
      await until(() => got.all.length >= 10);
      assert.deepEqual(firsts(got), numbers(10));
      assert.deepEqual((await ask(other, "fetch", { rooms: ["late"] })).sockets.map(({ id }) => id), [socket.id]);
    });

    fresh("a taken over session is closed by transport, never by DISCONNECT", async () => {
      const [first, second] = [await connect(), clients.open(server.url, { autoConnect: false })];
      const { id } = first;
      const reason = once(first, "disconnect");
      holdAway(first);
      second._pid = first._pid;
      second.connect();
      await connected(second);
      assert.equal(second.id, id);
      assert.match((await reason)[0], /transport (close|error)/);
      assert.equal(await ask(second, "echo", "live"), "live");
    });

    fresh("after a deliberate disconnect nothing is recovered", async () => {
      const socket = await connect();
      const { id } = socket;
      socket.disconnect();
      socket.connect();
      await connected(socket);
      assert.equal(socket.recovered, false);
      assert.notEqual(socket.id, id);
      const kicked = await connect();
      const before_ = kicked.id;
      const reason = once(kicked, "disconnect");
      kicked.emit("disconnect-me", false);
      assert.equal((await reason)[0], "io server disconnect");
      kicked.connect();
      await connected(kicked);
      assert.equal(kicked.recovered, false);
      assert.notEqual(kicked.id, before_);
    });

    fresh("authentication comes first: a refused client is shown none of what it missed", async () => {
      const auth = { token: "open", user: "alice" };
      const [socket, other] = [await connect("/secret", { auth }), await connect("/secret", { auth })];
      const any = collectAny(socket);
      const packets = [];
      const release = holdAway(socket);
      clients.cut(socket, "silent");
      await publish(other, [], "secret");
      socket.auth = { token: "revoked" };
      socket.io.on("packet", ({ type }) => packets.push(type));
      const refused = refusal(socket);
      release();
      assert.equal((await refused).message, "not authorized");
      assert.deepEqual(any.all, []);
      assert.deepEqual(packets, [4]);
      socket.auth = auth;
      socket.connect();
      await connected(socket);
      assert.equal((await any.next())[1], "secret");
      assert.equal(socket.recovered, true);
    });

    fresh("middlewares run once more on recovery", async () => {
      const auth = { token: "open", user: "alice" };
      const socket = await connect("/secret", { auth });
      const { trail } = (await ask(socket, "whoami")).data;
      assert.deepEqual(trail, ["first", "second"]);
      clients.cut(socket, "polite");
      await until(() => !socket.connected);
      await reconnected(socket);
      assert.equal(socket.recovered, true);
      assert.equal((await ask(socket, "whoami")).data.user, "alice");
    });

    fresh("several namespaces of one connection recover each by itself", async () => {
      const manager = new Manager(server.url, { ...options, reconnectionDelay: 20, reconnectionDelayMax: 50 });
      try {
        const sockets = [manager.socket("/"), manager.socket("/dyn-1")];
        await Promise.all(sockets.map((socket) => connected(socket)));
        const ids = sockets.map(({ id }) => id);
        const other = await connect("/dyn-1");
        const inboxes = sockets.map((socket) => collect(socket, "m"));
        manager.engine.close();
        await publish(other, [], "dynamic");
        await until(() => sockets.every(({ connected }) => connected));
        assert.deepEqual(sockets.map(({ recovered }) => recovered), [true, true]);
        assert.deepEqual(sockets.map(({ id }) => id), ids);
        assert.equal((await inboxes[1].next())[0], "dynamic");
        assert.deepEqual(inboxes[0].all, []);
      } finally {
        manager._close();
      }
    });

    fresh("a client that comes back on another node is recovered there", async () => {
      const [socket, other] = [await connect(), await connect()];
      await ask(socket, "join", "a");
      const got = collect(socket, "m");
      const { id } = socket;
      for (const [round, how] of ["polite", "hard", "silent"].entries()) {
        const release = holdAway(socket);
        clients.cut(socket, how);
        await publish(other, ["a"], round * 2);
        socket.io.uri = server.urls[(round + 1) % 2];
        release();
        await reconnected(socket);
        assert.equal(socket.recovered, true, how);
        assert.equal(socket.id, id);
        assert.equal((await ask(socket, "whoami")).node, (round + 1) % 2);
        await publish(other, ["a"], round * 2 + 1);
      }
      await until(() => got.all.length >= 6);
      await settled(socket);
      assert.deepEqual(firsts(got), numbers(6));
    });

    fresh("recovery=0 in the query: no pid, no offsets, a new session each time", async () => {
      const [socket, other] = [await connect("/", { query: { recovery: "0" } }), await connect()];
      const { id } = socket;
      assert.equal(socket._pid, undefined);
      const got = collect(socket, "m");
      await publish(other, [], "plain");
      assert.deepEqual(await got.next(SOON), ["plain"]);
      clients.cut(socket, "polite");
      await until(() => !socket.connected);
      await reconnected(socket);
      assert.ok(!socket.recovered);
      assert.notEqual(socket.id, id);
    });
  });
}
