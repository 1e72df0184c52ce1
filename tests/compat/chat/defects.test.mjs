// The eight defects of the tutorial's application, each shown not to exist here.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { startChat } from "../support/servers.mjs";
import { SOON, until } from "../support/wait.mjs";
import { contents, fill, People, reconnected, UNLIMITED } from "./people.mjs";

/** The same messages at the same positions; a difference is shown alone, not with the whole lists. */
function same(actual, expected) {
  const brief = ({ serverOffset, content, author } = {}) => `${serverOffset} ${author}: ${content}`;
  const at = expected.findIndex((message, i) => brief(message) !== brief(actual[i]));
  if (at >= 0) assert.equal(brief(actual[at]), brief(expected[at]), `message ${at}`);
  assert.equal(actual.length, expected.length);
}

describe("the tutorial's eight defects", () => {
  let chat;
  let people;
  const use = (name, test, options = {}) =>
    it(name, async () => {
      chat = await startChat({ nodes: 4, config: { limits: UNLIMITED }, ...options });
      people = new People();
      try {
        await test();
      } finally {
        people.close();
        await chat.stop();
      }
    });

  use("1: a client that loses its node is recovered on another", async () => {
    const [a, b] = [await people.enter(chat.urls[0]), await people.enter(chat.urls[1])];
    await a.say("before");
    await until(() => b.lobby.length === 1);
    const { id } = b.socket;
    for (const node of [2, 3, 0]) {
      b.socket.io.uri = chat.urls[node];
      people.cut(b.socket, "silent");
      await until(() => !b.socket.connected);
      await a.say(`while away ${node}`);
      await reconnected(b.socket);
      await until(() => b.contents.at(-1) === `while away ${node}`);
      assert.equal(b.socket.recovered, true);
      assert.equal(b.session.recovered, true);
      assert.equal(b.socket.id, id);
    }
    assert.deepEqual(b.contents, ["before", "while away 2", "while away 3", "while away 0"]);
  });

  use("2: two people's undefined-0 are two messages, one person's is one", async () => {
    const [a, b] = [await people.enter(chat.urls[0]), await people.enter(chat.urls[1])];
    const answers = [await a.say("hello", "undefined-0"), await b.say("hello", "undefined-0"), await b.say("other words", "undefined-0")];
    assert.deepEqual(answers.map(({ duplicate }) => duplicate), [false, false, false]);
    const again = await a.say("hello", "undefined-0");
    assert.deepEqual(again, { serverOffset: answers[0].serverOffset, duplicate: true });
    await until(() => a.lobby.length === 3);
    await a.settled();
    assert.deepEqual(a.contents, ["hello", "hello", "other words"]);
  });

  use("3: the position last received is the highest and contiguous, whichever node wrote it", async () => {
    const senders = await Promise.all(chat.urls.map((url) => people.enter(url)));
    const readers = await Promise.all(chat.urls.map((url) => people.enter(url)));
    await Promise.all(senders.map((sender, i) => fill(sender, 100, i * 1000)));
    await until(() => readers.every(({ lobby }) => lobby.length === 400), 2 * SOON);
    for (const { lobby } of readers) {
      assert.ok(lobby.every(({ serverOffset }, i) => i === 0 || serverOffset > lobby[i - 1].serverOffset));
      same(lobby, readers[0].lobby);
    }
    const middle = readers[0].lobby[150].serverOffset;
    const late = await people.enter(chat.urls[3], { serverOffset: middle });
    await until(() => late.lobby.length === 249);
    same(late.lobby, readers[0].lobby.slice(151));
  });

  use("4: the replay does not race live messages: no hole, no double, one order", async () => {
    const sender = await people.enter(chat.urls[0]);
    const [{ serverOffset }] = await fill(sender, 150);
    let sending = true;
    let sent = 150;
    const flow = (async () => {
      while (sending) await Promise.all([sender.say(`${sent++}`), sender.say(`${sent++}`)]);
    })();
    const newcomers = [];
    for (let i = 0; i < 40; i++) newcomers.push(await people.enter(chat.urls[i % 4], { serverOffset }));
    sending = false;
    await flow;
    await until(() => newcomers.every(({ lobby }) => lobby.length >= sent - 1), 2 * SOON);
    for (const { lobby } of newcomers) {
      assert.deepEqual(lobby.map(({ serverOffset }) => serverOffset), [...new Set(lobby.map(({ serverOffset }) => serverOffset))].sort((x, y) => x - y));
      assert.equal(lobby.length, sent - 1);
      same(lobby, newcomers[0].lobby);
    }
  });

  use("5: a message without acknowledgement is stored and disturbs nobody", async () => {
    const [a, b] = [await people.enter(chat.urls[0]), await people.enter(chat.urls[1])];
    a.socket.emit("chat message", "no ack, no id");
    a.socket.emit("chat message", "no ack", "a client offset of mine");
    a.socket.emit("chat message");
    a.socket.emit("room:join");
    a.socket.emit("history", null);
    await a.say("with ack");
    await until(() => b.lobby.length === 3);
    assert.deepEqual(b.contents, ["no ack, no id", "no ack", "with ack"]);
    assert.equal(a.sessions.length, 1);
  });

  use("6: a fresh page gets the newest 200 only, nobody else sees its replay, and recovery does not repeat it", async () => {
    const sender = await people.enter(chat.urls[0]);
    await fill(sender, 350);
    await until(() => sender.lobby.length === 350);
    const fresh = await people.enter(chat.urls[1]);
    await until(() => fresh.lobby.length >= 200);
    people.cut(fresh.socket, "silent");
    await until(() => !fresh.socket.connected);
    await sender.say("350");
    await reconnected(fresh.socket);
    await until(() => fresh.contents.at(-1) === "350");
    assert.equal(fresh.socket.recovered, true);
    assert.deepEqual(fresh.contents, contents(201, 150));
    await sender.settled();
    assert.deepEqual(sender.contents, contents(351));
  });

  use(
    "7: a refused message is not dropped silently: the tutorial's client sends it again, others are told",
    async () => {
      const tutorial = people.begin(chat.url, { retryable: undefined }, { retries: 3, ackTimeout: 400 });
      for (let i = 0; i < 30; i++) tutorial.socket.emit("chat message", `${i}`, `tutorial-message-number-${i}`);
      const reader = await people.enter(chat.urls[1]);
      await until(() => reader.lobby.length >= 30, 20_000, () => `30 messages; got ${reader.contents}`);
      assert.deepEqual(reader.contents, contents(30));
      const told = await people.enter(chat.url);
      const answers = await Promise.all(contents(30).map((text) => told.say(`told ${text}`)));
      const refused = answers.filter(({ error }) => error);
      assert.ok(refused.length > 0);
      assert.ok(refused.every(({ error }) => error.code === 102 && error.retry === true));
    },
    { config: { limits: { eventsPerSecond: 10, eventsBurst: 10 } } },
  );

  use("8: the documented auth keys do not switch recovery off, and an auth.offset of another documentation loses nothing", async () => {
    const sender = await people.enter(chat.urls[0]);
    await sender.say("0");
    for (const auth of [{ serverOffset: 0 }, { serverOffset: 0, offset: 0 }]) {
      const person = await people.enter(chat.urls[1], auth);
      person.socket.on("chat message", (_, serverOffset) => {
        person.socket.auth.serverOffset = serverOffset;
        if ("offset" in auth) person.socket.auth.offset = serverOffset;
      });
      await sender.say("live");
      await until(() => person.contents.at(-1) === "live");
      people.cut(person.socket, "silent");
      await until(() => !person.socket.connected);
      await sender.say("missed");
      await reconnected(person.socket);
      await until(() => person.contents.at(-1) === "missed");
      await person.settled();
      assert.deepEqual(person.contents.slice(-2), ["live", "missed"]);
      assert.equal(new Set(person.lobby.map(({ serverOffset }) => serverOffset)).size, person.lobby.length);
      if (!("offset" in auth)) assert.equal(person.socket.recovered, true);
    }
  });
});
