// Lobby and rooms: acknowledgements, duplicates, who sees what, typing, who is here.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";
import { startChat } from "../support/servers.mjs";
import { until } from "../support/wait.mjs";
import { reconnected } from "../client/official.mjs";
import { MODES, People, UNLIMITED } from "./people.mjs";

describe("messages", () => {
  let chat;
  let people;
  before(async () => void (chat = await startChat({ nodes: 2, config: { limits: UNLIMITED } })));
  after(() => chat?.stop());
  beforeEach(() => void (people = new People()));
  afterEach(() => people.close());
  const enter = (node, auth, options) => people.enter(chat.urls[node], auth, options);

  it("each connection is told about its session once", async () => {
    const a = await enter(0, { name: "Ada" });
    await until(() => a.sessions.length > 0);
    assert.equal(a.sessions.length, 1);
    assert.equal(a.session.name, "Ada");
    assert.equal(a.session.recovered, false);
    assert.ok(Number.isSafeInteger(a.session.serverOffset));
    const b = await enter(1);
    assert.notEqual(b.session.node, a.session.node);
    assert.match(b.session.name, /^guest-.{4}$/u);
    people.cut(a.socket, "polite");
    await until(() => !a.socket.connected);
    await reconnected(a.socket);
    await until(() => a.sessions.length === 2);
    assert.equal(a.session.recovered, true);
    assert.equal(a.session.name, "Ada");
  });

  it("a guest who is recovered keeps the name", async () => {
    const guest = await enter(0);
    await until(() => guest.sessions.length > 0);
    people.cut(guest.socket, "polite");
    await until(() => !guest.socket.connected);
    await reconnected(guest.socket);
    await until(() => guest.sessions.length === 2);
    const [first, second] = guest.sessions;
    assert.deepEqual([second.recovered, second.name], [true, first.name]);
    const { members } = await guest.ask("who");
    assert.ok(members.some(({ id, name }) => id === guest.socket.id && name === first.name));
  });

  it("a message is acknowledged with its position and shown with author and time", async () => {
    const [a, b] = [await enter(0, { name: "Ada" }), await enter(1)];
    const before_ = Date.now();
    const answer = await a.say("hällo 😀\n<b>not markup</b>");
    assert.deepEqual(Object.keys(answer).sort(), ["duplicate", "serverOffset"]);
    assert.equal(answer.duplicate, false);
    await until(() => b.lobby.at(-1)?.serverOffset === answer.serverOffset && a.lobby.at(-1)?.serverOffset === answer.serverOffset);
    const { content, author, at } = b.lobby.at(-1);
    assert.equal(content, "hällo 😀\n<b>not markup</b>");
    assert.equal(author, "Ada");
    assert.ok(at >= before_ - 1000 && at <= Date.now() + 1000, `${at}`);
  });

  it("a message is the same live, replayed and in a page, its time included", async () => {
    const a = await enter(0, { name: "Ada" });
    for (let i = 0; i < 50; i++) await a.say(`same everywhere ${i}`);
    await a.settled();
    const live = a.lobby.slice(-50);
    const page = await a.ask("history", { limit: 50 });
    const late = await enter(1, { serverOffset: live[0].serverOffset - 1 });
    await until(() => late.lobby.length >= 50);
    const differing = live.filter((message, i) => [page.messages[i], late.lobby[i]].some((other) => JSON.stringify({ ...message, ...other }) !== JSON.stringify(message)));
    assert.deepEqual(differing.slice(0, 3), [], `${differing.length} of 50 differ`);
  });

  it("a repeated clientOffset is acknowledged with the first position and not shown twice, from any node", async () => {
    const id = randomUUID();
    const [a, reader] = [await enter(0), await enter(1)];
    const first = await a.say("once", id);
    const again = await Promise.all([a.say("once", id), a.say("once", id)]);
    a.socket.io.uri = chat.urls[1];
    people.cut(a.socket, "polite");
    await until(() => !a.socket.connected);
    await reconnected(a.socket);
    again.push(await a.say("once", id));
    for (const answer of again) assert.deepEqual(answer, { serverOffset: first.serverOffset, duplicate: true });
    await reader.settled();
    assert.equal(reader.contents.filter((text) => text === "once").length, 1);
  });

  it("the same clientOffset sent many times at once is stored once", async () => {
    const id = randomUUID();
    const [a, reader] = [await enter(0), await enter(1)];
    const answers = await Promise.all(Array.from({ length: 20 }, () => a.say("at once", id)));
    assert.equal(new Set(answers.map(({ serverOffset }) => serverOffset)).size, 1);
    assert.equal(answers.filter(({ duplicate }) => !duplicate).length, 1);
    await reader.settled();
    assert.equal(reader.contents.filter((text) => text === "at once").length, 1);
  });

  it("the same clientOffset with other content, or in another room, is another message", async () => {
    const id = randomUUID();
    const a = await enter(0);
    await a.ask("room:join", "r1");
    await a.ask("room:join", "r2");
    const answers = [await a.say("one", id), await a.say("two", id), await a.sayIn("r1", "one", id), await a.sayIn("r2", "one", id)];
    assert.ok(answers.every(({ duplicate }) => duplicate === false));
    assert.equal(new Set(answers.map(({ serverOffset }) => serverOffset)).size, 4);
    assert.equal((await a.sayIn("r1", "one", id)).duplicate, true);
  });

  it("without a clientOffset the same words are two messages", async () => {
    const a = await enter(0);
    const [one, two] = [await a.ask("chat message", "twice"), await a.ask("chat message", "twice")];
    assert.equal(two.duplicate, false);
    assert.ok(two.serverOffset > one.serverOffset);
  });

  it("rooms: members see messages in order, others and those who left do not", async () => {
    const [a, b, c] = [await enter(0), await enter(1), await enter(1)];
    const room = `room ${randomUUID().slice(0, 8)} ä`;
    const joined = await a.ask("room:join", room);
    assert.deepEqual(Object.keys(joined).sort(), ["room", "serverOffset"]);
    assert.equal(joined.room, room);
    await b.ask("room:join", room);
    const first = await a.sayIn(room, "first");
    await b.sayIn(room, "second");
    assert.deepEqual(await b.ask("room:leave", room), { room });
    await a.sayIn(room, "third");
    const fence = await a.say("fence");
    for (const person of [a, b, c]) await until(() => person.lobby.at(-1)?.serverOffset === fence.serverOffset);
    const texts = (person) => (person.rooms[room] ?? []).map(({ content }) => content);
    assert.deepEqual([texts(a), texts(b), texts(c)], [["first", "second", "third"], ["first", "second"], []]);
    assert.ok(a.rooms[room].every(({ serverOffset }) => serverOffset > joined.serverOffset));
    assert.equal(a.rooms[room][0].serverOffset, first.serverOffset);
    assert.ok(!a.contents.includes("first"));
  });

  it("a rejoined room shows nothing of the time between", async () => {
    const [a, b, witness] = [await enter(0), await enter(1), await enter(1)];
    for (const person of [a, b, witness]) await person.ask("room:join", "again");
    await b.ask("room:leave", "again");
    await a.sayIn("again", "between");
    // A join counts from what its own node has delivered, which may be a moment behind the acknowledgement on another.
    await until(() => witness.rooms["again"]?.length === 1);
    const { serverOffset } = await b.ask("room:join", "again");
    await a.sayIn("again", "after");
    await until(() => b.rooms["again"]?.length === 1);
    assert.equal(b.rooms["again"][0].content, "after");
    assert.ok(b.rooms["again"][0].serverOffset > serverOffset);
  });

  it("rooms survive recovery, and a missed room message is shown once", async () => {
    const [a, b] = [await enter(0), await enter(1)];
    for (const person of [a, b]) await person.ask("room:join", "kept");
    b.socket.io.uri = chat.urls[0];
    people.cut(b.socket, "silent");
    await until(() => !b.socket.connected);
    await a.sayIn("kept", "missed");
    await reconnected(b.socket);
    await a.sayIn("kept", "live");
    await until(() => b.rooms["kept"]?.length >= 2);
    await b.settled();
    assert.equal(b.socket.recovered, true);
    assert.deepEqual(b.rooms["kept"].map(({ content }) => content), ["missed", "live"]);
  });

  for (const [mode, options] of Object.entries(MODES)) {
    it(`typing reaches the others of the lobby or the room, not the typist, by ${mode}`, async () => {
      const [a, b, outside] = [await enter(0, { name: "Ada" }, options), await enter(1, {}, options), await enter(1, {}, options)];
      for (const person of [a, b]) await person.ask("room:join", "t");
      // volatile: a client between two polls may miss one
      await until(() => {
        a.socket.emit("typing", "t");
        return b.typing.all.length > 0;
      });
      assert.deepEqual(b.typing.all[0][0], { room: "t", author: "Ada" });
      assert.deepEqual(outside.typing.all, []);
      await until(() => {
        a.socket.emit("typing");
        return outside.typing.all.length > 0;
      });
      assert.deepEqual(outside.typing.all[0][0], { room: null, author: "Ada" });
      await a.settled();
      assert.deepEqual(a.typing.all, []);
    });
  }

  it("who lists the lobby and a room over all nodes, and nobody who left", async () => {
    const [a, b] = [await enter(0, { name: "Ada" }), await enter(1, { name: "Bob" })];
    const lobby = await a.ask("who");
    assert.deepEqual(lobby.missing, []);
    for (const person of [a, b]) {
      assert.equal(lobby.members.filter(({ id }) => id === person.socket.id).length, 1);
    }
    assert.equal(lobby.members.find(({ id }) => id === b.socket.id).name, "Bob");
    const room = randomUUID();
    const inRoom = async () => (await a.ask("who", room)).members.map(({ name }) => name).sort();
    await a.ask("room:join", room);
    await b.ask("room:join", room);
    assert.deepEqual(await inRoom(), ["Ada", "Bob"]);
    await b.ask("room:leave", room);
    assert.deepEqual(await inRoom(), ["Ada"]);
    const { id } = b.socket;
    b.socket.disconnect();
    await until(async () => (await a.ask("who")).members.every((member) => member.id !== id));
  });

  it("joined and left tell the others in the lobby and in rooms", async () => {
    const a = await enter(0, { name: "Ada" });
    const room = randomUUID();
    await a.ask("room:join", room);
    const b = await enter(1, { name: "Bob" });
    const { id } = b.socket;
    const of = (inbox, where) => inbox.all.map(([notice]) => notice).filter((notice) => notice.id === id && notice.room === where);
    await until(() => of(a.joined, null).length === 1);
    assert.deepEqual(of(a.joined, null)[0], { room: null, id, name: "Bob" });
    await b.ask("room:join", room);
    await until(() => of(a.joined, room).length === 1);
    await b.ask("room:leave", room);
    await until(() => of(a.left, room).length === 1);
    b.socket.disconnect();
    await until(() => of(a.left, null).length === 1);
    assert.deepEqual(of(a.left, null)[0], { room: null, id, name: "Bob" });
  });

  it("where very many are, on all nodes together, nobody is told who comes and goes: not on a node with few of them either", async () => {
    const crowd = await Promise.all(Array.from({ length: 200 }, () => enter(0)));
    const a = await enter(1, { name: "Ada" });
    const b = await enter(1, { name: "Bob" });
    const { id } = b.socket;
    b.socket.disconnect();
    await until(async () => (await a.ask("who")).total === crowd.length + 1);
    await a.say("fence");
    await until(() => a.contents.at(-1) === "fence");
    assert.deepEqual([...a.joined.all, ...a.left.all].filter(([notice]) => notice.id === id), []);
    for (const { socket } of crowd) socket.disconnect();
    await until(async () => (await a.ask("who")).total === 1);
    const c = await enter(0);
    await until(() => a.joined.all.some(([notice]) => notice.id === c.socket.id));
  });

  it("who is announced as gone is gone: after a recovery the others' notices still add up to who is here", async () => {
    const [a, b] = [await enter(0), await enter(1)];
    const { id } = b.socket;
    await until(() => a.joined.all.some(([notice]) => notice.id === id));
    people.cut(b.socket, "silent");
    await until(() => !b.socket.connected);
    await reconnected(b.socket);
    assert.equal(b.socket.recovered, true);
    await b.say("fence");
    await until(() => a.contents.at(-1) === "fence");
    // leaving without ever joining again would take somebody who is here off everybody's list
    const count = (inbox) => inbox.all.filter(([notice]) => notice.id === id && notice.room === null).length;
    await until(() => count(a.joined) - count(a.left) === 1, undefined, () => `1 more joined than left; joined ${count(a.joined)}, left ${count(a.left)}`);
  });

  it("with recovery=0 events have no extra argument", async () => {
    const a = await enter(0, {}, { query: { recovery: "0" } });
    const raw = [];
    a.socket.onAny((...args) => raw.push(args));
    await a.say("plain");
    await until(() => raw.length > 0);
    assert.equal(raw[0].length, 4);
    assert.equal(a.socket._pid, undefined);
  });
});
