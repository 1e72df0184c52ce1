// Connection state recovery of the chat server as it shows on the wire: offsets, the order of a replay, takeover, fences.
// Each test has a server of its own, so that the lobby holds only what the test has said.
// `TARGET=reference` runs them against chat-model.mjs, a model of these rules (Node's own server differs: it replays before
// CONNECT, gives no offset for the session's start, and leaks before a refusal).

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { signHs256 } from "../support/jwt.mjs";
import { TYPE, connectPacket, eventPacket, parsePacket } from "../support/packets.mjs";
import { PollingSession, TcpClient, decodePayload } from "../support/raw.mjs";
import { againstReference, startChat } from "../support/servers.mjs";
import { SOON, until } from "../support/wait.mjs";
import { Wire } from "../support/wire.mjs";

const CONFIG = { limits: { eventsPerSecond: 100_000, eventsBurst: 100_000 }, drain: { deadline: "5s" } };
const numbered = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => `m${from + i}`);

/** @param {import("node:test").TestContext} t @param {Parameters<typeof startChat>[0]} [options] */
async function chat(t, options = {}) {
  const server = await startChat({ config: CONFIG, ...options });
  t.after(() => server.stop());
  return server;
}

/** Says m<from> to m<to> in the lobby, one after the other. */
async function sayNumbers(sender, from, to) {
  for (const content of numbered(from, to)) await sender.say(content);
}

/** Two clients in the lobby, a third party that writes. Both have seen `m1`. */
async function readerAndSender(server, readerUrl = server.url) {
  const sender = await Wire.connect(server.url);
  const reader = await Wire.connect(readerUrl);
  await sender.say("m1");
  await reader.sees("m1");
  return { sender, reader };
}

/** @param {Wire} wire @param {Wire} before */
function assertRecovered(wire, before) {
  assert.deepEqual(wire.answer.type, 0, "CONNECT is the first packet");
  assert.deepEqual(wire.answer.data, { sid: before.sid, pid: before.pid });
}

/** @param {Wire} wire @param {Wire} before */
function assertNewSession(wire, before) {
  assert.equal(wire.answer.type, 0);
  assert.deepEqual(Object.keys(wire.answer.data), ["sid", "pid"]);
  assert.notEqual(wire.sid, before.sid);
  assert.notEqual(wire.pid, before.pid);
}

describe("offsets", () => {
  test("connect_is_answered_with_sid_and_pid_which_differ", async (t) => {
    const server = await chat(t);
    const [a, b] = [await Wire.connect(server.url), await Wire.connect(server.url)];
    for (const wire of [a, b]) {
      assert.deepEqual(Object.keys(wire.answer.data), ["sid", "pid"]);
      assert.match(wire.sid, /^[A-Za-z0-9_-]{20}$/);
      assert.equal(typeof wire.pid, "string");
      assert.ok(wire.pid.length >= 16, "a pid cannot be guessed");
    }
    assert.equal(new Set([a.sid, a.pid, b.sid, b.pid]).size, 4);
  });

  test("every_event_without_acknowledgement_id_ends_with_an_offset_volatile_ones_too", async (t) => {
    const server = await chat(t);
    const reader = await Wire.connect(server.url, { auth: { name: "Reader" } });
    await reader.ask("room:join", "r");
    const sender = await Wire.connect(server.url, { auth: { name: "Sender" } });
    await sender.ask("room:join", "r");
    await sender.sayIn("r", "in the room");
    sender.emit("typing");
    sender.emit("typing", "r");
    await sender.ask("room:leave", "r");
    await sender.say("end");
    await reader.sees("end");
    const seen = new Set(reader.events.map(({ data }) => data[0]));
    const lengths = { session: 3, "chat message": 5, "room:message": 6, typing: 3, joined: 3, left: 3 };
    for (const name of Object.keys(lengths)) assert.ok(seen.has(name), `${name} was seen; seen were ${[...seen]}`);
    for (const { data } of reader.events) {
      assert.equal(data.length, lengths[data[0]], `${JSON.stringify(data)} has its arguments and one offset`);
      assert.equal(typeof data.at(-1), "string", `${JSON.stringify(data)} ends with an offset`);
      assert.ok(data.at(-1).length > 0);
    }
  });

  test("history_shown_to_a_newcomer_carries_offsets", async (t) => {
    const server = await chat(t);
    const { sender } = await readerAndSender(server);
    await sayNumbers(sender, 2, 5);
    const newcomer = await Wire.connect(server.url);
    await newcomer.sees("m5");
    assert.deepEqual(newcomer.lobby, numbered(1, 5));
    for (const { data } of newcomer.events) assert.equal(typeof data.at(-1), "string", JSON.stringify(data));
  });

  test("own_copy_comes_before_the_acknowledgement", async (t) => {
    const server = await chat(t);
    const sender = await Wire.connect(server.url);
    await sayNumbers(sender, 1, 50);
    const kinds = sender.packets.all.filter(({ type, data }) => type === TYPE.ack || data[0] === "chat message").map(({ type }) => type);
    assert.deepEqual(kinds, Array.from({ length: 50 }, () => [TYPE.event, TYPE.ack]).flat());
  });

  test("acknowledgements_carry_no_offset", async (t) => {
    const server = await chat(t);
    const wire = await Wire.connect(server.url);
    for (const ask of [["room:join", "r"], ["chat message", "a"], ["room:message", "r", "b"], ["history", {}], ["who"], ["room:leave", "r"]]) {
      const answer = await wire.ask(...ask);
      assert.equal(answer.length, 1, `${ask[0]} was acknowledged with ${JSON.stringify(answer)}`);
      assert.equal(answer[0].error, undefined);
    }
    const refused = await wire.ask("room:message", "elsewhere", "x");
    assert.equal(refused.length, 1);
    assert.equal(refused[0].error.code, 204);
  });

  test("session_comes_once_after_what_was_missed_and_before_what_is_live", async (t) => {
    const server = await chat(t);
    const { sender, reader } = await readerAndSender(server);
    assert.equal(reader.events[0].data[0], "session");
    assert.equal(reader.session.recovered, false);
    reader.cut();
    await sayNumbers(sender, 2, 3);
    const back = await Wire.connect(server.url, { auth: reader.credentials });
    await back.sees("m3");
    await until(() => back.session !== undefined, 5000, "the session event");
    await sayNumbers(sender, 4, 4);
    await back.sees("m4");
    const order = back.events.map(({ data }) => (data[0] === "session" ? "session" : data[1]));
    assert.deepEqual(order.filter((name) => typeof name === "string"), ["m2", "m3", "session", "m4"]);
    assert.equal(back.session.recovered, true);
  });

  test("recovery_0_has_no_pid_and_no_offsets_and_recovers_nothing", async (t) => {
    const server = await chat(t);
    const sender = await Wire.connect(server.url);
    const reader = await Wire.connect(server.url, { query: "&recovery=0" });
    assert.deepEqual(Object.keys(reader.answer.data), ["sid"]);
    await sender.say("m1");
    await reader.sees("m1");
    const shapes = reader.events.filter(({ data }) => data[0] !== "joined").map(({ data }) => [data[0], data.length]);
    assert.deepEqual(shapes, [["session", 2], ["chat message", 4]]);
    // The sender's session, which could be recovered, is not by a connection that does not want recovery.
    sender.cut();
    const back = await Wire.connect(server.url, { query: "&recovery=0", auth: sender.credentials });
    assert.deepEqual(Object.keys(back.answer.data), ["sid"]);
    assert.notEqual(back.sid, sender.sid);
    await until(() => back.session, SOON, "session event");
    assert.equal(back.session.recovered, false);
  });

  test("pid_is_shown_to_nobody_else_and_not_logged", async (t) => {
    const server = await chat(t);
    const { sender, reader } = await readerAndSender(server);
    reader.cut();
    const back = await Wire.connect(server.url, { auth: reader.credentials });
    await sender.say("end");
    await back.sees("end");
    await sender.sees("end");
    assert.ok(sender.packets.all.every(({ text }) => !text.includes(reader.pid)));
    assert.ok(!server.output.includes(reader.pid), "the log holds no pid");
  });
});

describe("replay", () => {
  for (const [where, nodes] of [["the same node", 1], ["another node", 2]]) {
    test(`connect_first_then_exactly_the_missed_events_in_order_then_live_ones: ${where}`, async (t) => {
      const server = await chat(t, { nodes: Number(nodes) });
      const { sender, reader } = await readerAndSender(server);
      reader.cut();
      await sayNumbers(sender, 2, 20);
      const back = await Wire.connect(server.urls.at(-1), { auth: reader.credentials });
      assertRecovered(back, reader);
      await sayNumbers(sender, 21, 25);
      await back.sees("m25");
      assert.deepEqual(back.lobby, numbered(2, 25));
      assert.equal(back.session.recovered, true);
    });
  }

  test("two_hundred_messages_flow_while_a_client_is_cut_twenty_times_and_each_is_seen_once", async (t) => {
    const server = await chat(t, { nodes: 2 });
    const { sender, reader } = await readerAndSender(server);
    const seen = [...reader.lobby];
    let wire = reader;
    const talking = sayNumbers(sender, 2, 200);
    for (let cut = 0; cut < 20; cut++) {
      wire.cut();
      const { credentials } = wire;
      wire = await Wire.connect(server.urls[cut % 2], { auth: { ...credentials, offset: credentials.offset ?? reader.offset } });
      assertRecovered(wire, reader);
      await until(() => wire.lobby.length >= 3 || wire.lobby.includes("m200"), SOON, "something was shown");
      wire.cut();
      seen.push(...wire.lobby);
    }
    await talking;
    const last = await Wire.connect(server.url, { auth: wire.credentials });
    await sender.say("end");
    await last.sees("end");
    assert.deepEqual([...seen, ...last.lobby], [...numbered(1, 200), "end"]);
  });

  test("cut_inside_the_replay_three_times_every_event_comes_once", async (t) => {
    const server = await chat(t);
    const { sender, reader } = await readerAndSender(server);
    reader.cut();
    await sayNumbers(sender, 2, 40);
    const seen = [...reader.lobby];
    let { credentials } = reader;
    for (let cut = 1; cut <= 3; cut++) {
      const partial = await Wire.connect(server.url, { auth: credentials, cutAfter: (events) => events.filter(({ data }) => data[0] === "chat message").length === 7 });
      await partial.socket.closed();
      assertRecovered(partial, reader);
      assert.equal(partial.lobby.length, 7);
      seen.push(...partial.lobby);
      credentials = partial.credentials;
    }
    const back = await Wire.connect(server.url, { auth: credentials });
    assertRecovered(back, reader);
    await sender.say("m41");
    await back.sees("m41");
    assert.deepEqual([...seen, ...back.lobby], numbered(1, 41));
  });

  test("cut_inside_a_replay_larger_than_the_socket_s_buffers_loses_nothing", async (t) => {
    const server = await chat(t);
    const { sender, reader } = await readerAndSender(server);
    reader.cut();
    const large = Array.from({ length: 1_500 }, (_, i) => `${i}:`.padEnd(3_500, "x"));
    const answers = [];
    for (const content of large) {
      answers.push(sender.ask("chat message", content, `large ${content.slice(0, 5)}`));
      if (answers.length % 100 === 0) await answers.at(-1);
    }
    await Promise.all(answers);
    const seen = [];
    let { credentials } = reader;
    for (const count of [1, 300, 1]) {
      // Stops reading in mid-replay, so that the server has to hold back, then is gone.
      const partial = await Wire.connect(server.url, { auth: credentials, cutAfter: (events) => events.filter(({ data }) => data[0] === "chat message").length === count });
      await partial.socket.closed();
      assertRecovered(partial, reader);
      seen.push(...partial.lobby);
      credentials = partial.credentials;
    }
    const back = await Wire.connect(server.url, { auth: credentials });
    assertRecovered(back, reader);
    await back.sees(large.at(-1));
    assert.ok(JSON.stringify([...seen, ...back.lobby]) === JSON.stringify(large), `${seen.length} + ${back.lobby.length} of ${large.length}, each once and in order`);
  });

  test("whatever_event_the_cut_comes_after_nothing_is_lost_or_doubled", async (t) => {
    const server = await chat(t);
    const { sender, reader } = await readerAndSender(server);
    reader.cut();
    await sayNumbers(sender, 2, 5);
    // The prefixes of a replay: nothing but CONNECT, the session event, each message.
    const whole = await Wire.connect(server.url, { auth: reader.credentials });
    await whole.sees("m5");
    for (let count = 0; count <= whole.events.length; count++) {
      const prefix = whole.events.slice(0, count);
      const shown = prefix.filter(({ data }) => data[0] === "chat message").map(({ data }) => data[1]);
      const offset = prefix.at(-1)?.data.at(-1) ?? reader.offset;
      const back = await Wire.connect(server.url, { auth: { pid: reader.pid, offset } });
      assertRecovered(back, reader);
      await sender.say(`end${count}`);
      await back.sees(`end${count}`);
      const ends = Array.from({ length: count + 1 }, (_, i) => `end${i}`);
      assert.deepEqual([...shown, ...back.lobby], [...numbered(2, 5), ...ends], `cut after ${count} events`);
      back.cut();
    }
  });

  test("idle_client_that_missed_nothing_recovers_with_nothing", async (t) => {
    const server = await chat(t);
    const { sender, reader } = await readerAndSender(server);
    reader.cut();
    const back = await Wire.connect(server.url, { auth: reader.credentials });
    assertRecovered(back, reader);
    await sender.say("m2");
    await back.sees("m2");
    assert.deepEqual(back.lobby, ["m2"]);
  });

  test("polling_gets_connect_first_and_the_missed_events_after_it", async (t) => {
    const server = await chat(t);
    const { sender, reader } = await readerAndSender(server);
    reader.cut();
    await sayNumbers(sender, 2, 9);
    const session = await PollingSession.open(`${server.url}/socket.io/`);
    await session.post(connectPacket(reader.credentials));
    const packets = [];
    await until(
      async () => {
        packets.push(...(await session.receive()).map(parsePacket));
        return packets.some(({ data }) => data?.[1] === "m9");
      },
      SOON,
      "m9 by polling",
    );
    assert.deepEqual([packets[0].type, packets[0].data], [0, { sid: reader.sid, pid: reader.pid }]);
    assert.deepEqual(packets.filter(({ data }) => data[0] === "chat message").map(({ data }) => data[1]), numbered(2, 9));
  });

  test("clean_transport_close_is_no_goodbye", { skip: againstReference && "Node's engine ignores `1` on WebSocket" }, async (t) => {
    const server = await chat(t);
    const { sender, reader } = await readerAndSender(server);
    const { credentials } = reader;
    reader.socket.send("1");
    await reader.socket.closed();
    await sender.say("m2");
    const back = await Wire.connect(server.url, { auth: credentials });
    assertRecovered(back, reader);
    await back.sees("m2");
    assert.deepEqual(back.lobby, ["m2"]);
  });
});

describe("which offset", () => {
  test("missing_offset_means_the_session_s_start", async (t) => {
    const server = await chat(t);
    const sender = await Wire.connect(server.url);
    await sender.say("before");
    const reader = await Wire.connect(server.url);
    await reader.sees("before");
    await sayNumbers(sender, 1, 2);
    await reader.sees("m2");
    reader.cut();
    await sayNumbers(sender, 3, 4);
    // What lies before the session is history, of which the client says what it has.
    const [, serverOffset] = reader.named("chat message")[0];
    const back = await Wire.connect(server.url, { auth: { pid: reader.pid, serverOffset } });
    assertRecovered(back, reader);
    await sender.say("m5");
    await back.sees("m5");
    assert.deepEqual(back.lobby, numbered(1, 5));
    assert.equal(back.session.recovered, true);
  });

  test("cut_before_the_history_came_is_sent_it_on_return", async (t) => {
    const server = await chat(t);
    const sender = await Wire.connect(server.url);
    await sayNumbers(sender, 1, 20);
    const never = await Wire.connect(server.url);
    never.cut();
    await sayNumbers(sender, 21, 22);
    const back = await Wire.connect(server.url, { auth: { pid: never.pid } });
    assertRecovered(back, never);
    await back.sees("m22");
    await until(() => back.session !== undefined, SOON, "the session event");
    assert.deepEqual(back.lobby, numbered(1, 22));
  });

  test("cut_inside_the_history_goes_on_from_the_server_offset_on_return", async (t) => {
    const server = await chat(t);
    const sender = await Wire.connect(server.url);
    await sayNumbers(sender, 1, 20);
    const cutAfter = (events) => events.filter(({ data }) => data[0] === "chat message").length === 7;
    const half = await Wire.connect(server.url, { cutAfter });
    await until(() => half.lobby.length === 7, SOON, "seven messages");
    await sayNumbers(sender, 21, 22);
    const [, serverOffset] = half.named("chat message").at(-1);
    const back = await Wire.connect(server.url, { auth: { ...half.credentials, serverOffset } });
    assertRecovered(back, half);
    await back.sees("m22");
    assert.deepEqual([...half.lobby, ...back.lobby], numbered(1, 22));
  });

  test("session_that_saw_no_message_recovers", async (t) => {
    const server = await chat(t);
    const sender = await Wire.connect(server.url);
    const reader = await Wire.connect(server.url);
    reader.cut();
    await sayNumbers(sender, 1, 3);
    const back = await Wire.connect(server.url, { auth: { pid: reader.pid } });
    assertRecovered(back, reader);
    await back.sees("m3");
    assert.deepEqual(back.lobby, numbered(1, 3));
  });

  test("offset_before_the_session_shows_nothing_from_before_the_session", async (t) => {
    const server = await chat(t);
    const { sender, reader: elder } = await readerAndSender(server);
    await sayNumbers(sender, 2, 4);
    const younger = await Wire.connect(server.url, { auth: { serverOffset: 2 ** 52 } });
    await sender.say("m5");
    await younger.sees("m5");
    younger.cut();
    await sender.say("m6");
    const early = elder.events.find(({ data }) => data[1] === "m1");
    const auth = { pid: younger.pid, offset: early?.data.at(-1), serverOffset: 2 ** 52 };
    const back = await Wire.connect(server.url, { auth });
    assertRecovered(back, younger);
    await back.sees("m6");
    assert.deepEqual(back.lobby, ["m5", "m6"]);
  });

  for (const offset of ["", "x", "MzUPkW0", "1700000000000-0", "65a1f0c2e4b0a1b2c3d4e5f6", "-1", "9".repeat(40), "x".repeat(10_000)]) {
    test(`foreign_offset_means_a_new_session: ${offset.slice(0, 30)}`, async (t) => {
      const server = await chat(t);
      const { sender, reader } = await readerAndSender(server);
      reader.cut();
      await sender.say("m2");
      const back = await Wire.connect(server.url, { auth: { pid: reader.pid, offset } });
      assertNewSession(back, reader);
      await until(() => back.session, SOON, "session event");
      assert.equal(back.session.recovered, false);
    });
  }

  test("changed_offset_means_a_new_session", async (t) => {
    const server = await chat(t);
    const { reader } = await readerAndSender(server);
    const { pid, offset } = reader.credentials;
    reader.cut();
    for (const changed of [`${offset} `, ` ${offset}`, `${offset}x`, offset.toUpperCase(), offset.slice(1)]) {
      const back = await Wire.connect(server.url, { auth: { pid, offset: changed } });
      assertNewSession(back, reader);
      back.cut();
    }
  });

  test("offset_of_another_server_means_a_new_session", async (t) => {
    const server = await chat(t);
    const other = await chat(t);
    const { reader } = await readerAndSender(server);
    const { reader: stranger } = await readerAndSender(other);
    reader.cut();
    const back = await Wire.connect(server.url, { auth: { pid: reader.pid, offset: stranger.offset } });
    // Two servers may be at the same epoch and position by chance of the clock; then there is nothing foreign to see.
    if (stranger.offset === reader.offset) return;
    if (back.sid !== reader.sid) return assertNewSession(back, reader);
    assert.deepEqual(back.lobby, [], "an offset of another server shows nothing twice");
  });

  for (const auth of [{ pid: "unknown", offset: "x" }, { pid: "unknown" }, { pid: 5, offset: 5 }, { pid: null, offset: null }, { pid: {}, offset: [] }, { pid: "x".repeat(10_000) }, { offset: "x" }]) {
    test(`unknown_pid_means_a_new_session: ${JSON.stringify(auth).slice(0, 40)}`, async (t) => {
      const server = await chat(t);
      const wire = await Wire.connect(server.url, { auth });
      assert.deepEqual(Object.keys(wire.answer.data), ["sid", "pid"]);
      assert.notEqual(wire.pid, auth.pid);
      await until(() => wire.session, SOON, "session event");
      assert.equal(wire.session.recovered, false);
    });
  }

  test("restart_is_a_new_epoch", { skip: againstReference && "the model stores nothing" }, async (t) => {
    const dataDir = mkdtempSync(join(tmpdir(), "chatcluster-restart-"));
    t.after(() => rmSync(dataDir, { recursive: true, force: true }));
    const first = await startChat({ config: CONFIG, dataDir });
    const { sender, reader } = await readerAndSender(first);
    const { credentials } = reader;
    const [, serverOffset] = reader.named("chat message").at(-1);
    await sender.say("m2");
    await first.kill();
    const second = await chat(t, { dataDir });
    const back = await Wire.connect(second.url, { auth: { ...credentials, serverOffset } });
    assertNewSession(back, reader);
    await back.sees("m2");
    assert.equal(back.session.recovered, false);
    assert.deepEqual(back.lobby, ["m2"], "what was missed comes from the history");
  });
});

describe("rooms", () => {
  test("replay_shows_the_rooms_one_is_in_and_no_others", async (t) => {
    const server = await chat(t);
    const sender = await Wire.connect(server.url);
    for (const room of ["mine", "also mine", "foreign"]) await sender.ask("room:join", room);
    const reader = await Wire.connect(server.url);
    await reader.ask("room:join", "mine");
    await reader.ask("room:join", "also mine");
    reader.cut();
    await sender.sayIn("mine", "1");
    await sender.sayIn("foreign", "2");
    await sender.sayIn("also mine", "3");
    const back = await Wire.connect(server.url, { auth: reader.credentials });
    assertRecovered(back, reader);
    await sender.sayIn("foreign", "4");
    await sender.sayIn("mine", "5");
    await sender.say("end");
    await back.sees("end");
    assert.deepEqual(back.rooms, ["mine: 1", "also mine: 3", "mine: 5"]);
  });

  test("replay_shows_a_room_only_for_the_times_one_was_in_it", async (t) => {
    const server = await chat(t);
    const { sender, reader } = await readerAndSender(server);
    await sender.ask("room:join", "r");
    const { credentials } = reader; // from before all of it
    await sender.sayIn("r", "before");
    await reader.ask("room:join", "r");
    await sender.sayIn("r", "inside");
    await reader.ask("room:leave", "r");
    await sender.sayIn("r", "between");
    await reader.ask("room:join", "r");
    await sender.sayIn("r", "again");
    await reader.ask("room:leave", "r");
    await sender.sayIn("r", "after");
    reader.cut();
    await sender.say("end");
    const back = await Wire.connect(server.url, { auth: credentials });
    assertRecovered(back, reader);
    await back.sees("end");
    assert.deepEqual(back.rooms, ["r: inside", "r: again"]);
    await sender.sayIn("r", "later");
    await sender.say("end2");
    await back.sees("end2");
    assert.deepEqual(back.rooms, ["r: inside", "r: again"], "who had left is not in the room after recovery");
  });
});

describe("takeover", () => {
  test("come_back_while_the_old_connection_is_open_closes_the_old_one_without_41", async (t) => {
    const server = await chat(t, { nodes: 2 });
    const { sender, reader } = await readerAndSender(server);
    for (const url of [server.urls[0], server.urls[1]]) {
      const old = await Wire.connect(server.urls[0], { auth: reader.credentials });
      assertRecovered(old, reader);
      const back = await Wire.connect(url, { auth: { ...reader.credentials, offset: old.offset ?? reader.offset } });
      assertRecovered(back, reader);
      await old.socket.closed();
      assert.ok(old.packets.all.every(({ type }) => type !== 1), "no DISCONNECT, which would keep the client from coming back");
      const content = `to the live one on ${url.slice(-5)}`;
      await sender.say(content);
      await back.sees(content);
      assert.equal(back.lobby.filter((seen) => seen === content).length, 1);
      back.cut();
    }
  });

  test("old_connection_that_does_not_notice_is_not_heard_any_more", async (t) => {
    const server = await chat(t);
    const sender = await Wire.connect(server.url);
    const old = await TcpClient.upgrade(`${server.url}/socket.io/?EIO=4&transport=websocket`);
    old.sendText("40");
    const connect = await old.frames.find(({ payload }) => payload.toString().startsWith("40{"), "the answer to CONNECT");
    const { sid, pid } = JSON.parse(connect.payload.toString().slice(2));
    old.sendText(eventPacket(["chat message", "m1"]));
    await sender.sees("m1");
    old.pause();
    const back = await Wire.connect(server.url, { auth: { pid } });
    assert.equal(back.sid, sid);
    old.sendText(eventPacket(["chat message", "of a ghost"]));
    old.sendText("41");
    await back.say("m2");
    await sender.say("m3");
    await back.sees("m3");
    old.resume();
    await old.closedByPeer();
    assert.ok(old.frames.all.every(({ payload }) => !payload.toString().startsWith("41")), "never DISCONNECT");
    await sender.say("m4");
    await back.sees("m4");
    assert.deepEqual(sender.lobby, ["m1", "m2", "m3", "m4"]);
    assert.ok(back.socket.isOpen, "the ghost's DISCONNECT did not reach the live connection");
  });

  test("old_polling_session_is_closed_without_41", async (t) => {
    const server = await chat(t);
    const sender = await Wire.connect(server.url);
    const old = await PollingSession.open(`${server.url}/socket.io/`);
    await old.post("40");
    const { sid, pid } = parsePacket((await old.receive())[0]).data;
    await sender.say("m1");
    const packets = [];
    await until(
      async () => {
        packets.push(...(await old.receive()));
        return packets.some((packet) => packet.includes('"m1"'));
      },
      SOON,
      "m1 by polling",
    );
    const pending = old.poll();
    const back = await Wire.connect(server.url, { auth: { pid } });
    assert.equal(back.sid, sid);
    const answer = await pending;
    // What was in flight may come with the close packet; a GET that the close overtook finds no session.
    if (answer.status === 200) assert.equal(decodePayload(answer.body).at(-1), "1");
    assert.doesNotMatch(answer.body, /(^|\x1e)41/);
    assert.equal((await old.post(eventPacket(["chat message", "of a ghost"]))).status, 400);
    await sender.say("m2");
    await back.sees("m2");
    await sender.sees("m2");
    assert.deepEqual(sender.lobby, ["m1", "m2"]);
  });

  test("many_takeovers_in_a_row_leave_one_live_connection", async (t) => {
    const server = await chat(t, { nodes: 2 });
    const { sender, reader } = await readerAndSender(server);
    const wires = [reader];
    for (let i = 0; i < 10; i++) {
      const wire = await Wire.connect(server.urls[i % 2], { auth: { pid: reader.pid, offset: reader.offset } });
      assertRecovered(wire, reader);
      wires.push(wire);
    }
    const live = wires.pop();
    for (const wire of wires) await wire.socket.closed();
    await sender.say("m2");
    await live?.sees("m2");
    assert.equal(live?.lobby.filter((content) => content === "m2").length, 1);
    assert.ok(live?.socket.isOpen);
  });

  test("two_at_the_same_moment_never_both_hold_the_session", async (t) => {
    const server = await chat(t, { nodes: 2 });
    const { sender, reader } = await readerAndSender(server);
    const { credentials } = reader;
    reader.cut();
    const [a, b] = await Promise.all(server.urls.map((url) => Wire.connect(url, { auth: credentials })));
    await sender.say("end");
    await until(() => [a, b].some((wire) => wire.sid === reader.sid && wire.socket.isOpen && wire.lobby.includes("end")), SOON, "one of them holds the session and lives");
    await until(() => [a, b].filter((wire) => wire.sid === reader.sid && wire.socket.isOpen).length === 1, SOON, "not more than one");
  });
});

describe("who may recover", () => {
  test("disconnect_packet_ends_the_session", async (t) => {
    const server = await chat(t);
    const { sender, reader } = await readerAndSender(server);
    const { credentials } = reader;
    reader.disconnect();
    await reader.ask("who").catch(() => {}); // answered or refused: the DISCONNECT has been read
    await sender.say("m2");
    const back = await Wire.connect(server.url, { auth: credentials });
    assertNewSession(back, reader);
    await until(() => back.session, SOON, "session event");
    assert.equal(back.session.recovered, false);
  });

  test("refused_come_back_leaks_nothing_and_costs_the_session_nothing", async (t) => {
    const server = await chat(t);
    const { sender, reader } = await readerAndSender(server);
    reader.cut();
    await sayNumbers(sender, 2, 5);
    for (const bad of [{ name: "" }, { name: "a\u0000b" }, { serverOffset: -1 }]) {
      const refused = await Wire.connect(server.url, { auth: { ...reader.credentials, ...bad } });
      assert.deepEqual(refused.packets.all.map(({ type }) => type), [4], "the first and only packet is CONNECT_ERROR");
      assert.equal(refused.refusal.data.code, "name" in bad ? 303 : 304);
      assert.equal(refused.refusal.data.retry, false);
      refused.cut();
    }
    const back = await Wire.connect(server.url, { auth: reader.credentials });
    assertRecovered(back, reader);
    await back.sees("m5");
    assert.deepEqual(back.lobby, numbered(2, 5));
  });

  test("refused_come_back_does_not_close_the_live_connection", async (t) => {
    const server = await chat(t);
    const { sender, reader } = await readerAndSender(server);
    const refused = await Wire.connect(server.url, { auth: { ...reader.credentials, name: "" } });
    assert.equal(refused.answer.type, 4);
    await sender.say("m2");
    await reader.sees("m2");
    assert.ok(reader.socket.isOpen);
  });

  /** A server that wants tokens, and a way to make them. */
  async function withTokens(t) {
    const folder = mkdtempSync(join(tmpdir(), "chatcluster-key-"));
    t.after(() => rmSync(folder, { recursive: true, force: true }));
    const key = "a key of the test, long enough for HS256";
    const keyFile = join(folder, "key");
    writeFileSync(keyFile, key);
    const server = await chat(t, { config: { ...CONFIG, auth: { type: "Jwt", jwt: { algorithms: ["HS256"], keyFile, clockSkew: "0s" } } } });
    const token = (sub, lifetime = 3_600) => signHs256({ sub, exp: Math.floor(Date.now() / 1_000) + lifetime }, key);
    return { server, token };
  }

  test("somebody_else_s_pid_recovers_nothing_and_costs_the_owner_nothing", async (t) => {
    const { server, token } = await withTokens(t);
    const sender = await Wire.connect(server.url, { auth: { token: token("sender") } });
    const reader = await Wire.connect(server.url, { auth: { token: token("reader") } });
    await sender.say("m1");
    await reader.sees("m1");
    const thief = await Wire.connect(server.url, { auth: { ...reader.credentials, token: token("thief") } });
    assertNewSession(thief, reader);
    await until(() => thief.session, SOON, "session event");
    assert.equal(thief.session.recovered, false);
    await sender.say("m2");
    await reader.sees("m2");
    assert.ok(reader.socket.isOpen, "the owner's connection was not taken over");
    reader.cut();
    const thiefAgain = await Wire.connect(server.url, { auth: { ...reader.credentials, token: token("thief") } });
    assertNewSession(thiefAgain, reader);
    await sender.say("m3");
    const back = await Wire.connect(server.url, { auth: { ...reader.credentials, token: token("reader") } });
    assertRecovered(back, reader);
    await back.sees("m3");
    assert.deepEqual(back.lobby, ["m3"]);
  });

  test("another_token_of_the_same_subject_recovers", async (t) => {
    const { server, token } = await withTokens(t);
    const reader = await Wire.connect(server.url, { auth: { token: token("reader", 3_600) } });
    reader.cut();
    const back = await Wire.connect(server.url, { auth: { ...reader.credentials, token: token("reader", 7_200) } });
    assertRecovered(back, reader);
  });

  for (const [name, code, makeToken] of [
    ["missing", 300, () => undefined],
    ["bad", 301, () => "a.b.c"],
    ["expired", 302, (token) => token("reader", -60)],
  ]) {
    test(`${name}_token_on_the_way_back_leaks_nothing_before_the_refusal`, async (t) => {
      const { server, token } = await withTokens(t);
      const sender = await Wire.connect(server.url, { auth: { token: token("sender") } });
      const reader = await Wire.connect(server.url, { auth: { token: token("reader") } });
      reader.cut();
      await sayNumbers(sender, 1, 3);
      const refused = await Wire.connect(server.url, { auth: { ...reader.credentials, token: makeToken(token) } });
      await sender.say("m4");
      await sender.sees("m4");
      assert.deepEqual(refused.packets.all.map(({ type }) => type), [4]);
      assert.equal(refused.refusal.data.code, code);
      const back = await Wire.connect(server.url, { auth: { ...reader.credentials, token: token("reader") } });
      assertRecovered(back, reader);
      await back.sees("m4");
      assert.deepEqual(back.lobby, numbered(1, 4));
    });
  }
});
