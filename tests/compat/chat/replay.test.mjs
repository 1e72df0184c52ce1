// What a client that could not be recovered is shown: auth.serverOffset.
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";
import { startChat } from "../support/servers.mjs";
import { until } from "../support/wait.mjs";
import { contents, fill, MODES, People, UNLIMITED } from "./people.mjs";

describe("replay by auth.serverOffset", () => {
  let chat;
  let people;
  let offsets;
  before(async () => {
    chat = await startChat({ nodes: 2, config: { limits: UNLIMITED } });
    const writers = new People();
    const a = await writers.enter(chat.url);
    offsets = (await fill(a, 300)).map(({ serverOffset }) => serverOffset);
    writers.close();
  });
  after(() => chat?.stop());
  beforeEach(() => void (people = new People()));
  afterEach(() => people.close());

  for (const [mode, options] of Object.entries(MODES)) {
    for (const [what, auth] of Object.entries({ absent: {}, zero: { serverOffset: 0 } })) {
      it(`${what}: the newest 200, in order, by ${mode}`, async () => {
        const person = await people.enter(chat.urls[1], auth, options);
        await until(() => person.lobby.length >= 200);
        await person.settled();
        assert.deepEqual(person.contents, contents(200, 100));
        assert.deepEqual(person.gaps, []);
      });
    }

    it(`above 0: everything after it, more than 200 too, by ${mode}`, async () => {
      const person = await people.enter(chat.urls[1], { serverOffset: offsets[9] }, options);
      await until(() => person.lobby.length >= 290);
      await person.settled();
      assert.deepEqual(person.contents, contents(290, 10));
      assert.deepEqual(person.lobby.map(({ serverOffset }) => serverOffset), offsets.slice(10));
    });
  }

  it("the newest position, or one beyond it: nothing", async () => {
    for (const serverOffset of [offsets.at(-1), offsets.at(-1) + 1_000_000]) {
      const person = await people.enter(chat.url, { serverOffset });
      await person.settled();
      assert.deepEqual(person.contents, []);
    }
  });

  it("the session comes once, after what was missed, and names the lobby's position", async () => {
    const person = await people.enter(chat.url);
    await person.settled();
    const names = person.events.map(([name]) => name);
    assert.equal(names.filter((name) => name === "session").length, 1);
    const replayed = names.slice(0, names.indexOf("session")).filter((name) => name === "chat message").length;
    assert.equal(replayed, 200);
    assert.ok(!names.slice(names.indexOf("session")).includes("chat message"));
    assert.ok(person.session.serverOffset >= offsets.at(-1));
  });

  it("a recovered client gets what it missed once, not the replay as well", async () => {
    const [person, sender] = [await people.enter(chat.url, { serverOffset: offsets.at(-1) }), await people.enter(chat.urls[1])];
    people.cut(person.socket, "silent");
    await until(() => !person.socket.connected);
    await sender.say("missed");
    await until(() => person.socket.connected && person.lobby.length > 0);
    await person.settled();
    assert.equal(person.socket.recovered, true);
    assert.deepEqual(person.contents, ["missed"]);
  });
});

describe("more than 10,000 missed messages", () => {
  it("10,000 are all shown; 10,001 are a gap that history fills, and the newest 200", { timeout: 120_000 }, async () => {
    const chat = await startChat({ config: { limits: UNLIMITED } });
    const people = new People();
    try {
      const a = await people.enter(chat.url);
      const stored = await fill(a, 10_002);
      const offsets = stored.map(({ serverOffset }) => serverOffset);
      assert.ok(offsets.every((offset) => offset > 0));
      const all = await people.enter(chat.url, { serverOffset: offsets[1] });
      await until(() => all.lobby.length >= 10_000, 30_000, () => `10,000 messages; got ${all.lobby.length}`);
      await all.settled();
      assert.deepEqual(all.gaps, []);
      assert.deepEqual(all.contents, contents(10_000, 2));
      const gap = await people.enter(chat.url, { serverOffset: offsets[0] });
      await until(() => gap.lobby.length >= 200);
      await gap.settled();
      assert.deepEqual(gap.contents, contents(200, 9_802));
      assert.equal(gap.gaps.length, 1);
      assert.ok(gap.events.findIndex(([event]) => event === "history gap") < gap.events.findIndex(([event]) => event === "chat message"));
      const { after: from, before: to } = gap.gaps[0];
      assert.equal(from, offsets[0]);
      assert.equal(to, offsets[9_802]);
      const page = await gap.ask("history", { after: from, limit: 100 });
      assert.deepEqual(page.messages.map(({ content }) => content), contents(100, 1));
    } finally {
      people.close();
      await chat.stop();
    }
  });
});
