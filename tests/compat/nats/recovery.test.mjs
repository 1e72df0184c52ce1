// Recovery on another server: its first one is ended, killed, or still holds the old connection.
import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";
import { contents, MODES, once, People, reconnected, UNLIMITED } from "../chat/people.mjs";
import { jetStream } from "../support/jetstream.mjs";
import { signHs256 } from "../support/jwt.mjs";
import { startCluster, startNats } from "../support/nats.mjs";
import { SOON, until } from "../support/wait.mjs";
import { Wire } from "../support/wire.mjs";

const CONFIG = { limits: UNLIMITED, drain: { deadline: "5s" } };

/** Keeps a client away until it is told where to come back; what it knows stays. */
function holdAway({ socket }) {
  socket.io.reconnection(false);
  return async (url) => {
    socket.io.uri = url;
    socket.io.reconnection(true);
    socket.io.open();
    await reconnected(socket, 2 * SOON);
  };
}

/** The subjects of what a cluster's bucket holds. @param {import("../support/nats.mjs").ChatCluster} cluster */
async function storedSessions({ nats, sessions }) {
  const { state } = await jetStream(nats, `STREAM.INFO.${sessions}`, { subjects_filter: ">" });
  return Object.keys(state.subjects ?? {});
}

/** Whether a session is not in the bucket any more: what is there is the mark of its removal, without a value, until that goes, too. */
async function isRemoved({ nats, sessions }, subject) {
  const found = jetStream(nats, `STREAM.MSG.GET.${sessions}`, { last_by_subj: subject });
  return found.then(({ message }) => !message.data, (error) => error.message.endsWith("no message found"));
}

describe("recovery on another server", () => {
  let nats;
  let cluster;
  let people;
  /** The staying server is number 0; each test may end number 1. */
  before(async () => void (nats = await startNats()));
  after(() => nats?.stop());
  beforeEach(async () => {
    people = new People();
    cluster = await startCluster({ config: CONFIG, nats });
  });
  afterEach(async () => {
    people?.close();
    await cluster?.stop();
  });

  const ends = { SIGTERM: "terminate", SIGKILL: "kill" };
  for (const [signal, end] of Object.entries(ends)) {
    for (const [mode, options] of Object.entries(MODES)) {
      it(`after ${signal} of its own, by ${mode}: same id and rooms, and exactly what was missed`, { timeout: 40_000 }, async () => {
        const [going, writer] = [await people.enter(cluster.urls[1], { name: "Going" }, options), await people.enter(cluster.urls[0])];
        for (const person of [going, writer]) await person.ask("room:join", "r");
        await writer.say("0");
        await writer.sayIn("r", "0");
        await until(() => going.contents.length === 1 && going.rooms.r?.length === 1);
        const { id } = going.socket;
        const release = holdAway(going);
        const gone = once(going.socket, "disconnect", 2 * SOON);
        await cluster[end](1);
        assert.match((await gone)[0], /^transport (close|error)$/);
        for (let i = 1; i <= 20; i++) await (i % 2 ? writer.say(`${i}`) : writer.sayIn("r", `${i}`));
        await writer.ask("room:join", "elsewhere");
        await writer.sayIn("elsewhere", "not for who went");
        await release(cluster.urls[0]);
        assert.equal(going.socket.recovered, true);
        assert.equal(going.socket.id, id);
        for (const person of [going, writer]) await person.say(`after ${person === going}`);
        for (const person of [going, writer]) await person.settled();
        assert.deepEqual(going.lobby, writer.lobby);
        assert.deepEqual(going.rooms.r, writer.rooms.r);
        assert.equal(going.rooms.elsewhere, undefined);
        assert.equal(going.lobby.length, 13);
        assert.equal(going.rooms.r.length, 11);
        assert.equal(going.session.recovered, true);
        assert.equal(going.session.name, "Going");
        const { members } = await writer.ask("who", "r");
        assert.deepEqual(members.map((member) => member.id).sort(), [id, writer.socket.id].sort());
      });
    }

    it(`after ${signal} before it was sent any event: same id, and what was said since`, { timeout: 40_000 }, async () => {
      const writer = await people.enter(cluster.urls[0]);
      const going = people.begin(cluster.urls[1]);
      // in the turn of the CONNECT packet: nothing that comes after it is read
      going.socket.once("connect", () => people.cut(going.socket, "silent"));
      const release = holdAway(going);
      await once(going.socket, "disconnect");
      assert.deepEqual(going.events, []);
      assert.equal(going.socket._lastOffset, undefined);
      const pid = going.socket._pid;
      await cluster[end](1);
      for (let i = 0; i < 5; i++) await writer.say(`${i}`);
      await release(cluster.urls[0]);
      assert.equal(going.socket.recovered, true);
      assert.equal(going.socket._pid, pid);
      await writer.say("5");
      await going.settled();
      assert.deepEqual(going.contents, contents(6));
    });
  }

  for (const [mode, options] of Object.entries(MODES)) {
    it(`while its own still holds the old connection, there and back again, by ${mode}`, { timeout: 40_000 }, async () => {
      const [roaming, writer] = [await people.enter(cluster.urls[1], {}, options), await people.enter(cluster.urls[0])];
      for (const person of [roaming, writer]) await person.ask("room:join", "r");
      const { id } = roaming.socket;
      for (let round = 0; round < 6; round++) {
        const { ws } = roaming.socket.io.engine.transport;
        const heard = [];
        ws?.addEventListener("message", ({ data }) => heard.push(data));
        const release = holdAway(roaming);
        people.cut(roaming.socket, "silent");
        await writer.say(`${2 * round}`);
        await writer.sayIn("r", `${2 * round}`);
        await release(cluster.urls[round % 2]);
        assert.equal(roaming.socket.recovered, true, `round ${round}`);
        assert.equal(roaming.socket.id, id);
        if (ws) {
          await until(() => ws.readyState === ws.CLOSED, 2 * SOON, "the server closes the old connection");
          assert.ok(!heard.some((data) => String(data).startsWith("41")), `the old connection was sent ${heard}`);
        }
        await writer.say(`${2 * round + 1}`);
        await writer.sayIn("r", `${2 * round + 1}`);
      }
      await roaming.settled();
      assert.deepEqual(roaming.contents, contents(12));
      assert.deepEqual(roaming.rooms.r.map(({ content }) => content), contents(12));
      people.endAbandoned();
      const { members } = await writer.ask("who");
      assert.equal(members.filter((member) => member.id === id).length, 1);
    });
  }

  it("the old connection on the server that has lost the session is closed without 41, and shown nothing any more", { timeout: 40_000 }, async () => {
    const writer = await people.enter(cluster.urls[0]);
    const old = await Wire.connect(cluster.urls[1]);
    await writer.say("seen");
    await old.sees("seen");
    const back = await Wire.connect(cluster.urls[0], { auth: old.credentials });
    assert.deepEqual(back.answer.data, { sid: old.sid, pid: old.pid });
    await old.socket.closed(2 * SOON);
    assert.ok(old.packets.all.every(({ type }) => type !== 1), "the old connection was sent a DISCONNECT");
    await writer.say("live");
    await back.sees("live");
    assert.deepEqual(back.lobby, ["live"]);
    assert.ok(!old.lobby.includes("live"));
    back.disconnect();
  });

  it("of two that come back at the same moment on two servers one has the session, and misses nothing", { timeout: 40_000 }, async () => {
    const writer = await people.enter(cluster.urls[0]);
    for (let round = 0; round < 10; round++) {
      const gone = await Wire.connect(cluster.urls[round % 2]);
      await writer.say(`${round} before`);
      await gone.sees(`${round} before`);
      gone.cut();
      await writer.say(`${round} missed`);
      const rivals = await Promise.all(cluster.urls.map((url) => Wire.connect(url, { auth: gone.credentials })));
      const holding = () => rivals.filter(({ socket, answer }) => socket.isOpen && answer?.data?.sid === gone.sid);
      await until(() => holding().length === 1 && rivals.every(({ socket, answer }) => answer || !socket.isOpen), 2 * SOON, () => `one of two has the session; ${holding().length} have it`);
      await writer.say(`${round} live`);
      const [winner] = holding();
      await winner.sees(`${round} live`);
      assert.deepEqual(winner.lobby, [`${round} missed`, `${round} live`]);
      for (const { socket } of rivals) socket.terminate();
    }
  });

  it("a session that its client has ended is not recovered on the other server", async () => {
    const wire = await Wire.connect(cluster.urls[1]);
    const [session, ...others] = await storedSessions(cluster);
    assert.deepEqual(others, []);
    const writer = await people.enter(cluster.urls[0]);
    await writer.say("seen");
    await wire.sees("seen");
    wire.disconnect();
    const isAlone = ({ total, missing }) => total === 1 && missing.length === 0;
    await until(async () => isAlone(await writer.ask("who")), 2 * SOON, "the client has gone");
    // a server that has let a client go does not wait for NATS
    await until(() => isRemoved(cluster, session), 2 * SOON, "its session is removed");
    const back = await Wire.connect(cluster.urls[0], { auth: wire.credentials });
    assert.notEqual(back.sid, wire.sid);
    assert.notEqual(back.pid, wire.pid);
    back.cut();
  });
});

describe("recovery on another server, with tokens", () => {
  const KEY = randomBytes(32).toString("hex");
  const token = (sub, more = {}) => signHs256({ sub, exp: Math.floor(Date.now() / 1000) + 600, ...more }, KEY);
  let folder;
  let cluster;
  let people;
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "chatcluster-key-"));
    writeFileSync(join(folder, "key"), KEY);
    const auth = { type: "Jwt", jwt: { algorithms: ["HS256"], keyFile: join(folder, "key"), clockSkew: "5s" } };
    cluster = await startCluster({ config: { ...CONFIG, auth } });
  });
  after(async () => {
    await cluster?.stop();
    if (folder) rmSync(folder, { recursive: true });
  });
  beforeEach(() => void (people = new People()));
  afterEach(() => people.close());

  /** Somebody who was in a room on server 1 and missed something there. */
  async function awayWithSecret() {
    const room = randomUUID();
    const [alice, writer] = [await people.enter(cluster.urls[1], { token: token("alice") }), await people.enter(cluster.urls[0], { token: token("writer") })];
    for (const person of [alice, writer]) await person.ask("room:join", room);
    await writer.sayIn(room, "seen");
    await until(() => alice.rooms[room]?.length === 1);
    const { id } = alice.socket;
    const release = holdAway(alice);
    people.cut(alice.socket, "silent");
    await writer.sayIn(room, "missed");
    return { alice, release, room, credentials: { pid: alice.socket._pid, offset: alice.socket._lastOffset }, id };
  }

  it("someone else's pid recovers nothing, shows nothing and costs its owner nothing", async () => {
    const { alice, release, room, credentials, id } = await awayWithSecret();
    for (const url of cluster.urls) {
      const thief = await Wire.connect(url, { auth: { ...credentials, token: token("mallory") } });
      assert.notEqual(thief.sid, id);
      assert.notEqual(thief.pid, credentials.pid);
      const fence = randomUUID();
      await thief.say(fence);
      await thief.sees(fence);
      assert.deepEqual(thief.rooms, []);
      thief.disconnect();
    }
    await release(cluster.urls[0]);
    assert.equal(alice.socket.recovered, true);
    assert.equal(alice.socket.id, id);
    await alice.settled();
    assert.deepEqual(alice.rooms[room].map(({ content }) => content), ["seen", "missed"]);
  });

  it("an expired token recovers nothing on the other server, and a new one does", async () => {
    const { alice, release, room, credentials, id } = await awayWithSecret();
    const expired = token("alice", { exp: Math.floor(Date.now() / 1000) - 60 });
    const refused = await Wire.connect(cluster.urls[0], { auth: { ...credentials, token: expired } });
    assert.equal(refused.refusal?.data?.code, 302, JSON.stringify(refused.refusal));
    assert.deepEqual(refused.events, []);
    refused.cut();
    await release(cluster.urls[0]);
    assert.equal(alice.socket.recovered, true);
    assert.equal(alice.socket.id, id);
    await alice.settled();
    assert.deepEqual(alice.rooms[room].map(({ content }) => content), ["seen", "missed"]);
  });
});
