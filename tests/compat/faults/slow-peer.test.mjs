// Peers that stop reading, and peers that are only slow.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";
import { startFeatures } from "../client/features.mjs";
import { ask, Clients, MODES, settled } from "../client/official.mjs";
import { connectPacket, eventPacket, parsePacket } from "../support/packets.mjs";
import { PollingSession, TcpClient } from "../support/raw.mjs";
import { collect, pause, until } from "../support/wait.mjs";

const MiB = 1 << 20;
const rss = (pid) => Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))[1]) * 1024;
const numbers = (n) => Array.from({ length: n }, (_, i) => i);

/** A WebSocket peer in the room that stops reading right after it has joined. */
async function stuckPeer(url, room) {
  const peer = await TcpClient.upgrade(`${url.replace(/^http/, "ws")}/socket.io/?EIO=4&transport=websocket`);
  await peer.frames.next(); // Engine.IO's handshake
  peer.sendText(connectPacket());
  const { id } = await connected(peer);
  peer.sendText(eventPacket(["join", room], { id: 0 }));
  await peer.frames.find(({ payload }) => payload.toString().startsWith("430"));
  peer.pause();
  return { peer, id };
}

async function connected(peer) {
  const { payload } = await peer.frames.find(({ payload }) => payload.toString().startsWith("40"));
  return { id: parsePacket(payload.toString()).data.sid };
}

const members = async (observer, room) => (await ask(observer, "fetch", { rooms: [room] })).sockets.map(({ id }) => id);

for (const recovery of [false, true]) {
  describe(`slow peers, recovery ${recovery ? "on" : "off"}`, () => {
    let server;
    let clients;
    const peers = [];
    before(async () => void (server = await startFeatures({ recovery })));
    after(() => server?.stop());
    beforeEach(() => void (clients = new Clients(MODES.websocket)));
    afterEach(() => {
      clients.close();
      for (const peer of peers.splice(0)) peer.destroy();
    });

    it("a peer that stops reading is disconnected, memory is bounded, others go on", { timeout: 90_000 }, async (t) => {
      const COUNT = 20;
      const [observer, healthy] = [await clients.connect(server.url), await clients.connect(server.url)];
      await ask(healthy, "join", "calm");
      const got = collect(healthy, "m");
      const before_ = rss(server.pid);
      const stuck = await Promise.all(Array.from({ length: COUNT }, (_, i) => stuckPeer(server.url, `stuck ${i}`)));
      peers.push(...stuck.map(({ peer }) => peer));
      let highest = before_;
      let sent = 0;
      // 20 peers x 40 MB would be 800 MB if every one of them were buffered
      for (let i = 0; i < COUNT; i++) {
        const flood = observer.timeout(60_000).emitWithAck("flood", 400, 100_000, `stuck ${i}`);
        await ask(healthy, "emit-to", { rooms: ["calm"], event: "m", args: [sent++] });
        await flood;
        await until(async () => !(await members(observer, `stuck ${i}`)).includes(stuck[i].id), 20_000, `peer ${i} is disconnected`);
        // what is still on its way to delivery is another test's matter
        await settled(observer);
        highest = Math.max(highest, rss(server.pid));
      }
      assert.deepEqual((await got.take(sent)).map(([value]) => value), numbers(sent));
      const growth = (highest - before_) / MiB;
      t.diagnostic(`resident memory grew by ${growth.toFixed(0)} MiB at most`);
      // 64 MiB memory window of the log, 4 MiB send queue per peer, and the allocator's slack
      assert.ok(growth < 64 + COUNT * 4 + 150, `grew by ${growth} MiB`);
    });

    it("broadcasts submitted faster than they are delivered are bounded in memory", { timeout: 60_000 }, async (t) => {
      const publisher = await clients.connect(server.url);
      const before_ = rss(server.pid);
      let highest = before_;
      // 20 x 40 MB to a room without members: one call's 40 MB may wait, the sum of all may not
      for (let i = 0; i < 20; i++) {
        await publisher.timeout(30_000).emitWithAck("flood", 400, 100_000, "nobody is here");
        highest = Math.max(highest, rss(server.pid));
      }
      const growth = (highest - before_) / MiB;
      t.diagnostic(`resident memory grew by ${growth.toFixed(0)} MiB at most`);
      assert.ok(growth < 64 + 3 * 40, `grew by ${growth} MiB`);
    });

    it("a peer in the same room as healthy ones costs them nothing", { timeout: 60_000 }, async () => {
      const readers = await Promise.all([clients.connect(server.url), clients.connect(server.url, MODES.polling)]);
      await Promise.all(readers.map((socket) => ask(socket, "join", "mixed")));
      const inboxes = readers.map((socket) => collect(socket, "m"));
      const { peer, id } = await stuckPeer(server.url, "mixed");
      peers.push(peer);
      const padding = "x".repeat(20_000);
      const COUNT = 1_000;
      for (let i = 0; i < COUNT; i++) {
        readers[0].emit("emit-to", { rooms: ["mixed"], event: "m", args: [i, padding] });
        // the readers' own queues are bounded too: let them follow
        if (i % 50 === 49) await Promise.all(inboxes.map((inbox) => until(() => inbox.all.length > i - 50, 20_000, "readers follow")));
      }
      for (const inbox of inboxes) assert.deepEqual((await inbox.take(COUNT, 20_000)).map(([value]) => value), numbers(COUNT));
      await until(async () => !(await members(readers[0], "mixed")).includes(id), 20_000, "the stuck peer is disconnected");
      assert.ok(readers.every((socket) => socket.connected));
    });

    it("a polling peer that never polls is bounded and disconnected", { timeout: 60_000 }, async () => {
      const observer = await clients.connect(server.url);
      const session = await PollingSession.open(`${server.url}/socket.io/`);
      await session.post(connectPacket());
      const [packet] = await session.receive();
      const { sid } = parsePacket(packet).data;
      await session.post(eventPacket(["join", "no polls"]));
      await until(async () => (await members(observer, "no polls")).includes(sid));
      const before_ = rss(server.pid);
      await observer.timeout(30_000).emitWithAck("flood", 400, 100_000, "no polls");
      await until(async () => !(await members(observer, "no polls")).includes(sid), 20_000, "the peer is disconnected");
      assert.ok((rss(server.pid) - before_) / MiB < 64 + 4 + 60);
    });

    it("a burst of 5,000 emits to a slow but healthy reader arrives complete", { timeout: 60_000 }, async () => {
      const socket = await clients.connect(server.url);
      const { id } = socket;
      const got = collect(socket, "burst");
      const stream = socket.io.engine.transport.ws._socket;
      // reads for a moment, then rests, as a phone on a bad link
      let slow = true;
      const throttle = (async () => {
        while (slow) {
          stream.pause();
          await pause(40);
          stream.resume();
          await pause(5);
        }
      })();
      const acknowledged = socket.timeout(40_000).emitWithAck("burst", 5_000, 500);
      const all = await got.take(5_000, 40_000);
      slow = false;
      await throttle;
      assert.equal(await acknowledged, 5_000);
      assert.deepEqual(all.map(([i]) => i), numbers(5_000));
      await settled(socket);
      assert.equal(got.unread.length, 0);
      assert.equal(socket.id, id);
    });

    it("a burst of 5,000 emits to a polling reader arrives complete", { timeout: 60_000 }, async () => {
      const socket = await clients.connect(server.url, MODES.polling);
      const got = collect(socket, "burst");
      await socket.timeout(40_000).emitWithAck("burst", 5_000, 300);
      assert.deepEqual((await got.take(5_000, 20_000)).map(([i]) => i), numbers(5_000));
    });

    it("a client that floods the server is slowed down, not the others", { timeout: 60_000 }, async () => {
      const [loud, calm] = [await clients.connect(server.url), await clients.connect(server.url)];
      const before_ = rss(server.pid);
      loud.emit("sleep", 2_000);
      const padding = "x".repeat(10_000);
      const all = Promise.all(Array.from({ length: 3_000 }, (_, i) => loud.timeout(30_000).emitWithAck("set-data", padding).then(() => i)));
      for (let i = 0; i < 20; i++) assert.equal(await ask(calm, "echo", i), i);
      assert.ok((rss(server.pid) - before_) / MiB < 60);
      assert.deepEqual(await all, numbers(3_000));
    });
  });
}
