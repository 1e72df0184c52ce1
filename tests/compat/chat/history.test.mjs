// History pages both ways, their edges, and how they meet live messages.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { startChat } from "../support/servers.mjs";
import { until } from "../support/wait.mjs";
import { contents, fill, People, UNLIMITED } from "./people.mjs";

describe("history", () => {
  let chat;
  let people;
  let a;
  let offsets;
  before(async () => {
    chat = await startChat({ nodes: 2, config: { limits: UNLIMITED } });
    people = new People();
    a = await people.enter(chat.urls[0], { name: "Ada" });
    offsets = (await fill(a, 230)).map(({ serverOffset }) => serverOffset);
  });
  after(async () => {
    people?.close();
    await chat?.stop();
  });
  const texts = ({ messages }) => messages.map(({ content }) => content);

  it("the default page is the newest 50, oldest first", async () => {
    const page = await a.ask("history", {});
    assert.deepEqual(texts(page), contents(50, 180));
    assert.equal(page.more, true);
    const message = page.messages[0];
    assert.deepEqual(Object.keys(message).sort(), ["at", "author", "content", "serverOffset"]);
    assert.equal(message.author, "Ada");
    assert.equal(message.serverOffset, offsets[180]);
  });

  it("pages backwards without hole or overlap to the first message", async () => {
    const all = [];
    let before_;
    for (;;) {
      const page = await a.ask("history", { limit: 37, ...(before_ ? { before: before_ } : {}) });
      all.unshift(...page.messages);
      before_ = page.messages[0].serverOffset;
      if (!page.more) break;
      assert.equal(page.messages.length, 37);
    }
    assert.deepEqual(all.map(({ serverOffset }) => serverOffset), offsets);
    assert.deepEqual(await a.ask("history", { before: offsets[0] }), { messages: [], more: false });
  });

  it("pages forwards without hole or overlap to the newest message", async () => {
    const all = [];
    let after_ = 0;
    for (;;) {
      const page = await a.ask("history", { limit: 100, after: after_ });
      all.push(...page.messages);
      after_ = page.messages.at(-1).serverOffset;
      if (!page.more) break;
      assert.equal(page.messages.length, 100);
    }
    assert.deepEqual(all.map(({ serverOffset }) => serverOffset), offsets);
    assert.deepEqual(await a.ask("history", { after: after_ }), { messages: [], more: false });
  });

  it("more is false when a page ends exactly at the edge", async () => {
    assert.deepEqual(await a.ask("history", { after: offsets[129], limit: 100 }).then(({ more }) => more), false);
    assert.deepEqual(await a.ask("history", { before: offsets[100], limit: 100 }).then(({ more }) => more), false);
    assert.deepEqual(await a.ask("history", { before: offsets[101], limit: 100 }).then(({ more }) => more), true);
  });

  it("positions between two messages are edges like any other", async () => {
    const gap = offsets.findIndex((offset, i) => offsets[i + 1] > offset + 1);
    const at = gap >= 0 ? offsets[gap] + 1 : offsets.at(-1) + 1000;
    const older = await a.ask("history", { before: at, limit: 1 });
    assert.equal(older.messages[0].serverOffset, gap >= 0 ? offsets[gap] : offsets.at(-1));
  });

  it("rooms have their own history, for those who are in them and for those who join late", async () => {
    await a.ask("room:join", "own");
    const { serverOffset } = await a.sayIn("own", "of the room");
    const late = await people.enter(chat.urls[1]);
    const joined = await late.ask("room:join", "own");
    assert.ok(joined.serverOffset >= serverOffset);
    assert.deepEqual(texts(await late.ask("history", { room: "own" })), ["of the room"]);
    assert.ok(!texts(await a.ask("history", {})).includes("of the room"));
    assert.deepEqual(late.rooms["own"], undefined);
  });

  it("the history of a room one has not joined is refused or empty of others' words", async () => {
    await a.ask("room:join", "private talk");
    await a.sayIn("private talk", "between us");
    const outsider = await people.enter(chat.urls[1]);
    const answer = await outsider.ask("history", { room: "private talk" });
    assert.equal(answer.error?.code, 204);
    assert.equal(answer.error.retry, false);
  });

  it("join position, history and live messages meet without hole or overlap while messages flow", async () => {
    await a.ask("room:join", "busy");
    let sending = true;
    let sent = 0;
    const flow = (async () => {
      while (sending) await Promise.all([a.sayIn("busy", `${sent++}`), a.sayIn("busy", `${sent++}`)]);
    })();
    const seen = [];
    for (let i = 0; i < 20; i++) {
      const person = await people.enter(chat.urls[i % 2]);
      const { serverOffset } = await person.ask("room:join", "busy");
      const past = [];
      let page;
      do {
        page = await person.ask("history", { room: "busy", limit: 100, before: past[0]?.serverOffset ?? serverOffset + 1 });
        past.unshift(...page.messages);
      } while (page.more);
      seen.push({ person, past });
    }
    sending = false;
    await flow;
    for (const { person, past } of seen) {
      const all = () => [...past, ...(person.rooms["busy"] ?? [])].map(({ content }) => content);
      await until(() => all().length >= sent);
      assert.deepEqual(all(), contents(sent));
    }
  });
});
