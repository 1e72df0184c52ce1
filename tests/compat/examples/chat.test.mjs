// The two chats in the terminal, in Node and in Python: the same promises, kept with and without connection state recovery.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, describe, it } from "node:test";
import { contents, fill, People, UNLIMITED } from "../chat/people.mjs";
import { python } from "../support/python.mjs";
import { startChat } from "../support/servers.mjs";
import { until } from "../support/wait.mjs";
import { example, PATIENT, Program } from "./program.mjs";
import { Relay } from "./relay.mjs";

const CHATS = {
  "node-client/chat.mjs": { command: () => process.execPath, recovers: true, refused: /^refused: / },
  "python-client/chat.py": { command: python, recovers: false, refused: /^-- not connected: .*'code': 303/ },
};
const OPTIONS = { timeout: 90_000 };

/** The value of a metric with its labels. */
async function metric(chat, name) {
  const text = await (await fetch(`${chat.adminUrl}/metrics`)).text();
  const line = text.split("\n").find((one) => one.startsWith(`${name} `));
  assert.ok(line, `there is no metric ${name}`);
  return Number(line.slice(name.length));
}

for (const [path, { command, recovers, refused }] of Object.entries(CHATS)) {
  describe(`examples/${path}`, () => {
    let chat;
    let people;
    let relay;
    const programs = [];
    before(async () => void (chat = await startChat({ config: { limits: UNLIMITED } })));
    after(() => chat?.stop());
    afterEach(async () => {
      people?.close();
      relay?.close();
      for (const program of programs.splice(0)) await program.kill();
    });

    /** The program, at work: it has shown a message, and what comes after that one is `shown` and `sent`. */
    async function start(url, bob) {
      const program = run(url, "Ada");
      const greeting = `hello ${randomUUID()}`;
      const { serverOffset } = await bob.say(greeting);
      await program.shows(`Bob: ${greeting}`);
      return {
        program,
        shown: () => program.messages.slice(program.messages.indexOf(`Bob: ${greeting}`) + 1),
        sent: async () => {
          const { messages } = await bob.ask("history", { after: serverOffset, limit: 100 });
          return messages.filter(({ author }) => author === "Ada").map(({ content }) => content);
        },
      };
    }

    function run(url, name) {
      const program = new Program(url, command(), example(path), name);
      programs.push(program);
      return program;
    }

    async function bobAt(url) {
      people = new People();
      return people.enter(url, { name: "Bob" });
    }

    it("shows what others say, sends what is typed, and ends with its input", OPTIONS, async () => {
      const bob = await bobAt(chat.url);
      const { program, sent } = await start(chat.url, bob);
      program.type("hello Bob");
      program.type("ä😀 and bye");
      await program.shows("Ada: ä😀 and bye");
      program.type("the last line");
      assert.equal(await program.finish(), 0);
      assert.deepEqual(await sent(), ["hello Bob", "ä😀 and bye", "the last line"]);
    });

    it("does not pass on what would command the terminal", OPTIONS, async () => {
      const bob = await bobAt(chat.url);
      const { program } = await start(chat.url, bob);
      await bob.say("red\u001b[31m\r\u009b2J");
      await program.shows("Bob: red [31m  2J");
    });

    it("says which line was refused for good, and goes on", OPTIONS, async () => {
      const bob = await bobAt(chat.url);
      const { program, sent } = await start(chat.url, bob);
      program.type("x".repeat(4_001));
      program.type("shorter");
      await program.lines.find((line) => /^-- (not sent|refused): /.test(line), "the refusal", PATIENT);
      await program.shows("Ada: shorter");
      assert.deepEqual(await sent(), ["shorter"]);
    });

    it("shows a burst in its order, each message once", OPTIONS, async () => {
      const bob = await bobAt(chat.url);
      const { program, shown } = await start(chat.url, bob);
      await fill(bob, 500);
      await bob.say("end of the burst");
      await program.shows("Bob: end of the burst");
      assert.deepEqual(shown().slice(0, -1), contents(500).map((text) => `Bob: ${text}`));
    });

    it("cut off and back: what was missed and what was typed meanwhile, once each and in order", OPTIONS, async () => {
      const bob = await bobAt(chat.url);
      relay = await Relay.to(chat.port);
      const { program, shown, sent } = await start(relay.url, bob);
      relay.cut();
      for (const text of ["missed 1", "missed 2", "missed 3"]) await bob.say(text);
      for (const text of ["typed 1", "typed 2"]) program.type(text);
      relay.mend();
      await program.shows("Ada: typed 2");
      await bob.say("after");
      await program.shows("Bob: after");
      const expected = ["Bob: missed 1", "Bob: missed 2", "Bob: missed 3", "Ada: typed 1", "Ada: typed 2", "Bob: after"];
      assert.deepEqual(shown(), expected);
      assert.deepEqual(await sent(), ["typed 1", "typed 2"]);
      assert.equal(program.lines.all.includes("-- here as Ada, recovered"), recovers);
    });

    it("a message whose acknowledgement was lost is sent again and stored once", OPTIONS, async () => {
      const bob = await bobAt(chat.url);
      relay = await Relay.to(chat.port);
      const before = await metric(chat, "chatcluster_upgrades_total");
      const { program, shown, sent } = await start(relay.url, bob);
      // in the middle of the upgrade a client that hears nothing sends nothing
      await until(async () => (await metric(chat, "chatcluster_upgrades_total")) > before, PATIENT, "the upgrade to WebSocket");
      relay.deafen();
      program.type("not acknowledged");
      await until(() => bob.contents.at(-1) === "not acknowledged", PATIENT);
      relay.cut();
      relay.mend();
      program.type("next");
      await program.shows("Ada: next");
      assert.deepEqual(await sent(), ["not acknowledged", "next"]);
      assert.deepEqual(shown(), ["Ada: not acknowledged", "Ada: next"]);
    });

    it("a server that is killed and starts again costs nothing", OPTIONS, async (t) => {
      const dataDir = mkdtempSync(join(tmpdir(), "chatcluster-example-"));
      const first = await startChat({ dataDir });
      let second;
      t.after(async () => {
        if (!first.exit) await first.kill();
        await second?.stop();
        rmSync(dataDir, { recursive: true });
      });
      const bob = await bobAt(first.url);
      const { program, shown, sent } = await start(first.url, bob);
      program.type("before");
      await program.shows("Ada: before");
      await first.kill();
      program.type("in between");
      second = await startChat({ dataDir, port: first.port });
      await program.shows("Ada: in between");
      await bob.say("after");
      await program.shows("Bob: after");
      assert.deepEqual(shown(), ["Ada: before", "Ada: in between", "Bob: after"]);
      assert.deepEqual(await sent(), ["before", "in between"]);
    });

    it("sends again what the server has no time for", OPTIONS, async (t) => {
      const slow = await startChat({ config: { limits: { eventsPerSecond: 3, eventsBurst: 2 } } });
      t.after(() => slow.stop());
      const program = run(slow.url, "Ada");
      for (const text of contents(5)) program.type(text);
      await program.shows("Ada: 4");
      assert.deepEqual(program.messages, contents(5).map((text) => `Ada: ${text}`));
      assert.ok((await metric(slow, 'chatcluster_refusals_total{code="102"}')) > 0, "nothing was refused: the test has no point");
    });

    it("a refused connection ends it with the reason", OPTIONS, async () => {
      const program = run(chat.url, "A".repeat(65));
      await program.lines.find((line) => refused.test(line), "the reason", PATIENT);
      assert.equal(await program.finish(), 1);
    });
  });
}
