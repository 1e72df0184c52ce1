// A namespace without a log, with the official client, on a server whose other namespaces have recovery.
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";
import { collect, until } from "../support/wait.mjs";
import { againstReference } from "../support/servers.mjs";
import { startFeatures } from "./features.mjs";
import { ask, Clients, MODES, reconnected, settled } from "./official.mjs";

const PATH = "/ephemeral";

for (const [mode, options] of Object.entries(MODES)) {
  describe(`a namespace without a log by ${mode}`, { skip: againstReference && "Node's server has none" }, () => {
    let server;
    let clients;
    before(async () => void (server = await startFeatures({ recovery: true, nodes: 2 })));
    after(() => server?.stop());
    beforeEach(() => void (clients = new Clients(options)));
    afterEach(() => clients.close());
    const connect = (node) => clients.connect(server.urls[node] + PATH);

    it("events come without a further argument, and the client learns of nothing to recover with", async () => {
      const [near, far] = [await connect(0), await connect(1)];
      await ask(far, "join", "r");
      const [nearInbox, farInbox] = [collect(near, "m"), collect(far, "m")];
      for (const spec of [{ from: "self" }, {}, { rooms: ["r"] }, { from: "socket" }, { rooms: [far.id] }])
        await ask(near, "emit-to", { ...spec, event: "m", args: ["text", JSON.stringify(spec)] });
      await settled(near);
      await settled(far);
      await until(() => farInbox.all.length === 4);
      assert.equal(nearInbox.all.length, 2);
      for (const args of [...nearInbox.all, ...farInbox.all]) assert.equal(args.length, 2, `${args}`);
      for (const socket of [near, far]) {
        assert.equal(socket._pid, undefined);
        assert.equal(socket._lastOffset, undefined);
      }
    });

    for (const how of ["polite", "hard", "silent"])
      it(`after a ${how} cut a client is somebody new, and what it missed is gone`, async () => {
        const [socket, other] = [await connect(0), await connect(1)];
        await ask(socket, "join", "r");
        await ask(socket, "set-data", "mine");
        const got = collect(socket, "m");
        await ask(other, "emit-to", { rooms: ["r"], event: "m", args: [0] });
        await got.next();
        const { id } = socket;
        socket.io.reconnection(false);
        clients.cut(socket, how);
        await ask(other, "emit-to", { rooms: ["r"], event: "m", args: [1] });
        socket.io.reconnection(true);
        socket.io.open();
        await reconnected(socket);
        assert.ok(!socket.recovered);
        assert.notEqual(socket.id, id);
        const about = await ask(socket, "whoami");
        assert.equal(about.recovered, false);
        assert.deepEqual(about.rooms, [socket.id]);
        assert.deepEqual(about.data, {});
        await ask(other, "emit-to", { rooms: [socket.id], event: "m", args: [2] });
        await until(() => got.all.length === 2);
        assert.deepEqual(got.all.flat(), [0, 2]);
      });

    it("the other namespaces of the same connection keep their recovery", async (t) => {
      const socket = await connect(0);
      const main = socket.io.socket("/");
      t.after(() => main.disconnect());
      await until(() => main.connected);
      const { id } = main;
      clients.cut(socket, "hard");
      await until(() => !main.connected);
      await reconnected(main);
      await reconnected(socket);
      assert.equal(main.recovered, true);
      assert.equal(main.id, id);
      assert.ok(!socket.recovered);
    });
  });
}
