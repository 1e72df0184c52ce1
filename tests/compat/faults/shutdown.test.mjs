// SIGTERM: handshakes refused, transports closed so that clients come back elsewhere, exit 0 within the bound.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { MODES, once, People, UNLIMITED } from "../chat/people.mjs";
import { connectPacket, eventPacket } from "../support/packets.mjs";
import { RawWebSocket, TcpClient } from "../support/raw.mjs";
import { startChat } from "../support/servers.mjs";
import { SOON, until } from "../support/wait.mjs";

const EXIT_0 = { code: 0, signal: null };
const DEADLINE_S = 4;
const config = (drain) => ({ limits: UNLIMITED, drain: { deadline: `${DEADLINE_S}s`, ...drain } });

describe("SIGTERM", () => {
  let people;
  beforeEach(() => void (people = new People()));
  afterEach(() => people.close());

  it("an idle server exits with 0 at once", async () => {
    const chat = await startChat({ config: config() });
    chat.signal("SIGTERM");
    assert.deepEqual(await chat.exited(2_000), EXIT_0);
  });

  for (const [mode, options] of Object.entries(MODES)) {
    it(`clients see a closed transport, stay active and go on elsewhere, by ${mode}`, async () => {
      const [going, staying] = [await startChat({ nodes: 2, config: config() }), await startChat({ config: config() })];
      try {
        const persons = [];
        for (let i = 0; i < 10; i++) {
          const person = await people.enter(going.urls[i % 2], {}, options);
          person.socket.io.on("reconnect_attempt", () => void (person.socket.io.uri = staying.url));
          person.ended = once(person.socket, "disconnect", 2 * DEADLINE_S * 1000);
          persons.push(person);
        }
        going.signal("SIGTERM");
        for (const person of persons) {
          assert.match((await person.ended)[0], /^transport (close|error)$/);
          assert.equal(person.socket.active, true);
        }
        assert.deepEqual(await going.exited(2 * DEADLINE_S * 1000), EXIT_0);
        await until(() => persons.every(({ socket }) => socket.connected), 2 * SOON, "all are connected elsewhere");
        const { serverOffset } = await persons[0].say("we are back");
        await until(() => persons.every(({ lobby }) => lobby.at(-1)?.serverOffset === serverOffset));
      } finally {
        people.close();
        await staying.stop();
      }
    });
  }

  it("handshakes are refused with 503 and readiness is withdrawn while clients are still served", async () => {
    const chat = await startChat({ config: config({ rate: 1 }) });
    const persons = await Promise.all(Array.from({ length: 4 }, () => people.enter(chat.url, {}, { reconnection: false })));
    const status = async (url) => (await fetch(url).catch(() => ({ status: 0 }))).status;
    chat.signal("SIGTERM");
    await until(async () => (await status(`${chat.adminUrl}/readyz`)) === 503);
    assert.equal(await status(`${chat.adminUrl}/livez`), 200);
    assert.equal(await status(`${chat.url}/socket.io/?EIO=4&transport=polling`), 503);
    assert.ok(persons.some(({ socket }) => socket.connected), "no client is served any more");
    await assert.rejects(RawWebSocket.open(`${chat.url}/socket.io/?EIO=4&transport=websocket`), /503/);
    assert.deepEqual(await chat.exited(2 * DEADLINE_S * 1000), EXIT_0);
  });

  it("no client is sent a DISCONNECT", async () => {
    const chat = await startChat({ config: config() });
    const socket = await RawWebSocket.open(`${chat.url}/socket.io/?EIO=4&transport=websocket`, { answerPings: true });
    socket.send(connectPacket());
    await socket.inbox.find((text) => String(text).startsWith("40"));
    chat.signal("SIGTERM");
    await socket.closed(2 * DEADLINE_S * 1000);
    assert.ok(socket.inbox.all.every((text) => !String(text).startsWith("41")));
    assert.deepEqual(await chat.exited(), EXIT_0);
  });

  it("what was acknowledged until the end is stored", async () => {
    const dataDir = mkdtempSync(join(tmpdir(), "chatcluster-drain-"));
    try {
      const chat = await startChat({ dataDir, config: config() });
      const acknowledged = new Map();
      const persons = await Promise.all(Array.from({ length: 4 }, () => people.enter(chat.url, {}, { reconnection: false })));
      const storms = persons.map(async (person, who) => {
        for (let i = 0; person.socket.connected; i++) {
          const answer = await person.socket.timeout(1_000).emitWithAck("chat message", `${who}-${i}`).catch(() => undefined);
          if (answer?.serverOffset) acknowledged.set(answer.serverOffset, `${who}-${i}`);
        }
      });
      await until(() => acknowledged.size > 200);
      chat.signal("SIGTERM");
      assert.deepEqual(await chat.exited(2 * DEADLINE_S * 1000), EXIT_0);
      await Promise.all(storms);
      const again = await startChat({ dataDir });
      const reader = await people.enter(again.url);
      const stored = new Map();
      for (let page = { more: true }, from = 0; page.more; from = page.messages.at(-1)?.serverOffset ?? from) {
        page = await reader.ask("history", { after: from, limit: 100 });
        for (const { serverOffset, content } of page.messages) stored.set(serverOffset, content);
      }
      for (const [position, content] of acknowledged) assert.equal(stored.get(position), content);
      people.close();
      await again.stop();
    } finally {
      rmSync(dataDir, { recursive: true });
    }
  });

  it("peers that do not read do not hold the end up beyond the bound", { timeout: 60_000 }, async (t) => {
    const chat = await startChat({ config: config() });
    const peers = [];
    try {
      for (let i = 0; i < 5; i++) {
        const peer = await TcpClient.upgrade(`${chat.url.replace(/^http/, "ws")}/socket.io/?EIO=4&transport=websocket`);
        peer.sendText(connectPacket());
        await peer.frames.find(({ payload }) => payload.toString().startsWith("40"));
        peer.sendText(eventPacket(["room:join", "stuck"], { id: 0 }));
        await peer.frames.find(({ payload }) => payload.toString().startsWith("430"));
        peer.pause();
        peers.push(peer);
      }
      const silent = await TcpClient.connect(chat.url); // connects and never says anything
      const half = await TcpClient.connect(chat.url);
      half.write("GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n");
      peers.push(silent, half);
      const sender = await people.enter(chat.url, {}, { reconnection: false });
      await sender.ask("room:join", "stuck");
      for (let i = 0; i < 800; i++) {
        const answer = sender.sayIn("stuck", "x".repeat(4_000));
        if (i % 50 === 0) await answer;
      }
      await sender.settled();
      const start = Date.now();
      chat.signal("SIGTERM");
      assert.deepEqual(await chat.exited(DEADLINE_S * 1000 + 3_000), EXIT_0);
      t.diagnostic(`ended after ${Date.now() - start} ms`);
    } finally {
      for (const peer of peers) peer.destroy();
      if (!chat.exit) await chat.kill();
    }
  });
});
