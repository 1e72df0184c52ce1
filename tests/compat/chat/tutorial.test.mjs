// The client of the Socket.IO tutorial, as it stands there, on each transport.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, describe, it } from "node:test";
import { startChat } from "../support/servers.mjs";
import { until } from "../support/wait.mjs";
import { Clients, connected, MODES } from "../client/official.mjs";
import { UNLIMITED } from "./people.mjs";

/** The page's script: `submit` is the form, `list` the message list, `toggle` the button. */
function tutorial(clients, url) {
  const list = [];
  const offsets = [];
  let counter = 0;
  const socket = clients.open(url, {
    auth: { serverOffset: 0 },
    ackTimeout: 10_000,
    retries: 3,
  });
  socket.on("chat message", (message, serverOffset) => {
    list.push(message);
    offsets.push(serverOffset);
    socket.auth.serverOffset = serverOffset;
  });
  return {
    socket,
    list,
    offsets,
    submit: (text) => void socket.emit("chat message", text, `${socket.id}-${counter++}`),
    toggle: () => (socket.connected ? socket.disconnect() : socket.connect()),
  };
}

for (const [mode, options] of Object.entries(MODES)) {
  describe(`the tutorial's client by ${mode}`, () => {
    let chat;
    let clients;
    before(async () => void (chat = await startChat({ nodes: 2, config: { limits: UNLIMITED } })));
    after(() => chat?.stop());
    afterEach(() => clients.close());

    it("two tabs on two nodes see the same messages, once each and in one order", async () => {
      clients = new Clients(options);
      const [a, b] = [tutorial(clients, chat.urls[0]), tutorial(clients, chat.urls[1])];
      await Promise.all([connected(a.socket), connected(b.socket)]);
      for (let i = 0; i < 30; i++) {
        a.submit(`a${i}`);
        b.submit(`b${i}`);
      }
      await until(() => a.list.length >= 60 && b.list.length >= 60);
      assert.deepEqual(a.list, b.list);
      assert.deepEqual(a.offsets, b.offsets);
      for (const who of ["a", "b"]) {
        assert.deepEqual(a.list.filter((text) => text[0] === who), Array.from({ length: 30 }, (_, i) => `${who}${i}`));
      }
      assert.ok(a.offsets.every((offset, i) => Number.isSafeInteger(offset) && offset > (a.offsets[i - 1] ?? 0)));
    });

    it("the button's disconnect and connect shows exactly what was missed", async () => {
      clients = new Clients(options);
      const [a, b] = [tutorial(clients, chat.urls[0]), tutorial(clients, chat.urls[1])];
      await Promise.all([connected(a.socket), connected(b.socket)]);
      a.submit("before");
      await until(() => a.list.at(-1) === "before" && b.list.at(-1) === "before");
      const seen = b.list.length;
      b.toggle();
      for (let i = 0; i < 10; i++) a.submit(`missed ${i}`);
      await until(() => a.list.at(-1) === "missed 9");
      b.toggle();
      await until(() => b.list.includes("missed 9"));
      a.submit("after");
      await until(() => b.list.at(-1) === "after");
      assert.deepEqual(b.list.slice(seen), [...Array.from({ length: 10 }, (_, i) => `missed ${i}`), "after"]);
    });

    it("a reloaded page shows the history", async () => {
      clients = new Clients(options);
      const a = tutorial(clients, chat.urls[0]);
      await connected(a.socket);
      a.submit("last words");
      await until(() => a.list.at(-1) === "last words");
      const reloaded = tutorial(clients, chat.urls[1]);
      await until(() => reloaded.list.at(-1) === "last words");
      assert.deepEqual(reloaded.list, a.list.slice(-200));
    });

    it("messages written while offline are sent once, in order", async () => {
      clients = new Clients(options);
      const [a, b] = [tutorial(clients, chat.urls[0]), tutorial(clients, chat.urls[1])];
      await Promise.all([connected(a.socket), connected(b.socket)]);
      a.submit("online");
      await until(() => b.list.at(-1) === "online");
      const seen = b.list.length;
      clients.cut(a.socket, "hard");
      for (let i = 0; i < 5; i++) a.submit(`offline ${i}`);
      await until(() => b.list.at(-1) === "offline 4");
      a.submit("fence");
      await until(() => [a, b].every(({ list }) => list.at(-1) === "fence"));
      assert.deepEqual(b.list.slice(seen), [...Array.from({ length: 5 }, (_, i) => `offline ${i}`), "fence"]);
      assert.deepEqual(a.list, b.list);
    });

    it("a server that is killed and starts again on its data loses and doubles nothing", async () => {
      clients = new Clients(options);
      const dataDir = mkdtempSync(join(tmpdir(), "chatcluster-again-"));
      const config = { limits: UNLIMITED };
      const first = await startChat({ dataDir, config });
      const [a, b] = [tutorial(clients, first.url), tutorial(clients, first.url)];
      await Promise.all([connected(a.socket), connected(b.socket)]);
      for (let i = 0; i < 10; i++) a.submit(`${i}`);
      await until(() => b.list.length === 10);
      await first.kill();
      for (let i = 10; i < 15; i++) a.submit(`${i}`);
      const second = await startChat({ dataDir, port: first.port, config });
      try {
        await until(() => a.list.includes("14") && b.list.includes("14"), 15_000);
        const expected = Array.from({ length: 15 }, (_, i) => `${i}`);
        assert.deepEqual(a.list, expected);
        assert.deepEqual(b.list, expected);
      } finally {
        await second.stop();
        rmSync(dataDir, { recursive: true });
      }
    });
  });
}
