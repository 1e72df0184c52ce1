// Every refusal of docs/protocol.md that a client can provoke, with its code, field and retry.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";
import { startChat } from "../support/servers.mjs";
import { SOON, until, within } from "../support/wait.mjs";
import { once, refusal } from "../client/official.mjs";
import { People, UNLIMITED } from "./people.mjs";

const RETRYABLE = new Set([100, 101, 102, 103, 104, 105, 400, 401]);

/** Checks a refusal's shape and code. */
function refused(answer, code, field) {
  const error = answer?.error ?? answer;
  assert.equal(error?.code, code, JSON.stringify(answer));
  assert.equal(typeof error.message, "string");
  assert.ok(error.message.length > 0);
  assert.equal(error.retry, RETRYABLE.has(code));
  if (field !== undefined) assert.equal(error.field, field);
}

describe("refused events", () => {
  let chat;
  let people;
  let a;
  before(async () => void (chat = await startChat({ config: { limits: { ...UNLIMITED, roomsPerSocket: 3, messageCharacters: 100 } } })));
  after(() => chat?.stop());
  beforeEach(async () => {
    people = new People();
    a = await people.enter(chat.url);
  });
  afterEach(async () => {
    // whatever was refused, the connection stayed and serves
    assert.equal(a.sessions.length, 1);
    assert.ok((await a.say("still here")).serverOffset > 0);
    people.close();
  });

  const SHAPES = [
    ["chat message"],
    ["chat message", 7],
    ["chat message", null],
    ["chat message", { content: "x" }],
    ["chat message", "x", 7],
    ["chat message", Buffer.from("x")],
    ["room:join"],
    ["room:join", 7],
    ["room:join", ["a"]],
    ["room:leave"],
    ["room:message", "joined"],
    ["room:message"],
    ["history", "lobby"],
    ["history", []],
    ["history", { room: 7 }],
    ["who", 7],
  ];
  for (const [event, ...args] of SHAPES) {
    it(`200: ${event}(${JSON.stringify(args).slice(1, -1)})`, async () => {
      await a.ask("room:join", "joined");
      refused(await a.ask(event, ...args), 200);
    });
  }

  it("201: empty or too long content, counted in characters", async () => {
    refused(await a.say(""), 201, "content");
    refused(await a.say("x".repeat(101)), 201, "content");
    assert.ok((await a.say("😀".repeat(100))).serverOffset > 0);
    refused(await a.say("😀".repeat(101)), 201, "content");
    await a.ask("room:join", "r");
    refused(await a.sayIn("r", ""), 201, "content");
  });

  it("202: clientOffset empty or longer than 128 characters", async () => {
    refused(await a.say("x", ""), 202, "clientOffset");
    refused(await a.say("x", "o".repeat(129)), 202, "clientOffset");
    assert.ok((await a.say("x", "o".repeat(128))).serverOffset > 0);
  });

  it("203: room names", async () => {
    for (const name of ["", "r".repeat(65), "tab\there", "nul\u0000", "del\u007f", "c1\u0085"]) {
      refused(await a.ask("room:join", name), 203, "room");
      refused(await a.sayIn(name, "x"), 203, "room");
      refused(await a.ask("history", { room: name }), 203, "room");
      refused(await a.ask("who", name), 203, "room");
    }
    const name = "😀".repeat(64);
    assert.equal((await a.ask("room:join", name)).room, name);
  });

  it("102 before 204: messages to rooms one is not in count against the pace", async () => {
    const chat = await startChat({ config: { limits: { ...UNLIMITED, eventsPerSecond: 1, eventsBurst: 5 } } });
    try {
      const flood = await people.enter(chat.url);
      const answers = await Promise.all(Array.from({ length: 20 }, () => flood.sayIn("elsewhere", "x")));
      const codes = answers.map(({ error }) => error.code);
      assert.ok(codes.filter((code) => code === 204).length <= 6, `${codes}`);
      assert.ok(codes.includes(102), `${codes}`);
    } finally {
      await chat.stop();
    }
  });

  it("204: a message to a room one is not in, and leaving it", async () => {
    refused(await a.sayIn("elsewhere", "x"), 204, "room");
    await a.ask("room:join", "elsewhere");
    assert.ok((await a.sayIn("elsewhere", "x")).serverOffset > 0);
    await a.ask("room:leave", "elsewhere");
    refused(await a.sayIn("elsewhere", "x"), 204, "room");
  });

  it("204: a room named after another's socket, or after the lobby's own, is a room like any other", async () => {
    const b = await people.enter(chat.url);
    await a.ask("room:join", b.socket.id);
    await a.sayIn(b.socket.id, "for that room only");
    await b.settled();
    assert.deepEqual(b.rooms, {});
    assert.ok(!b.contents.includes("for that room only"));
  });

  it("205: more rooms than one socket may have; joining one twice is no second one", async () => {
    for (const room of ["1", "2", "3", "3", "1"]) assert.equal((await a.ask("room:join", room)).room, room);
    refused(await a.ask("room:join", "4"), 205);
    await a.ask("room:leave", "2");
    assert.equal((await a.ask("room:join", "4")).room, "4");
  });

  it("206: history requests outside their limits", async () => {
    for (const [request, field] of [
      [{ limit: 0 }, "limit"],
      [{ limit: 101 }, "limit"],
      [{ limit: -1 }, "limit"],
      [{ limit: "many" }, "limit"],
      [{ before: 1, after: 1 }, undefined],
    ]) {
      refused(await a.ask("history", request), 206, field);
    }
    assert.equal((await a.ask("history", { limit: 100 })).error, undefined);
  });

  it("unknown events are not answered and change nothing", async () => {
    await assert.rejects(a.socket.timeout(200).emitWithAck("no such event", 1), /timed out/);
  });
});

describe("102: too many events per second", () => {
  it("are refused, counted per socket, and pass later", async () => {
    const chat = await startChat({ config: { limits: { eventsPerSecond: 20, eventsBurst: 20 } } });
    const people = new People();
    try {
      const [a, b] = [await people.enter(chat.url), await people.enter(chat.url)];
      const answers = await Promise.all(Array.from({ length: 60 }, (_, i) => a.say(`${i}`)));
      const stored = answers.filter(({ error }) => !error);
      for (const { error } of answers.filter(({ error }) => error)) refused(error, 102);
      assert.ok(stored.length >= 15 && stored.length < 50, `${stored.length} stored`);
      assert.ok((await b.say("another socket")).serverOffset > 0);
      await until(async () => !(await a.say("later")).error);
      await until(async () => !(await b.ask("history", {})).error);
      assert.equal(b.lobby.filter(({ content }) => /^\d+$/.test(content)).length, stored.length);
    } finally {
      people.close();
      await chat.stop();
    }
  });

  it("are not answered at all for a client that does not read refusals", async () => {
    const chat = await startChat({ config: { limits: { eventsPerSecond: 5, eventsBurst: 5 } } });
    const people = new People();
    try {
      const a = people.begin(chat.url, { retryable: undefined });
      await until(() => a.socket.connected);
      const answers = [];
      for (let i = 0; i < 20; i++) a.socket.emit("chat message", `${i}`, (answer) => answers.push(answer));
      await until(() => answers.length >= 3);
      await until(async () => (await a.socket.timeout(500).emitWithAck("history", {}).catch(() => undefined)) !== undefined);
      assert.ok(answers.length < 20);
      assert.ok(answers.every((answer) => answer.serverOffset > 0), JSON.stringify(answers));
      refused(await until(() => a.socket.timeout(500).emitWithAck("chat message", "").catch(() => undefined)), 201);
    } finally {
      people.close();
      await chat.stop();
    }
  });
});

describe("connections", () => {
  let people;
  beforeEach(() => void (people = new People()));
  afterEach(() => people.close());

  const raw = (url, transport) => fetch(`${url}/socket.io/?EIO=4&transport=${transport}`);

  it("400: too many in all are answered 503, and a place that becomes free is given", async () => {
    const chat = await startChat({ config: { limits: { ...UNLIMITED, connections: 3, connectionsPerAddress: 0 } } });
    try {
      const persons = [await people.enter(chat.url), await people.enter(chat.url), await people.enter(chat.url)];
      const answer = await raw(chat.url, "polling");
      assert.equal(answer.status, 503);
      await answer.text();
      for (const transports of [["polling"], ["websocket"]]) {
        const late = people.begin(chat.url, {}, { transports, reconnection: false });
        assert.ok(await refusal(late.socket));
      }
      persons[0].socket.disconnect();
      const late = people.begin(chat.url);
      await until(() => late.socket.connected);
    } finally {
      people.close();
      await chat.stop();
    }
  });

  it("401: too many of one address are answered 429", async () => {
    const chat = await startChat({ config: { limits: { ...UNLIMITED, connectionsPerAddress: 2 } } });
    try {
      await people.enter(chat.url);
      const second = await people.enter(chat.url);
      const answer = await raw(chat.url, "polling");
      assert.equal(answer.status, 429);
      await answer.text();
      const metrics = await (await fetch(`${chat.adminUrl}/metrics`)).text();
      assert.match(metrics, /^chatcluster_refusals_total\{code="401"\} 1$/m);
      second.socket.disconnect();
      await people.enter(chat.url);
    } finally {
      people.close();
      await chat.stop();
    }
  });

  it("303 and 304: names and positions that are not allowed refuse the connection", async () => {
    const chat = await startChat();
    try {
      const NAMES = ["", "n".repeat(65), "tab\there", 7, {}];
      for (const name of NAMES) refused((await refusal(people.begin(chat.url, { name }).socket)).data, 303, "name");
      const OFFSETS = [-1, 1.5, "1", {}, true, 2 ** 53];
      for (const serverOffset of OFFSETS) {
        refused((await refusal(people.begin(chat.url, { serverOffset }).socket)).data, 304, "serverOffset");
      }
      const name = "😀".repeat(64);
      assert.equal((await people.enter(chat.url, { name })).session.name, name);
    } finally {
      people.close();
      await chat.stop();
    }
  });

  it("103: while the server drains, handshakes are refused and events end well or retryable", async () => {
    const chat = await startChat({ config: { limits: UNLIMITED, drain: { rate: 1, deadline: "8s" } } });
    const persons = await Promise.all(Array.from({ length: 6 }, () => people.enter(chat.url, {}, { reconnection: false })));
    chat.signal("SIGTERM");
    await until(async () => (await raw(chat.url, "polling").catch(() => ({ status: 0 }))).status !== 200);
    const codes = [];
    for (const person of persons) {
      const answer = await person.socket.timeout(500).emitWithAck("chat message", "in the drain").catch(() => undefined);
      if (answer?.error) refused(answer, 103);
      codes.push(answer?.error?.code ?? (answer ? "stored" : "unanswered"));
    }
    assert.ok(codes.length === 6);
    assert.deepEqual(await chat.exited(), { code: 0, signal: null });
  });
});

describe("100 and 101: the message store", () => {
  it("a store that another process holds refuses with retry, stores nothing, and goes on afterwards", { timeout: 60_000 }, async () => {
    const chat = await startChat({ config: { limits: UNLIMITED } });
    const people = new People();
    let lock;
    try {
      const [a, b] = [await people.enter(chat.url), await people.enter(chat.url)];
      await a.say("before");
      const file = readdirSync(chat.dataDir).find((name) => /\.(db|sqlite3?)$/.test(name));
      assert.ok(file, `a database in ${readdirSync(chat.dataDir)}`);
      lock = spawn("python3", ["-c", "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); c.execute('BEGIN IMMEDIATE'); print('LOCKED', flush=True); sys.stdin.read()", join(chat.dataDir, file)]);
      await within(once(lock.stdout, "data"), SOON, "python3 locks the database");
      const id = "a-client-offset-of-this-test";
      const answer = await a.socket.timeout(30_000).emitWithAck("chat message", "while locked", id);
      refused(answer, answer.error?.code === 101 ? 101 : 100);
      lock.stdin.end();
      await within(new Promise((done) => lock.once("exit", done)), SOON, "python3 ends");
      const stored = await until(async () => {
        const again = await a.say("while locked", id);
        return again.error ? undefined : again;
      }, 15_000);
      assert.equal(stored.duplicate, false);
      await until(() => b.contents.includes("while locked"));
      await b.settled();
      assert.deepEqual(b.contents, ["before", "while locked"]);
    } finally {
      lock?.kill();
      people.close();
      await chat.stop();
    }
  });
});
