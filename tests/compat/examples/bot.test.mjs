// The bot: answers from the history, and each question once.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, describe, it } from "node:test";
import { People, UNLIMITED } from "../chat/people.mjs";
import { startChat } from "../support/servers.mjs";
import { until } from "../support/wait.mjs";
import { example, PATIENT, Program } from "./program.mjs";
import { Relay } from "./relay.mjs";

const OPTIONS = { timeout: 90_000 };

describe("examples/node-client/bot.mjs", () => {
  let chat;
  let people;
  let relay;
  const bots = [];
  before(async () => void (chat = await startChat({ nodes: 2, config: { limits: UNLIMITED } })));
  after(() => chat?.stop());
  afterEach(async () => {
    people?.close();
    relay?.close();
    for (const bot of bots.splice(0)) await bot.kill();
  });

  function start(url, room) {
    const program = new Program(url, process.execPath, example("node-client/bot.mjs"), room);
    bots.push(program);
    return program;
  }

  async function bot(room, url = chat.url) {
    const program = start(url, room);
    await program.shows(`in ${room}`);
    return program;
  }

  /** Ada in a room of her own. */
  async function ada() {
    people = new People();
    const person = await people.enter(chat.urls[1], { name: "Ada" });
    const room = randomUUID();
    await person.ask("room:join", room);
    const answers = async () => {
      const { messages } = await person.ask("history", { room, limit: 100 });
      return messages.filter(({ author }) => author === "seen-bot").map(({ content }) => content);
    };
    const answered = (count) => until(async () => (await answers()).length >= count, PATIENT, `${count} answers`);
    return { person, room, answers, answered };
  }

  it("finds what lies more than one page back, and says so of whom it never saw", OPTIONS, async () => {
    const { person, room, answers, answered } = await ada();
    const eve = await people.enter(chat.url, { name: "Eve" });
    await eve.ask("room:join", room);
    await eve.sayIn(room, "hello");
    await Promise.all(Array.from({ length: 150 }, (_, i) => person.sayIn(room, `${i}`)));
    await bot(room);
    await person.sayIn(room, "!seen Eve");
    await answered(1);
    await person.sayIn(room, "!seen Mallory");
    await answered(2);
    const { at } = person.rooms[room].find(({ author }) => author === "Eve");
    assert.deepEqual(await answers(), [`Eve was last seen at ${new Date(at).toISOString()}`, "I have never seen Mallory"]);
  });

  it("answers each question once, although it is killed and then runs twice", OPTIONS, async () => {
    const { person, room, answers, answered } = await ada();
    const first = await bot(room);
    await person.sayIn(room, "!seen Bob");
    await answered(1);
    await first.kill();
    await person.sayIn(room, "!seen Carol");
    const pair = await Promise.all([bot(room), bot(room, chat.urls[1])]);
    const outcomes = [];
    for (const one of pair) {
      await one.shows("was answered already: !seen Bob");
      outcomes.push(await one.lines.find((line) => line.endsWith("!seen Carol"), "what became of the question", PATIENT));
    }
    assert.deepEqual(outcomes.sort(), ["answered: !seen Carol", "was answered already: !seen Carol"]);
    assert.deepEqual(await answers(), ["I have never seen Bob", "I have never seen Carol"]);
  });

  it("ends if the server refuses it", OPTIONS, async (t) => {
    const folder = mkdtempSync(join(tmpdir(), "chatcluster-example-"));
    const keyFile = join(folder, "key");
    writeFileSync(keyFile, "k".repeat(32));
    const closed = await startChat({ config: { auth: { type: "Jwt", jwt: { keyFile } } } });
    t.after(async () => {
      await closed.stop();
      rmSync(folder, { recursive: true });
    });
    const refused = start(closed.url, "any");
    await refused.lines.find((line) => line.startsWith("connect_error: "), "the reason", PATIENT);
    assert.equal(await refused.finish(), 1);
  });

  it("answers what was asked while it was cut off", OPTIONS, async () => {
    const { person, room, answers, answered } = await ada();
    relay = await Relay.to(chat.port);
    await bot(room, relay.url);
    relay.cut();
    await person.sayIn(room, "!seen Bob");
    relay.mend();
    await answered(1);
    assert.deepEqual(await answers(), ["I have never seen Bob"]);
  });
});
