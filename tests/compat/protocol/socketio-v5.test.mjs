// Socket.IO 5 at the level of packets, by WebSocket and by polling, against the fixture of the public suite:
// `/` and `/custom` emit `auth` with the handshake's auth, `message` comes back as `message-back`, `message-with-ack`
// acknowledges with its arguments; recovery is off.
// `TARGET=reference` runs the same tests against Node's socket.io, to check the tests.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { PollingSession, RawWebSocket, request } from "../support/raw.mjs";
import { parsePacket } from "../support/packets.mjs";
import { againstReference, startFixture } from "../support/servers.mjs";
import { SOON, pause, until } from "../support/wait.mjs";

/** Within SOON, which is every wait's deadline, neither heartbeat nor connect timeout can be what closed a connection. */
const PATIENT = { PING_INTERVAL_MS: "25000", PING_TIMEOUT_MS: "20000", CONNECT_TIMEOUT_MS: "45000" };
const CONNECT_TIMEOUT = 1_000;
/** Pings come often, and a connect timeout soon; a pong may be as late as a busy machine makes it. */
const TIMED = { PING_INTERVAL_MS: "300", PING_TIMEOUT_MS: "20000", CONNECT_TIMEOUT_MS: String(CONNECT_TIMEOUT) };

/** @type {import("../support/servers.mjs").Listening} */
let server;
/** @type {import("../support/servers.mjs").Listening} */
let timed;
/** @type {string} */
let endpoint;

const endpointOf = (/** @type {{url: string}} */ { url }) => `${url}/socket.io/`;

before(async () => {
  server = await startFixture("protocol_v5", { env: PATIENT });
  timed = await startFixture("protocol_v5", { env: TIMED });
  endpoint = endpointOf(server);
});
after(() => Promise.all([server?.stop(), timed?.stop()]));

/** An Engine.IO session by WebSocket, its handshake read; pings are answered. */
async function openEngine(fixture = server) {
  const endpoint = endpointOf(fixture);
  const socket = await RawWebSocket.open(`${endpoint}?EIO=4&transport=websocket`, { answerPings: true });
  const handshake = JSON.parse(String(await socket.inbox.next()).slice(1));
  return { socket, handshake };
}

/** Connected to `/`: CONNECT answered and `auth` read. */
async function openConnected(connect = "40", fixture = server) {
  const { socket } = await openEngine(fixture);
  socket.send(connect);
  const answer = parsePacket(await socket.inbox.next());
  assert.equal(answer.type, 0);
  const auth = parsePacket(await socket.inbox.next());
  assert.equal(auth.data[0], "auth");
  return { socket, sid: answer.data.sid };
}

async function assertAnswers(socket, nsp = "") {
  socket.send(`42${nsp}["message","alive"]`);
  assert.equal(await socket.inbox.next(), `42${nsp}["message-back","alive"]`);
}

/** Closed by the server, and nothing was sent before. */
async function assertClosedAtOnce(socket) {
  await socket.closed();
  assert.deepEqual(socket.inbox.unread, []);
}

describe("engine under Socket.IO's path", () => {
  test("handshake_by_polling", async () => {
    const { sid, ...rest } = (await PollingSession.open(endpoint)).handshake;
    assert.match(sid, /^[A-Za-z0-9_-]{20}$/);
    assert.deepEqual(rest, { upgrades: ["websocket"], pingInterval: 25_000, pingTimeout: 20_000, maxPayload: 1_000_000 });
  });

  test("handshake_by_websocket", async () => {
    const { socket, handshake } = await openEngine();
    const { sid, ...rest } = handshake;
    assert.match(sid, /^[A-Za-z0-9_-]{20}$/);
    assert.deepEqual(rest, { upgrades: [], pingInterval: 25_000, pingTimeout: 20_000, maxPayload: 1_000_000 });
    await socket.close();
  });

  test("refusals_are_the_engine_s", async () => {
    const refusal = async (query, method) => JSON.parse((await request(`${endpoint}?${query}`, { method })).body);
    assert.deepEqual(await refusal("transport=polling", "GET"), { code: 5, message: "Unsupported protocol version" });
    assert.deepEqual(await refusal("EIO=4&transport=abc", "GET"), { code: 0, message: "Transport unknown" });
    assert.deepEqual(await refusal("EIO=4&transport=polling", "POST"), { code: 2, message: "Bad handshake method" });
    assert.deepEqual(await refusal("EIO=4&transport=polling&sid=unknown", "GET"), { code: 1, message: "Session ID unknown" });
  });

  test("preflight_is_allowed", async () => {
    const answer = await request(`${endpoint}?EIO=4&transport=polling`, {
      method: "OPTIONS",
      headers: { origin: "https://chat.example", "access-control-request-method": "POST" },
    });
    assert.deepEqual([answer.status, answer.headers["access-control-allow-origin"]], [204, "*"]);
  });

  test("nothing_is_sent_before_connect", async () => {
    const socket = await RawWebSocket.open(`${endpointOf(timed)}?EIO=4&transport=websocket`);
    await socket.inbox.next();
    assert.equal(await socket.inbox.next(), "2", "the first thing after the handshake is a ping");
    socket.terminate();
  });
});

describe("CONNECT", () => {
  for (const [name, sent, prefix, auth] of [
    ["main_namespace", "40", "", {}],
    ["main_namespace_with_its_name", "40/,", "", {}],
    ["main_namespace_with_payload", '40{"token":"123"}', "", { token: "123" }],
    ["main_namespace_with_nested_payload", '40{"a":{"b":[1,null,"€"]},"c":true}', "", { a: { b: [1, null, "€"] }, c: true }],
    ["custom_namespace", "40/custom,", "/custom,", {}],
    ["custom_namespace_without_comma", "40/custom", "/custom,", {}],
    ["custom_namespace_with_payload", '40/custom,{"token":"abc"}', "/custom,", { token: "abc" }],
  ]) {
    test(`connect_is_answered_with_a_sid_and_the_auth_arrived: ${name}`, async () => {
      const { socket, handshake } = await openEngine();
      socket.send(String(sent));
      const answer = String(await socket.inbox.next());
      assert.ok(answer.startsWith(`40${prefix}{`), answer);
      const data = JSON.parse(answer.slice(2 + prefix.length));
      assert.deepEqual(Object.keys(data), ["sid"], "recovery is off: no pid");
      assert.match(data.sid, /^[A-Za-z0-9_-]{20}$/);
      assert.notEqual(data.sid, handshake.sid, "the socket's id is not the session's");
      assert.equal(await socket.inbox.next(), `42${prefix}["auth",${JSON.stringify(auth)}]`);
      await socket.close();
    });
  }

  test("namespace_may_carry_a_query_only_as_part_of_its_name", async () => {
    const { socket } = await openEngine();
    socket.send("40/custom?token=1,");
    assert.equal(await socket.inbox.next(), '44/custom?token=1,{"message":"Invalid namespace"}');
    await socket.close();
  });

  for (const [sent, answer] of [
    ["40/random", '44/random,{"message":"Invalid namespace"}'],
    ["40/random,", '44/random,{"message":"Invalid namespace"}'],
    ['40/random,{"token":"abc"}', '44/random,{"message":"Invalid namespace"}'],
    ["40/Custom,", '44/Custom,{"message":"Invalid namespace"}'],
    ["40/custom/,", '44/custom/,{"message":"Invalid namespace"}'],
  ]) {
    test(`unknown_namespace_is_refused_and_the_engine_stays: ${sent}`, async () => {
      const { socket } = await openEngine();
      socket.send(sent);
      assert.equal(await socket.inbox.next(), answer);
      socket.send("40");
      assert.match(String(await socket.inbox.next()), /^40\{"sid":"/);
      await socket.close();
    });
  }

  test("two_namespaces_share_one_engine_with_ids_of_their_own", async () => {
    const { socket, sid } = await openConnected();
    socket.send("40/custom,");
    const answer = parsePacket(await socket.inbox.next());
    assert.equal(answer.nsp, "/custom");
    assert.notEqual(answer.data.sid, sid);
    assert.equal(await socket.inbox.next(), '42/custom,["auth",{}]');
    await assertAnswers(socket);
    await assertAnswers(socket, "/custom,");
    await socket.close();
  });

  test("second_connect_to_the_same_namespace_closes", async () => {
    const { socket } = await openConnected();
    socket.send("40");
    await assertClosedAtOnce(socket);
  });

  test("second_connect_to_a_custom_namespace_closes", async () => {
    const { socket } = await openConnected();
    socket.send("40/custom,");
    await socket.inbox.take(2);
    socket.send("40/custom,");
    await assertClosedAtOnce(socket);
  });

  test("client_that_connects_to_nothing_is_closed_after_the_connect_timeout", async () => {
    const begin = Date.now();
    const { socket } = await openEngine(timed);
    await socket.closed();
    const waited = Date.now() - begin;
    assert.ok(waited > CONNECT_TIMEOUT * 0.9 && waited < CONNECT_TIMEOUT * 2.5, `closed after ${waited} ms`);
    assert.deepEqual(socket.inbox.unread, []);
  });

  test("refused_connect_does_not_stop_the_connect_timeout", async () => {
    const { socket } = await openEngine(timed);
    socket.send("40/random,");
    assert.match(String(await socket.inbox.next()), /^44/);
    await socket.closed();
  });

  test("connected_client_outlives_the_connect_timeout", async () => {
    const { socket } = await openConnected("40/custom,", timed);
    const end = Date.now() + CONNECT_TIMEOUT * 1.5;
    await until(() => Date.now() > end || !socket.isOpen, SOON, "the connect timeout is over");
    await assertAnswers(socket, "/custom,");
    await socket.close();
  });
});

describe("DISCONNECT", () => {
  test("disconnect_from_main_keeps_the_engine", async () => {
    const { socket } = await openConnected("40", timed);
    socket.answerPings = false;
    socket.send("41");
    assert.equal(await socket.inbox.next(), "2", "no answer, and the heartbeat goes on");
    socket.send("3");
    assert.equal(await socket.inbox.next(), "2");
    await socket.close();
  });

  test("disconnect_from_custom_keeps_main", async () => {
    const { socket } = await openConnected();
    socket.send("40/custom,");
    await socket.inbox.take(2);
    socket.send("41/custom,");
    await assertAnswers(socket);
    await socket.close();
  });

  test("disconnect_from_main_keeps_custom", async () => {
    const { socket } = await openConnected();
    socket.send("40/custom,");
    await socket.inbox.take(2);
    socket.send("41");
    await assertAnswers(socket, "/custom,");
    await socket.close();
  });

  test("after_disconnect_one_can_connect_again_as_somebody_new", async () => {
    const { socket, sid } = await openConnected();
    socket.send("41");
    // The reference handles a DISCONNECT a tick after it has read it, and closes if the CONNECT came in the same read.
    if (againstReference) await pause(20);
    socket.send("40");
    const answer = parsePacket(await socket.inbox.next());
    assert.deepEqual(Object.keys(answer.data), ["sid"]);
    assert.notEqual(answer.data.sid, sid);
    assert.equal(await socket.inbox.next(), '42["auth",{}]');
    await assertAnswers(socket);
    await socket.close();
  });

  test("event_after_disconnect_closes", async () => {
    const { socket } = await openConnected();
    socket.send("41");
    if (againstReference) await pause(20); // see above
    socket.send('42["message","late"]');
    await assertClosedAtOnce(socket);
  });

  test("disconnect_from_a_namespace_never_joined_closes", async () => {
    const { socket } = await openConnected();
    socket.send("41/custom,");
    await assertClosedAtOnce(socket);
  });
});

describe("EVENT and ACK", () => {
  const echoes = [
    '["message"]',
    '["message",1,"2",{"3":[true]}]',
    '["message",null,false,0,-1.5,"",[],{}]',
    '["message","€ 漢字 🦀 \\u0000 \\" \\\\ /"]',
    '["message","42[\\"x\\"]"]',
    '["message",{"_placeholder":true,"num":0}]',
    '["message",[[[[[[[[[[1]]]]]]]]]]]',
  ];
  for (const json of echoes) {
    test(`event_comes_back_with_the_same_arguments: ${json}`, async () => {
      const { socket } = await openConnected();
      socket.send(`42${json}`);
      const { data } = parsePacket(await socket.inbox.next());
      const [, ...args] = JSON.parse(json);
      assert.deepEqual(data, ["message-back", ...args]);
      await socket.close();
    });
  }

  test("keys_keep_their_order_and_numbers_their_value", async () => {
    const { socket } = await openConnected();
    socket.send('42["message",1,"2",{"z":[true],"a":null},0.1,9007199254740991]');
    assert.equal(await socket.inbox.next(), '42["message-back",1,"2",{"z":[true],"a":null},0.1,9007199254740991]');
    await socket.close();
  });

  test("spaces_within_the_json_are_allowed", async () => {
    const { socket } = await openConnected();
    socket.send('42[ "message" , {"a" : 1} ]');
    assert.deepEqual(parsePacket(await socket.inbox.next()).data, ["message-back", { a: 1 }]);
    await socket.close();
  });

  test("event_in_a_custom_namespace_stays_there", async () => {
    const { socket } = await openConnected("40/custom,");
    socket.send('42/custom,["message","x"]');
    assert.equal(await socket.inbox.next(), '42/custom,["message-back","x"]');
    await socket.close();
  });

  for (const id of ["0", "456", "9007199254740991"]) {
    test(`event_with_ack_id_is_acknowledged_with_its_arguments: ${id}`, async () => {
      const { socket } = await openConnected();
      socket.send(`42${id}["message-with-ack",1,"2",{"3":[false]}]`);
      assert.equal(await socket.inbox.next(), `43${id}[1,"2",{"3":[false]}]`);
      await socket.close();
    });
  }

  test("acknowledgement_may_be_empty", async () => {
    const { socket } = await openConnected();
    socket.send('4212["message-with-ack"]');
    assert.equal(await socket.inbox.next(), "4312[]");
    await socket.close();
  });

  test("event_with_ack_id_in_a_custom_namespace", async () => {
    const { socket } = await openConnected("40/custom,");
    socket.send('42/custom,7["message-with-ack","x"]');
    assert.equal(await socket.inbox.next(), '43/custom,7["x"]');
    await socket.close();
  });

  test("events_and_acknowledgements_keep_their_order", async () => {
    const { socket } = await openConnected();
    const expected = [];
    for (let i = 0; i < 1_000; i++) {
      socket.send(i % 2 ? `42["message",${i}]` : `42${i}["message-with-ack",${i}]`);
      expected.push(i % 2 ? `42["message-back",${i}]` : `43${i}[${i}]`);
    }
    assert.deepEqual(await socket.inbox.take(1_000), expected);
    await socket.close();
  });

  for (const sent of ['42["nobody listens",1]', '429["nobody listens",1]', '43123["an answer to nothing"]', '42[5,"a number is a name"]', '42["__proto__",1]', '42["constructor",1]']) {
    test(`packet_that_nobody_waits_for_is_ignored: ${sent}`, async () => {
      const { socket } = await openConnected();
      socket.send(sent);
      await assertAnswers(socket);
      await socket.close();
    });
  }
});

describe("binary", () => {
  test("event_with_two_attachments_comes_back", async () => {
    const { socket } = await openConnected();
    socket.send('452-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]', Buffer.from([1, 2, 3]), Buffer.from([4, 5, 6]));
    assert.deepEqual(await socket.inbox.take(3), [
      '452-["message-back",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]',
      Buffer.from([1, 2, 3]),
      Buffer.from([4, 5, 6]),
    ]);
    await socket.close();
  });

  test("event_with_ack_id_and_attachments_is_acknowledged_with_attachments", async () => {
    const { socket } = await openConnected();
    socket.send('452-789["message-with-ack",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]', Buffer.from([1, 2, 3]), Buffer.from([4, 5, 6]));
    assert.deepEqual(await socket.inbox.take(3), [
      '462-789[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]',
      Buffer.from([1, 2, 3]),
      Buffer.from([4, 5, 6]),
    ]);
    await socket.close();
  });

  test("binary_in_a_custom_namespace", async () => {
    const { socket } = await openConnected("40/custom,");
    socket.send('451-/custom,3["message-with-ack",{"_placeholder":true,"num":0}]', Buffer.from([9]));
    assert.deepEqual(await socket.inbox.take(2), ['461-/custom,3[{"_placeholder":true,"num":0}]', Buffer.from([9])]);
    await socket.close();
  });

  test("nested_and_empty_attachments_keep_their_places", async () => {
    const { socket } = await openConnected();
    socket.send('453-["message",{"a":[{"_placeholder":true,"num":0},"x",{"_placeholder":true,"num":1}]},{"_placeholder":true,"num":2}]', Buffer.from([1]), Buffer.alloc(0), Buffer.alloc(70_000, 7));
    const [text, ...attachments] = await socket.inbox.take(4);
    assert.equal(text, '453-["message-back",{"a":[{"_placeholder":true,"num":0},"x",{"_placeholder":true,"num":1}]},{"_placeholder":true,"num":2}]');
    assert.deepEqual(attachments, [Buffer.from([1]), Buffer.alloc(0), Buffer.alloc(70_000, 7)]);
    await socket.close();
  });

  test("ten_attachments_are_allowed", async () => {
    const { socket } = await openConnected();
    const places = Array.from({ length: 10 }, (_, num) => ({ _placeholder: true, num }));
    const buffers = places.map(({ num }) => Buffer.from([num]));
    socket.send(`4510-${JSON.stringify(["message", ...places])}`, ...buffers);
    assert.deepEqual(await socket.inbox.take(11), [`4510-${JSON.stringify(["message-back", ...places])}`, ...buffers]);
    await socket.close();
  });

  test("acknowledgement_with_attachments_that_nobody_waits_for_is_ignored", async () => {
    const { socket } = await openConnected();
    socket.send('461-5[{"_placeholder":true,"num":0}]', Buffer.from([1]));
    await assertAnswers(socket);
    await socket.close();
  });
});

describe("violations close the engine", () => {
  const place = '{"_placeholder":true,"num":0}';
  /** @type {[string, (string | Buffer)[]][]} */
  const whenConnected = [
    ["unknown_type", ["4abc"]],
    ["type_7", ["47"]],
    ["empty_message", ["4"]],
    ["event_payload_is_an_object", ["42{}"]],
    ["event_payload_is_a_string", ['42"message"']],
    ["event_payload_is_not_json", ['42["message"']],
    ["event_payload_has_a_tail", ['42["message"]x']],
    ["event_without_name", ["42[]"]],
    ["event_named_null", ["42[null]"]],
    ["event_named_by_an_object", ['42[{"a":1}]']],
    ["ack_id_is_no_number", ['42abc["message-with-ack",1]']],
    ["ack_id_is_negative", ['42-1["message-with-ack",1]']],
    ["ack_payload_is_an_object", ["4312{}"]],
    ["connect_payload_is_an_array", ["40/custom,[]"]],
    ["connect_payload_is_a_string", ['40/custom,"x"']],
    ["connect_payload_is_a_number", ["40/custom,1.5"]],
    ["connect_payload_is_not_json", ["40/custom,{"]],
    ["disconnect_with_payload", ["41{}"]],
    ["connect_error_from_a_client", ['44{"message":"x"}']],
    ["connect_error_without_payload", ["44"]],
    ["connect_error_for_another_namespace", ['44/custom,{"message":"x"}']],
    ["event_for_a_namespace_not_joined", ['42/custom,["message","x"]']],
    ["acknowledgement_for_a_namespace_not_joined", ["43/custom,1[]"]],
    ["reserved_connect", ['42["connect"]']],
    ["reserved_connect_error", ['42["connect_error"]']],
    ["reserved_disconnect", ['42["disconnect"]']],
    ["reserved_disconnecting", ['42["disconnecting"]']],
    ["reserved_newListener", ['42["newListener"]']],
    ["reserved_removeListener", ['42["removeListener"]']],
    ["reserved_with_ack_id", ['427["disconnect"]']],
    ["reserved_in_binary", [`451-["disconnect",${place}]`, Buffer.from([1])]],
    ["binary_without_event", [Buffer.from([1, 2, 3])]],
    ["text_in_place_of_an_attachment", [`451-["message",${place}]`, '42["message"]']],
    ["attachment_too_many", [`451-["message",${place}]`, Buffer.from([1]), Buffer.from([2])]],
    ["eleven_attachments", [`4511-["message",${place}]`]],
    ["a_thousand_million_attachments", [`451000000000-["message",${place}]`]],
    ["no_attachment_count", [`45-["message",${place}]`]],
    ["zero_attachments", ['450-["message"]']],
    ["negative_attachments", [`45-1-["message",${place}]`]],
    ["fraction_of_attachments", [`451.5-["message",${place}]`]],
    ["attachments_without_dash", [`451["message",${place}]`]],
    ["placeholder_out_of_range", ['451-["message",{"_placeholder":true,"num":1}]', Buffer.from([1])]],
    ["placeholder_negative", ['451-["message",{"_placeholder":true,"num":-1}]', Buffer.from([1])]],
    ["placeholder_without_number", ['451-["message",{"_placeholder":true}]', Buffer.from([1])]],
    ["placeholder_with_text_number", ['451-["message",{"_placeholder":true,"num":"length"}]', Buffer.from([1])]],
  ];

  for (const [name, messages] of whenConnected) {
    test(`after_connect: ${name}`, async () => {
      const { socket } = await openConnected();
      socket.send(...messages);
      await socket.closed();
      const events = socket.inbox.unread.filter((message) => name !== "attachment_too_many" || message !== `451-["message-back",${place}]`);
      assert.deepEqual(events.filter((message) => typeof message === "string"), [], "nothing is answered");
    });
  }

  for (const [name, messages] of [
    ["event", ['42["message","x"]']],
    ["event_with_ack_id", ['421["message-with-ack","x"]']],
    ["acknowledgement", ["431[]"]],
    ["disconnect", ["41"]],
    ["connect_error", ['44{"message":"x"}']],
    ["binary_event", [`451-["message",${place}]`, Buffer.from([1])]],
    ["unknown_type", ["4abc"]],
    ["connect_payload_is_an_array", ["40[]"]],
    ["connect_payload_is_not_json", ["40{"]],
  ]) {
    test(`before_connect: ${name}`, async () => {
      const { socket } = await openEngine();
      socket.send(.../** @type {any} */ (messages));
      await assertClosedAtOnce(socket);
    });
  }

  test("violations_hurt_nobody_else", async () => {
    const { socket: other } = await openConnected();
    const bad = await Promise.all(whenConnected.map(() => openConnected()));
    bad.forEach(({ socket }, index) => socket.send(...whenConnected[index][1]));
    await Promise.all(bad.map(({ socket }) => socket.closed()));
    await assertAnswers(other);
    await other.close();
  });

  // The reference overflows its stack when it answers, and exits.
  test("deeply_nested_payload_hurts_nobody", { skip: againstReference && "ours only" }, async () => {
    const { socket: other } = await openConnected();
    const { socket } = await openConnected();
    socket.send(`42["message",${"[".repeat(100_000)}${"]".repeat(100_000)}]`);
    await assertAnswers(other);
    await other.close();
    socket.terminate();
  });
});

describe("by polling", () => {
  test("connect_event_acknowledgement_disconnect", async () => {
    const session = await PollingSession.open(endpoint);
    await session.post('40{"token":"123"}');
    const [connect, auth] = await session.receiveMany(2);
    assert.match(connect, /^40\{"sid":"[A-Za-z0-9_-]{20}"\}$/);
    assert.equal(auth, '42["auth",{"token":"123"}]');
    await session.post('42["message","a"]', '421["message-with-ack","b"]');
    assert.deepEqual(await session.receiveMany(2), ['42["message-back","a"]', '431["b"]']);
    await session.post("41", "40/custom,");
    const [custom] = await session.receiveMany(2);
    assert.match(custom, /^40\/custom,\{"sid":"/);
  });

  test("attachments_travel_as_base64_after_their_event", async () => {
    const session = await PollingSession.open(endpoint);
    await session.post("40");
    await session.receiveMany(2);
    await session.post('452-9["message-with-ack",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]', "bAQID", "bBAUG");
    assert.deepEqual(await session.receiveMany(3), ['462-9[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]', "bAQID", "bBAUG"]);
  });

  test("attachments_may_come_with_later_posts", async () => {
    const session = await PollingSession.open(endpoint);
    await session.post("40");
    await session.receiveMany(2);
    await session.post('452-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]', "bAQID");
    await session.post("bBAUG");
    assert.deepEqual(await session.receiveMany(3), ['452-["message-back",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]', "bAQID", "bBAUG"]);
  });

  for (const sent of ["4abc", "42{}", '42abc["message-with-ack"]', '42/custom,["message"]', '44{"message":"x"}', "bAQID", '42["disconnect"]']) {
    test(`violation_closes_the_session: ${sent}`, async () => {
      const session = await PollingSession.open(endpoint);
      await session.post("40");
      await session.receiveMany(2);
      await session.post(sent).catch(() => {});
      await until(
        async () => {
          const answer = await session.poll();
          if (answer.status === 400) return answer.body === '{"code":1,"message":"Session ID unknown"}';
          // Until it is gone a GET may only learn of the close.
          assert.ok(["1", "6"].includes(answer.body), `GET answered ${answer.body}`);
          return false;
        },
        SOON,
        "the session is unknown",
      );
    });
  }

  test("connection_survives_the_upgrade_with_its_namespaces", async () => {
    const session = await PollingSession.open(endpoint);
    await session.post("40", "40/custom,");
    await session.receiveMany(4);
    const socket = await RawWebSocket.open(session.webSocketUrl, { answerPings: true });
    socket.send("2probe");
    assert.equal(await socket.inbox.next(), "3probe");
    await session.post('42["message","queued"]');
    socket.send("5");
    assert.equal(await socket.inbox.next(), '42["message-back","queued"]');
    await assertAnswers(socket);
    await assertAnswers(socket, "/custom,");
    await socket.close();
  });
});
