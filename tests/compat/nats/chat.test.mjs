// Chat servers joined through NATS act as one: order, duplicates, history, who is here, who is typing.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";
import { contents, fill, MODES, People, UNLIMITED } from "../chat/people.mjs";
import { startCluster, startNats } from "../support/nats.mjs";
import { SOON, until } from "../support/wait.mjs";

const CONFIG = { limits: UNLIMITED };
const rising = (list) => list.every((value, i) => i === 0 || value > list[i - 1]);
/** The positions of all messages in the order in which they were shown, whatever the place. */
const positions = ({ events }) =>
  events.flatMap(([event, ...args]) => (event === "chat message" ? [args[1]] : event === "room:message" ? [args[2]] : []));

/** Everything stored of the lobby or a room, oldest first, page by page. */
async function wholeHistory(person, room) {
  const all = [];
  for (let page = { more: true }; page.more; all.push(...page.messages)) {
    page = await person.ask("history", { ...(room === undefined ? {} : { room }), after: all.at(-1)?.serverOffset ?? 0, limit: 100 });
    if (page.error) throw new Error(`refused: ${JSON.stringify(page.error)}`);
  }
  return all;
}

/** Waits until each of them was shown this position. */
const seen = (people, serverOffset) =>
  until(() => people.every((person) => positions(person).includes(serverOffset)), 2 * SOON, `all see the message at ${serverOffset}`);

describe("three servers on one NATS", () => {
  let cluster;
  let people;
  before(async () => void (cluster = await startCluster({ servers: 3, config: CONFIG })));
  after(() => cluster?.stop());
  beforeEach(() => void (people = new People()));
  afterEach(() => people.close());
  const enter = (server, auth, options) => people.enter(cluster.urls[server], auth, options);

  it("each server is a node of its own", async () => {
    const persons = await Promise.all(cluster.urls.map((url) => people.enter(url)));
    await until(() => persons.every(({ session }) => session));
    assert.equal(new Set(persons.map(({ session }) => session.node)).size, 3);
  });

  it("messages of people on different servers reach all in one order, lobby and rooms mixed", { timeout: 60_000 }, async () => {
    const EACH = 60;
    const rooms = [`r ${randomUUID()}`, `s ${randomUUID()}`];
    const persons = [];
    for (const [server] of cluster.urls.entries()) {
      for (const options of [MODES.websocket, MODES.polling]) persons.push(await enter(server, {}, options));
    }
    for (const person of persons) for (const room of rooms) await person.ask("room:join", room);
    for (const person of persons) await person.settled();
    const from = persons.map(({ events }) => events.length);
    const answers = [];
    for (let i = 0; i < EACH; i++) {
      for (const [who, person] of persons.entries()) {
        const text = JSON.stringify({ who, i });
        const place = (i + who) % 3;
        answers.push(place === 2 ? person.say(text) : person.sayIn(rooms[place], text));
      }
    }
    const acknowledged = (await Promise.all(answers)).map(({ serverOffset }) => serverOffset);
    await seen(persons, Math.max(...acknowledged));
    for (const person of persons) await person.settled();
    // what each was shown since, as [where, what, position]
    const lists = persons.map(({ events }, who) =>
      events.slice(from[who]).flatMap(([event, ...args]) => {
        if (event === "chat message") return [["lobby", args[0], args[1]]];
        return event === "room:message" && rooms.includes(args[0]) ? [args.slice(0, 3)] : [];
      }),
    );
    assert.equal(lists[0].length, EACH * persons.length);
    for (const list of lists) assert.deepEqual(list, lists[0]);
    assert.ok(rising(lists[0].map(([, , position]) => position)));
    assert.deepEqual(new Set(lists[0].map(([, , position]) => position)), new Set(acknowledged));
    for (const who of persons.keys()) {
      for (const place of ["lobby", ...rooms]) {
        const own = lists[0].filter(([where, text]) => where === place && JSON.parse(text).who === who).map(([, text]) => JSON.parse(text).i);
        assert.ok(rising(own), `the messages of sender ${who} in ${place} keep their order: ${own}`);
      }
    }
  });

  it("the same clientOffset sent through two servers at the same time is one message, at one position", async () => {
    const room = randomUUID();
    const [a, b, reader] = [await enter(0), await enter(1), await enter(2, {}, MODES.polling)];
    for (const person of [a, b, reader]) await person.ask("room:join", room);
    for (let round = 0; round < 20; round++) {
      const [id, text] = [randomUUID(), `twice ${round} ${randomUUID()}`];
      const answers = await Promise.all(round % 2 ? [a.say(text, id), b.say(text, id)] : [a.sayIn(room, text, id), b.sayIn(room, text, id)]);
      assert.ok(answers[0].serverOffset > 0, JSON.stringify(answers));
      assert.equal(answers[0].serverOffset, answers[1].serverOffset);
      assert.deepEqual(answers.map(({ duplicate }) => duplicate).sort(), [false, true]);
      // and once more, from where nobody has sent it yet
      const third = await (round % 2 ? reader.say(text, id) : reader.sayIn(room, text, id));
      assert.deepEqual(third, { serverOffset: answers[0].serverOffset, duplicate: true });
    }
    for (const person of [a, b, reader]) {
      await person.settled();
      const twice = (list) => list.filter(({ content }) => content.startsWith("twice ")).map(({ content }) => content);
      for (const list of [twice(person.lobby), twice(person.rooms[room])]) {
        assert.equal(list.length, 10);
        assert.equal(new Set(list).size, 10);
      }
    }
  });

  it("a room's history is the same on every server, and the same as it was live", async () => {
    const room = randomUUID();
    const persons = await Promise.all(cluster.urls.map((url, i) => people.enter(url, { name: `Person ${i}` })));
    for (const person of persons) await person.ask("room:join", room);
    let last;
    for (let i = 0; i < 120; i++) last = await persons[i % 3].sayIn(room, `${i}`);
    await seen(persons, last.serverOffset);
    const [live] = persons.map(({ rooms }) => rooms[room]);
    assert.deepEqual(live.map(({ content }) => content), contents(120));
    for (const person of persons) {
      assert.deepEqual(person.rooms[room], live);
      assert.deepEqual(await wholeHistory(person, room), live);
      const page = await person.ask("history", { room, limit: 20, before: live[50].serverOffset });
      assert.deepEqual(page.messages.map(({ content }) => content), contents(20, 30));
      assert.equal(page.more, true);
    }
  });

  it("who joins a room on one server while others talk on another has neither hole nor overlap", async () => {
    const room = randomUUID();
    const speaker = await enter(0);
    await speaker.ask("room:join", room);
    let talking = true;
    let said = 0;
    const talk = (async () => {
      while (talking) await Promise.all(Array.from({ length: 5 }, () => speaker.sayIn(room, `${said++}`)));
    })();
    try {
      for (let round = 0; round < 10; round++) {
        const late = await enter(1 + (round % 2));
        const { serverOffset } = await late.ask("room:join", room);
        const fence = said;
        await until(() => late.rooms[room]?.some(({ content }) => Number(content) >= fence), 2 * SOON, "live messages come");
        const live = late.rooms[room].map(({ content }) => content);
        assert.ok(late.rooms[room].every((message) => message.serverOffset > serverOffset));
        const before_ = (await wholeHistory(late, room)).filter((message) => message.serverOffset <= serverOffset);
        assert.deepEqual([...before_.map(({ content }) => content), ...live], contents(Number(live.at(-1)) + 1));
        late.socket.disconnect();
      }
    } finally {
      talking = false;
      await talk;
    }
  });

  it("who lists the people of all servers, in the lobby and in a room, and nobody who left", async () => {
    const room = randomUUID();
    const persons = await Promise.all(cluster.urls.map((url, i) => people.enter(url, { name: `Person ${i}` })));
    const everybody = persons.map(({ socket, session }) => ({ id: socket.id, name: session.name }));
    const byId = (members) => members.toSorted((a, b) => (a.id < b.id ? -1 : 1));
    const here = async (person, ...where) => {
      const { members, total, missing } = await person.ask("who", ...where);
      assert.deepEqual(missing, []);
      assert.equal(total, members.length);
      return JSON.stringify(byId(members));
    };
    for (const person of persons) {
      // those of the test before may not have been missed yet
      await until(async () => (await here(person)) === JSON.stringify(byId(everybody)), 2 * SOON, `${person.session.name} sees ${JSON.stringify(everybody)}`);
      await person.ask("room:join", room);
    }
    for (const person of persons) assert.equal(await here(person, room), JSON.stringify(byId(everybody)));
    await persons[1].ask("room:leave", room);
    persons[2].socket.disconnect();
    await until(async () => (await here(persons[0], room)) === JSON.stringify(everybody.slice(0, 1)));
    await until(async () => (await here(persons[1])) === JSON.stringify(byId(everybody.slice(0, 2))));
  });

  for (const [mode, options] of Object.entries(MODES)) {
    it(`typing, joined and left cross servers, by ${mode}`, async () => {
      const room = randomUUID();
      const [a, b, outside] = [await enter(0, { name: "Ada" }, options), await enter(1, {}, options), await enter(2, {}, options)];
      for (const person of [a, b]) await person.ask("room:join", room);
      // volatile: each may be dropped, so they are repeated until seen
      await until(() => {
        a.socket.emit("typing", room);
        return b.typing.all.length > 0;
      });
      assert.deepEqual(b.typing.all[0][0], { room, author: "Ada" });
      assert.deepEqual(outside.typing.all, []);
      await until(() => {
        a.socket.emit("typing");
        return outside.typing.all.length > 0;
      });
      assert.deepEqual(outside.typing.all[0][0], { room: null, author: "Ada" });
      const { id } = a.socket;
      const about = (inbox) => inbox.all.filter(([notice]) => notice.room === room && notice.id === id).length;
      await until(async () => {
        await a.ask("room:leave", room);
        await a.ask("room:join", room);
        return about(b.joined) > 0 && about(b.left) > 0;
      });
      assert.equal(about(outside.joined) + about(outside.left), 0);
    });
  }

  it("clusters of other prefixes on the same NATS are not heard", async () => {
    const other = await startCluster({ servers: 1, config: CONFIG, nats: cluster.nats });
    try {
      const [here, there] = [await enter(0), await people.enter(other.urls[0])];
      const [mine, theirs] = [`mine ${randomUUID()}`, `theirs ${randomUUID()}`];
      await there.say(theirs);
      await here.say(mine);
      for (const person of [here, there]) await person.settled();
      assert.ok(here.contents.includes(mine) && !here.contents.includes(theirs));
      assert.deepEqual(there.contents, [theirs]);
      assert.equal((await there.ask("who")).total, 1);
    } finally {
      await other.stop();
    }
  });
});

describe("a server that joins later", () => {
  let nats;
  let cluster;
  let people;
  before(async () => void (nats = await startNats()));
  after(() => nats?.stop());
  beforeEach(async () => {
    people = new People();
    cluster = await startCluster({ servers: 1, config: CONFIG, nats });
  });
  afterEach(async () => {
    people?.close();
    await cluster?.stop();
  });

  it("has in its history what was said before it was started, and sends it to who comes in", async () => {
    const room = randomUUID();
    const early = await people.enter(cluster.urls[0], { name: "Early" });
    await early.ask("room:join", room);
    await fill(early, 230);
    for (let i = 0; i < 60; i++) await early.sayIn(room, `${i}`);
    await early.settled();
    await cluster.add();
    const late = await people.enter(cluster.urls[1]);
    await late.ask("room:join", room);
    await late.settled();
    assert.deepEqual(late.contents, contents(200, 30));
    assert.deepEqual(await wholeHistory(late), await wholeHistory(early));
    assert.deepEqual(await wholeHistory(late, room), await wholeHistory(early, room));
    assert.deepEqual(await wholeHistory(late), early.lobby);
    const { serverOffset } = await late.say("here I am");
    await seen([early, late], serverOffset);
  });

  it("refuses clients with 503 until it has caught up; at its first 200 nothing is lacking", async () => {
    const early = await people.enter(cluster.urls[0]);
    const COUNT = 3_000;
    const answers = await fill(early, COUNT);
    const chat = await cluster.add({ awaits: "life" });
    const statuses = new Set();
    await until(
      async () => {
        const { status } = await fetch(`${chat.url}/readyz`);
        statuses.add(status);
        return status === 200;
      },
      20_000,
      () => `the server is ready; it answered ${[...statuses]}`,
    );
    const late = await people.enter(chat.url, { serverOffset: answers.at(-11).serverOffset });
    await late.settled();
    assert.deepEqual([...statuses].filter((status) => status !== 503), [200]);
    assert.deepEqual(late.contents, contents(10, COUNT - 10));
    assert.deepEqual((await wholeHistory(late)).map(({ serverOffset }) => serverOffset), answers.map(({ serverOffset }) => serverOffset));
  });

  it("has everything that was said while it was away, after it was ended and started again on its data", async () => {
    await cluster.add();
    const [a, b] = [await people.enter(cluster.urls[0]), await people.enter(cluster.urls[1], {}, { reconnection: false })];
    await fill(a, 50);
    await b.say("from the one that goes");
    await b.settled();
    await cluster.terminate(1);
    await fill(a, 150, 50);
    await cluster.again(1);
    const back = await people.enter(cluster.urls[1], { serverOffset: a.lobby[10].serverOffset });
    for (const person of [a, back]) await person.settled();
    assert.deepEqual(back.lobby, a.lobby.slice(11));
    assert.deepEqual(await wholeHistory(back), await wholeHistory(a));
  });
});
