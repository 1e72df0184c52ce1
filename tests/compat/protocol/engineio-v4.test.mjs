// Engine.IO 4 at the level of bytes: HTTP long-polling, heartbeats, close, upgrade, CORS. WebSocket framing has its own file.
// The fixture echoes every message; 1,000,000 bytes of payload. It pings where a test is about pings.
// `TARGET=reference` runs the same tests against Node's engine.io, to check the tests.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { PollingSession, RawWebSocket, TcpClient, decodePayload, request } from "../support/raw.mjs";
import { againstReference, startFixture } from "../support/servers.mjs";
import { SOON, until, within } from "../support/wait.mjs";

/** Within SOON, which is every wait's deadline, no ping comes and no heartbeat can be what closed a session. */
const QUIET = { PING_INTERVAL_MS: "25000", PING_TIMEOUT_MS: "20000" };
const PING_INTERVAL = 300;
const PING_TIMEOUT = 1_000; // a test on a busy machine answers late
const BEATING = { PING_INTERVAL_MS: String(PING_INTERVAL), PING_TIMEOUT_MS: String(PING_TIMEOUT) };
const MAX_PAYLOAD = 1_000_000;
const HANDSHAKE_KEYS = ["sid", "upgrades", "pingInterval", "pingTimeout", "maxPayload"];
const ORIGIN = { origin: "https://chat.example" };

/** @typedef {import("../support/servers.mjs").Listening} Listening */

/** @type {Listening} */
let server;
/** It pings. @type {Listening} */
let beating;
/** It has one thread for all connections, see {@link beginPoll}. @type {Listening} */
let orderly;
/** @type {string} */
let endpoint;

const endpointOf = (/** @type {Listening} */ { url }) => `${url}/engine.io/`;

before(async () => {
  server = await startFixture("protocol_v4", { env: QUIET });
  beating = await startFixture("protocol_v4", { env: BEATING });
  orderly = await startFixture("protocol_v4", { env: { ...QUIET, TOKIO_WORKER_THREADS: "1" } });
  endpoint = endpointOf(server);
});
after(() => Promise.all([server?.stop(), beating?.stop(), orderly?.stop()]));

const openPolling = (fixture = server) => PollingSession.open(endpointOf(fixture));
const webSocketUrl = (fixture = server) => `${endpointOf(fixture).replace("http", "ws")}?EIO=4&transport=websocket`;

/** A session whose GET waits. */
async function openWithGet() {
  const session = await openPolling(orderly);
  return { session, ...(await beginPoll(session)) };
}

/**
 * A GET that waits before anything else is sent: on the one thread of `orderly`, whatever is sent after the answer to a
 * later request comes behind it.
 * @param {PollingSession} session
 */
async function beginPoll(session) {
  const pending = session.poll();
  assert.equal((await session.post("6")).body, "ok");
  return { pending };
}

/** A WebSocket session that answers pings, its handshake read. */
async function openWebSocket() {
  const socket = await RawWebSocket.open(webSocketUrl(), { answerPings: true });
  const handshake = await socket.inbox.next();
  return { socket, handshake: JSON.parse(String(handshake).slice(1)) };
}

/** A polling session upgraded to WebSocket. */
async function openUpgraded() {
  const session = await openPolling();
  const socket = await probe(session);
  socket.send("5");
  return { session, socket };
}

/** Opens a WebSocket for the session and completes the probe. */
async function probe(session) {
  const socket = await RawWebSocket.open(session.webSocketUrl, { answerPings: true });
  socket.send("2probe");
  assert.equal(await socket.inbox.next(), "3probe");
  return socket;
}

/** @param {import("../support/raw.mjs").Answer} answer */
function assertRefused(answer, code, message, status = 400) {
  assert.deepEqual([answer.status, answer.body], [status, JSON.stringify({ code, message })]);
  assert.match(answer.headers["content-type"] ?? "", /^application\/json/);
}

/** The server knows the session no more. */
async function assertGone(session) {
  assertRefused(await session.poll(), 1, "Session ID unknown");
}

/** The server ends the session by itself; a noop neither ends it nor keeps it. */
async function assertEnds(session) {
  await until(async () => (await session.post("6")).body.includes('"code":1'), SOON, "the session ends");
  await assertGone(session);
}

/** A POST that may be answered or cut; its status, or "cut". */
async function statusOrCut(pending) {
  return pending.then(
    (answer) => answer.status,
    () => "cut",
  );
}

/** A WebSocket echoes, so it lives and nothing was in front of the echo. */
async function assertEchoes(socket, text) {
  socket.send(`4${text}`);
  assert.equal(await socket.inbox.next(), `4${text}`);
}

async function assertPollingEchoes(session, text) {
  assert.equal((await session.post(`4${text}`)).body, "ok");
  assert.deepEqual(await session.receive(), [`4${text}`]);
}

describe("handshake", () => {
  test("polling_handshake_is_one_open_packet_with_exactly_the_five_keys", async () => {
    const answer = await request(`${endpoint}?EIO=4&transport=polling`);
    assert.equal(answer.status, 200);
    assert.match(answer.headers["content-type"] ?? "", /^text\/plain; ?charset=utf-8$/i);
    assert.equal(answer.headers["cache-control"], "no-store");
    assert.equal(answer.body[0], "0");
    const handshake = JSON.parse(answer.body.slice(1));
    assert.deepEqual(Object.keys(handshake), HANDSHAKE_KEYS);
    const { sid, ...rest } = handshake;
    assert.match(sid, /^[A-Za-z0-9_-]{20}$/);
    assert.deepEqual(rest, { upgrades: ["websocket"], pingInterval: 25_000, pingTimeout: 20_000, maxPayload: MAX_PAYLOAD });
  });

  test("websocket_handshake_offers_no_upgrades", async () => {
    const { socket, handshake } = await openWebSocket();
    assert.deepEqual(Object.keys(handshake), HANDSHAKE_KEYS);
    const { sid, ...rest } = handshake;
    assert.match(sid, /^[A-Za-z0-9_-]{20}$/);
    assert.deepEqual(rest, { upgrades: [], pingInterval: 25_000, pingTimeout: 20_000, maxPayload: MAX_PAYLOAD });
    await socket.close();
  });

  test("session_ids_differ", async () => {
    const sessions = await Promise.all(Array.from({ length: 100 }, openPolling));
    assert.equal(new Set(sessions.map((session) => session.sid)).size, 100);
  });

  test("other_query_parameters_in_any_order_are_allowed", async () => {
    const answer = await request(`${endpoint}?t=abc.0&transport=polling&x=%E2%82%AC&EIO=4&b64=1`);
    assert.equal(answer.status, 200);
    assert.equal(answer.body[0], "0");
  });

  test("no_cookie_is_set", async () => {
    const answer = await request(`${endpoint}?EIO=4&transport=polling`);
    assert.equal(answer.headers["set-cookie"], undefined);
    const client = await TcpClient.connect(server.url);
    assert.doesNotMatch(await client.requestUpgrade(webSocketUrl()), /^set-cookie/im);
    client.destroy();
  });

  test("two_handshakes_share_one_kept_alive_connection", async () => {
    const client = await TcpClient.connect(server.url);
    for (const _ of [1, 2]) {
      client.write(`GET /engine.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: ${new URL(server.url).host}\r\n\r\n`);
      const answer = await client.readAnswer();
      assert.match(answer, /^HTTP\/1\.1 200 [^]*\r\n\r\n0\{"sid"/);
    }
    client.destroy();
  });

  // The reference matches the path with its trailing slash only, and leaves other paths to other listeners.
  test("path_without_trailing_slash_is_served", { skip: againstReference && "ours only" }, async () => {
    assert.equal((await request(`${server.url}/engine.io?EIO=4&transport=polling`)).status, 200);
  });

  test("other_path_is_not_found", { skip: againstReference && "ours only" }, async () => {
    assert.equal((await request(`${server.url}/other/?EIO=4&transport=polling`)).status, 404);
  });
});

describe("refusals over HTTP", () => {
  for (const query of ["EIO=4", "EIO=4&transport=abc", "EIO=4&transport=webtransport", "EIO=4&transport=", "EIO=4&transport=constructor", "EIO=4&transport=abc&sid=unknown"]) {
    test(`unknown_transport_is_code_0: ${query}`, async () => {
      assertRefused(await request(`${endpoint}?${query}`), 0, "Transport unknown");
    });
  }

  for (const sid of ["unknown", "AAAAAAAAAAAAAAAAAAAA", "__proto__", "%00", "a".repeat(4_000)]) {
    test(`unknown_sid_is_code_1: ${sid.slice(0, 20)}`, async () => {
      const url = `${endpoint}?EIO=4&transport=polling&sid=${sid}`;
      assertRefused(await request(url), 1, "Session ID unknown");
      assertRefused(await request(url, { method: "POST", body: "4x" }), 1, "Session ID unknown");
    });
  }

  for (const method of ["POST", "PUT", "DELETE", "PATCH"]) {
    test(`handshake_by_other_method_is_code_2: ${method}`, async () => {
      assertRefused(await request(`${endpoint}?EIO=4&transport=polling`, { method }), 2, "Bad handshake method");
    });
  }

  test("websocket_transport_without_upgrade_is_code_3", async () => {
    assertRefused(await request(`${endpoint}?EIO=4&transport=websocket`), 3, "Bad request");
  });

  test("transport_of_a_session_cannot_change_without_upgrade_code_3", async () => {
    const session = await openPolling();
    assertRefused(await request(`${endpoint}?EIO=4&transport=websocket&sid=${session.sid}`), 3, "Bad request");
    const { socket, handshake } = await openWebSocket();
    const url = `${endpoint}?EIO=4&transport=polling&sid=${handshake.sid}`;
    assertRefused(await request(url), 3, "Bad request");
    assertRefused(await request(url, { method: "POST", body: "4x" }), 3, "Bad request");
    await assertEchoes(socket, "alive");
    await socket.close();
  });

  for (const query of ["EIO=3&transport=polling", "transport=polling", "EIO=abc&transport=polling", "EIO=5&transport=polling", "EIO=&transport=polling"]) {
    test(`other_protocol_version_is_code_5: ${query}`, async () => {
      assertRefused(await request(`${endpoint}?${query}`), 5, "Unsupported protocol version");
    });
  }

  test("other_protocol_version_within_a_session_is_code_3", async () => {
    const session = await openPolling();
    assertRefused(await request(session.url.replace("EIO=4", "EIO=3")), 3, "Bad request");
    await assertPollingEchoes(session, "alive");
  });

  test("other_methods_on_a_session_are_refused", async () => {
    const session = await openPolling();
    const answer = await request(session.url, { method: "PUT", body: "4x" });
    assert.ok(answer.status >= 400, `PUT answered ${answer.status}`);
  });
});

describe("refusals of WebSocket handshakes", () => {
  /** The answer's status line, content type and body. */
  async function refusal(query, headers = {}) {
    const client = await TcpClient.connect(server.url);
    const answer = await client.requestUpgrade(`${endpoint}?${query}`, headers);
    client.destroy();
    const [head, body] = answer.split("\r\n\r\n");
    return { status: head.split("\r\n")[0], type: /^content-type: *([^;\r]*)/im.exec(head)?.[1], body };
  }

  const cases = [
    ["EIO=4", "Transport unknown"],
    ["EIO=4&transport=abc", "Transport unknown"],
    ["EIO=4&transport=websocket&sid=unknown", "Session ID unknown"],
    ["EIO=4&transport=polling&sid=unknown", "Session ID unknown"],
  ];
  for (const [query, message] of cases) {
    test(`websocket_refusal_is_400_html_with_the_bare_message: ${query}`, async () => {
      assert.deepEqual(await refusal(query), { status: "HTTP/1.1 400 Bad Request", type: "text/html", body: message });
    });
  }

  test("upgrade_with_another_protocol_version_is_refused", async () => {
    const session = await openPolling();
    const { status, body } = await refusal(`EIO=3&transport=websocket&sid=${session.sid}`);
    assert.deepEqual([status, body], ["HTTP/1.1 400 Bad Request", "Bad request"]);
  });

  // The reference accepts the WebSocket first and then writes the HTTP refusal into it.
  for (const query of ["EIO=3&transport=websocket", "transport=websocket", "EIO=abc&transport=websocket"]) {
    test(`websocket_of_another_protocol_version_is_refused: ${query}`, async () => {
      if (againstReference) {
        const socket = await RawWebSocket.open(`${endpoint}?${query}`);
        await socket.closed();
        return;
      }
      assert.deepEqual(await refusal(query), { status: "HTTP/1.1 400 Bad Request", type: "text/html", body: "Unsupported protocol version" });
    });
  }

  test("polling_transport_over_a_websocket_opens_no_session", async () => {
    const opened = await RawWebSocket.open(`${endpoint}?EIO=4&transport=polling`).catch(() => undefined);
    if (!opened) return;
    await opened.closed();
    assert.deepEqual(opened.inbox.all, []);
  });
});

describe("messages by polling", () => {
  test("post_is_answered_ok_as_html", async () => {
    const session = await openPolling();
    const answer = await session.post("4hello");
    assert.deepEqual([answer.status, answer.body], [200, "ok"]);
    assert.match(answer.headers["content-type"] ?? "", /^text\/html/);
    assert.equal(answer.headers["cache-control"], "no-store");
  });

  test("one_text_packet_is_echoed", async () => {
    const session = await openPolling();
    await session.post("4hello");
    const answer = await session.poll();
    assert.deepEqual([answer.status, answer.body], [200, "4hello"]);
    assert.match(answer.headers["content-type"] ?? "", /^text\/plain; ?charset=utf-8$/i);
    assert.equal(answer.headers["cache-control"], "no-store");
  });

  test("several_text_packets_travel_in_one_payload_both_ways", async () => {
    const session = await openPolling();
    await session.post("4test1", "4test2", "4test3");
    assert.equal((await session.poll()).body, "4test1\x1e4test2\x1e4test3");
  });

  test("text_and_binary_packets_mix_in_order", async () => {
    const session = await openPolling();
    await session.post("4hello", "bAQIDBA==", "4after", "b", "b/v8=");
    assert.equal((await session.poll()).body, "4hello\x1ebAQIDBA==\x1e4after\x1eb\x1eb/v8=");
  });

  test("empty_message_is_a_message", async () => {
    const session = await openPolling();
    await session.post("4", "4x");
    assert.equal((await session.poll()).body, "4\x1e4x");
  });

  test("text_of_every_plane_survives", async () => {
    const session = await openPolling();
    const text = '4€ 漢字 🦀 ñ \u0000\u001f\u2028 "\\';
    await session.post(text);
    assert.equal((await session.poll()).body, text);
  });

  test("pending_get_is_answered_by_the_next_message", async () => {
    const session = await openPolling();
    const pending = session.poll();
    await session.post("4hello");
    assert.equal((await pending).body, "4hello");
  });

  test("messages_of_many_posts_keep_their_order", async () => {
    const session = await openPolling();
    const received = session.receiveMany(100, 4 * SOON); // 200 requests, one after the other
    for (let i = 0; i < 100; i++) assert.equal((await session.post(`4${i}`)).body, "ok");
    assert.deepEqual(await received, Array.from({ length: 100 }, (_, i) => `4${i}`));
  });

  test("five_thousand_packets_in_one_payload_are_all_read", async () => {
    const session = await openPolling();
    const packets = Array.from({ length: 5_000 }, (_, i) => `4${i}`);
    await session.post(...packets);
    assert.deepEqual(await session.receiveMany(5_000), packets);
  });

  test("pong_without_ping_and_noop_are_harmless", async () => {
    const session = await openPolling();
    await session.post("3", "6", "4x");
    assert.deepEqual(await session.receive(), ["4x"]);
  });
});

describe("limits and violations by polling", () => {
  const post = (session, body, headers = {}) => request(session.url, { method: "POST", body, headers });

  test("payload_of_the_limit_is_accepted", async () => {
    const session = await openPolling();
    const text = `4${"a".repeat(MAX_PAYLOAD - 1)}`;
    assert.equal((await post(session, text)).body, "ok");
    assert.ok((await session.poll()).body === text);
  });

  test("payload_over_the_limit_is_413", async () => {
    const session = await openPolling();
    assert.equal((await post(session, `4${"a".repeat(MAX_PAYLOAD)}`)).status, 413);
  });

  test("limit_counts_bytes_not_characters", async () => {
    const session = await openPolling();
    assert.equal((await post(session, `4${"€".repeat(MAX_PAYLOAD / 3 + 1)}`)).status, 413);
  });

  test("chunked_payload_over_the_limit_is_413", async () => {
    const session = await openPolling();
    const client = await TcpClient.connect(server.url);
    const { host } = new URL(server.url);
    client.write(`POST /engine.io/${session.query} HTTP/1.1\r\nHost: ${host}\r\nTransfer-Encoding: chunked\r\n\r\n`);
    const chunk = `${(10_000).toString(16)}\r\n4${"a".repeat(9_999)}\r\n`;
    for (let sent = 0; sent <= MAX_PAYLOAD; sent += 10_000) client.write(chunk);
    client.write("0\r\n\r\n");
    assert.match(await client.readAnswer(), /^HTTP\/1\.1 413 /);
    client.destroy();
  });

  test("announced_length_over_the_limit_is_413_before_the_body_is_there", { skip: againstReference && "the reference reads the body first" }, async () => {
    const session = await openPolling();
    const client = await TcpClient.connect(server.url);
    const { host } = new URL(server.url);
    client.write(`POST /engine.io/${session.query} HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 4000000000\r\n\r\n4`);
    assert.match(await client.readAnswer(), /^HTTP\/1\.1 413 /);
    client.destroy();
  });

  for (const [name, body] of [
    ["unknown_type", "abc"],
    ["empty", ""],
    ["digit_without_meaning", "7x"],
    ["empty_packet_between_two", "4a\x1e\x1e4b"],
    ["separator_only", "\x1e"],
    ["client_ping", "2"],
    ["client_ping_with_data", "2probe"],
  ]) {
    test(`bad_payload_closes_the_session: ${name}`, async () => {
      const session = await openPolling();
      const status = await statusOrCut(post(session, body));
      // The reference has read the body by then, closes the session and still answers 200; so may we if the payload could be parsed.
      const expected = againstReference || name.startsWith("client_ping") ? [200, 400, "cut"] : [400, "cut"];
      assert.ok(expected.includes(status), `POST answered ${status}`);
      await assertGone(session);
    });
  }

  test("pending_get_learns_of_the_close_after_a_bad_payload", async () => {
    const { session, pending } = await openWithGet();
    await statusOrCut(post(session, "abc"));
    const answer = await pending;
    assert.deepEqual([answer.status, answer.body], [200, "1"]);
    await assertGone(session);
  });

  test("octet_stream_post_is_400_and_closes", async () => {
    const session = await openPolling();
    assert.equal((await post(session, Buffer.from([4, 1, 2, 3]), { "content-type": "application/octet-stream" })).status, 400);
    await assertGone(session);
  });

  test("second_get_is_400_and_closes_and_the_first_gets_a_close_packet", async () => {
    const { session, pending } = await openWithGet();
    const second = await session.poll();
    assert.equal(second.status, 400);
    const answer = await pending;
    assert.deepEqual([answer.status, answer.body], [200, "1"]);
    await assertGone(session);
  });

  test("second_post_is_400_and_closes", async () => {
    const session = await openPolling();
    const slow = await beginPost(session);
    await until(async () => (await statusOrCut(session.post("4second"))) === 400, SOON, "the second POST is refused with 400");
    await assertGone(session);
    slow.destroy();
  });

  test("cancelled_get_closes_the_session", async () => {
    const { session, pending } = await openWithGet();
    pending.abort();
    await assertEnds(session);
  });

  test("cancelled_post_closes_the_session", async () => {
    // The GET learns of it: another POST would itself end the session if it came while this one is read.
    const { session, pending } = await openWithGet();
    const slow = await beginPost(session);
    slow.destroy();
    const answer = await pending;
    assert.deepEqual([answer.status, answer.body], [200, "1"]);
    await assertGone(session);
  });

  /** A POST whose body does not end; the server is about to read it. */
  async function beginPost(session) {
    const { origin, host } = new URL(session.url);
    const client = await TcpClient.connect(origin);
    client.write(`POST /engine.io/${session.query} HTTP/1.1\r\nHost: ${host}\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\n4fir`);
    return client;
  }

  // What is not valid must hurt nobody else; how the session itself ends is open.
  for (const [name, body] of [
    ["invalid_utf8", Buffer.from([0x34, 0xff, 0xfe, 0x80])],
    ["cut_utf8", Buffer.from([0x34, 0xe2, 0x82])],
    ["invalid_base64", "b!!!!"],
    ["base64_of_wrong_length", "bAQIDB"],
  ]) {
    test(`other_sessions_survive_a_bad_payload: ${name}`, async () => {
      const other = await openPolling();
      const session = await openPolling();
      await statusOrCut(post(session, body));
      await assertPollingEchoes(other, "alive");
    });
  }
});

describe("messages by WebSocket", () => {
  test("text_is_echoed", async () => {
    const { socket } = await openWebSocket();
    await assertEchoes(socket, "hello");
    await socket.close();
  });

  test("binary_is_echoed_as_one_raw_binary_message", async () => {
    const { socket } = await openWebSocket();
    socket.send(Buffer.from([1, 2, 3, 4]), Buffer.alloc(0));
    assert.deepEqual(await socket.inbox.take(2), [Buffer.from([1, 2, 3, 4]), Buffer.alloc(0)]);
    await socket.close();
  });

  test("text_and_binary_keep_their_order", async () => {
    const { socket } = await openWebSocket();
    const sent = Array.from({ length: 1_000 }, (_, i) => (i % 3 === 0 ? Buffer.from(String(i)) : `4${i}`));
    socket.send(...sent);
    assert.deepEqual(await socket.inbox.take(1_000), sent);
    await socket.close();
  });

  for (const [name, message] of [
    ["unknown_type", "abc"],
    ["empty", ""],
    ["digit_without_meaning", "7"],
    ["client_ping", "2"],
    ["probe_without_upgrade", "2probe"],
  ]) {
    test(`bad_packet_closes_the_websocket: ${name}`, async () => {
      const { socket } = await openWebSocket();
      socket.send(message);
      await socket.closed();
      assert.deepEqual(socket.inbox.unread, []);
    });
  }
});

describe("heartbeat", () => {
  // Measured from before the server could begin to count: a client that is held up sees no span too short.

  /** Returns from when to measure the next one, whose interval begins with the pong. */
  function assertPingIsDue(begin) {
    const now = Date.now();
    const waited = now - begin;
    assert.ok(waited > PING_INTERVAL * 0.5 && waited < PING_INTERVAL * 4, `ping after ${waited} ms`);
    return now;
  }

  /** A session that was begun then, and never answered a ping, ends now. */
  function assertTimedOut(begin) {
    const waited = Date.now() - begin;
    const due = PING_INTERVAL + PING_TIMEOUT;
    assert.ok(waited > due * 0.9 && waited < due * 3, `closed after ${waited} ms`);
  }

  test("polling_gets_a_ping_each_interval_and_lives_on_pongs", async () => {
    let begin = Date.now();
    const session = await openPolling(beating);
    for (let round = 0; round < 3; round++) {
      assert.equal((await session.poll()).body, "2");
      begin = assertPingIsDue(begin);
      assert.equal((await session.post("3")).body, "ok");
    }
    await assertPollingEchoes(session, "alive");
  });

  test("polling_session_without_pong_is_closed", async () => {
    const begin = Date.now();
    const session = await openPolling(beating);
    await assertEnds(session);
    assertTimedOut(begin);
  });

  test("pending_get_gets_a_close_packet_at_ping_timeout", async () => {
    const begin = Date.now();
    const session = await openPolling(beating);
    assert.equal((await session.poll()).body, "2");
    assert.equal((await session.poll()).body, "1");
    assertTimedOut(begin);
    await assertGone(session);
  });

  test("websocket_gets_a_ping_each_interval_and_lives_on_pongs", async () => {
    let begin = Date.now();
    const socket = await RawWebSocket.open(webSocketUrl(beating));
    await socket.inbox.next();
    for (let round = 0; round < 3; round++) {
      assert.equal(await socket.inbox.next(), "2");
      begin = assertPingIsDue(begin);
      socket.send("3");
    }
    await assertEchoes(socket, "alive");
    await socket.close();
  });

  test("websocket_without_pong_is_closed", async () => {
    const begin = Date.now();
    const socket = await RawWebSocket.open(webSocketUrl(beating));
    await socket.inbox.next();
    assert.equal(await socket.inbox.next(), "2");
    await socket.closed();
    assertTimedOut(begin);
    assert.deepEqual(socket.inbox.unread, []);
  });

  test("messages_are_no_substitute_for_pongs", async () => {
    const socket = await RawWebSocket.open(webSocketUrl(beating));
    const chatter = setInterval(() => socket.isOpen && socket.send("4x"), 50);
    try {
      await socket.closed();
    } finally {
      clearInterval(chatter);
    }
  });

  test("heartbeat_goes_on_after_an_upgrade", async () => {
    const session = await openPolling(beating);
    const socket = await RawWebSocket.open(session.webSocketUrl);
    socket.send("2probe");
    assert.equal(await socket.inbox.next(), "3probe");
    socket.send("5");
    for (let round = 0; round < 3; round++) {
      assert.equal(await socket.inbox.next(), "2");
      socket.send("3");
    }
    assert.equal(await socket.inbox.next(), "2");
    await socket.closed();
  });
});

describe("close", () => {
  test("close_packet_by_polling_answers_the_pending_get_with_a_noop", async () => {
    const { session, pending } = await openWithGet();
    assert.equal((await session.post("1")).status, 200);
    const answer = await pending;
    assert.deepEqual([answer.status, answer.body], [200, "6"]);
    await assertGone(session);
  });

  test("close_packet_by_polling_without_a_get_ends_the_session", async () => {
    const session = await openPolling();
    assert.equal((await session.post("1")).status, 200);
    await assertGone(session);
  });

  test("nothing_after_a_close_packet_is_read", async () => {
    const { session, pending } = await openWithGet();
    await session.post("1", "4after");
    assert.equal((await pending).body, "6");
    await assertGone(session);
  });

  test("close_packet_by_websocket_closes_it", async () => {
    // The reference has no ear for it on WebSocket and closes at ping timeout; ours closes at once.
    const socket = await RawWebSocket.open(webSocketUrl(againstReference ? beating : server));
    await socket.inbox.next();
    socket.send("1");
    await socket.closed();
    if (!againstReference) assert.deepEqual(socket.inbox.unread, []);
  });

  test("closed_websocket_session_cannot_be_used_again", async () => {
    const { socket, handshake } = await openWebSocket();
    await socket.close();
    const url = `${endpoint}?EIO=4&transport=polling&sid=${handshake.sid}`;
    await until(async () => (await request(url)).body.includes('"code":1'), SOON, "the session is unknown after the close");
  });

  test("cut_websocket_ends_the_session", async () => {
    const { socket, handshake } = await openWebSocket();
    socket.terminate();
    const url = `${endpoint}?EIO=4&transport=polling&sid=${handshake.sid}`;
    await until(async () => (await request(url)).body.includes('"code":1'), SOON, "the session is unknown after the cut");
  });
});

describe("upgrade", () => {
  test("upgrade_with_probe_moves_the_session_to_websocket", async () => {
    const { socket } = await openUpgraded();
    await assertEchoes(socket, "hello");
    socket.send(Buffer.from([1, 2, 3]));
    assert.deepEqual(await socket.inbox.next(), Buffer.from([1, 2, 3]));
    await socket.close();
  });

  test("pending_get_gets_a_noop_while_probing", async () => {
    const { session, pending } = await openWithGet();
    const socket = await probe(session);
    const answer = await pending; // within its deadline no ping is due
    assert.deepEqual([answer.status, answer.body], [200, "6"]);
    const again = await session.poll();
    assert.equal(again.body, "6", "a GET that comes while probing gets a noop as well");
    socket.send("5");
    await assertEchoes(socket, "hello");
    await socket.close();
  });

  test("polling_still_carries_messages_while_probing", async () => {
    const session = await openPolling();
    const socket = await probe(session);
    await assertPollingEchoes(session, "meanwhile");
    socket.send("5");
    await assertEchoes(socket, "hello");
    await socket.close();
  });

  test("messages_queued_at_the_upgrade_are_flushed_to_the_websocket", async () => {
    const session = await openPolling();
    await session.post("4a", "bAQID", "4b");
    const socket = await probe(session);
    assert.deepEqual(socket.inbox.unread, [], "nothing but the pong before the upgrade packet");
    socket.send("5", "4c");
    assert.deepEqual(await socket.inbox.take(4), ["4a", Buffer.from([1, 2, 3]), "4b", "4c"]);
    await socket.close();
  });

  test("get_that_is_pending_at_the_upgrade_is_released", async () => {
    const session = await openPolling(orderly);
    const socket = await probe(session);
    const { pending } = await beginPoll(session);
    socket.send("5");
    const answer = await pending;
    // The reference answers with a close packet if its noop was not yet due, ours refuses a GET that is as young as the
    // `5` (the two travel on different connections); each of them releases the client's request.
    const releases = answer.status === 200 ? ["6", "1"].includes(answer.body) : answer.status === 400;
    assert.ok(releases, `GET answered ${answer.status} ${answer.body}`);
    await assertEchoes(socket, "hello");
    await socket.close();
  });

  test("nothing_is_lost_or_reordered_through_an_upgrade_under_a_stream", async () => {
    for (let round = 0; round < 10; round++) await upgradeUnderStream(await openPolling());
  });

  /** Posts without a break, upgrades as the official client does (finish the POST, release the GET, `5`), goes on by WebSocket. */
  async function upgradeUnderStream(session) {
    const received = [];
    let next = 0;
    let upgrading = false;
    const polling = (async () => {
      while (!upgrading) received.push(...decodePayload((await session.poll()).body));
    })();
    const posting = (async () => {
      while (!upgrading) await session.post(...Array.from({ length: 1 + (next % 5) }, () => `4${next++}`));
    })();
    await until(() => received.length > 10, SOON, "the stream flows by polling");
    const socket = await probe(session);
    upgrading = true;
    await within(Promise.all([posting, polling]), SOON, "POST and GET in flight are answered");
    await session.post(...Array.from({ length: 50 }, () => `4${next++}`)); // no GET takes these
    socket.send("5");
    for (let i = 0; i < 100; i++) socket.send(`4${next++}`);
    const byPolling = received.filter((packet) => packet[0] === "4");
    const byWebSocket = await socket.inbox.take(next - byPolling.length);
    assert.deepEqual([...byPolling, ...byWebSocket], Array.from({ length: next }, (_, i) => `4${i}`));
    await assertEchoes(socket, "last");
    await socket.close();
  }

  test("http_requests_after_the_upgrade_are_refused_and_change_nothing", async () => {
    const { session, socket } = await openUpgraded();
    await assertEchoes(socket, "before");
    assertRefused(await session.poll(), 3, "Bad request");
    assertRefused(await session.post("4no"), 3, "Bad request");
    await assertEchoes(socket, "after");
    await socket.close();
  });

  test("second_websocket_after_the_upgrade_is_closed_and_changes_nothing", async () => {
    const { session, socket } = await openUpgraded();
    await assertEchoes(socket, "before");
    await assertSecondIsClosed(session);
    await assertEchoes(socket, "after");
    await socket.close();
  });

  test("second_websocket_during_the_probe_is_closed_and_the_first_upgrades", async () => {
    const session = await openPolling();
    const first = await probe(session);
    await assertSecondIsClosed(session);
    first.send("5");
    await assertEchoes(first, "hello");
    await first.close();
  });

  async function assertSecondIsClosed(session) {
    const second = await RawWebSocket.open(session.webSocketUrl).catch(() => undefined);
    if (!second) return;
    if (second.isOpen) second.send("2probe");
    await second.closed();
    assert.deepEqual(second.inbox.all, []);
  }

  for (const [name, message] of [
    ["wrong_probe", "2wrong"],
    ["ping_without_probe", "2"],
    ["message_first", "4hello"],
    ["unknown_type", "abc"],
    ["empty", ""],
    ["binary", Buffer.from([1])],
  ]) {
    test(`failed_probe_closes_the_websocket_and_polling_goes_on: ${name}`, async () => {
      const session = await openPolling();
      const socket = await RawWebSocket.open(session.webSocketUrl);
      socket.send(message);
      await socket.closed();
      assert.deepEqual(socket.inbox.all, []);
      await assertPollingEchoes(session, "alive");
      const retry = await probe(session);
      retry.send("5");
      await assertEchoes(retry, "upgraded at last");
      await retry.close();
    });
  }

  test("message_after_the_probe_instead_of_an_upgrade_closes_the_websocket", async () => {
    const session = await openPolling();
    const socket = await probe(session);
    socket.send("4hello");
    await socket.closed();
    assert.deepEqual(socket.inbox.unread, []);
    await assertPollingEchoes(session, "alive");
  });

  test("websocket_cut_after_the_probe_leaves_polling_alone", async () => {
    const session = await openPolling();
    const socket = await probe(session);
    socket.terminate();
    await assertPollingEchoes(session, "alive");
    const retry = await until(() => probe(session), SOON, "the cut is noticed, and the session can be probed again");
    retry.send("5");
    await assertEchoes(retry, "upgraded at last");
    await retry.close();
  });

  test("session_closed_while_probing_takes_the_websocket_along", async () => {
    const session = await openPolling();
    const socket = await probe(session);
    await session.post("1");
    await socket.closed();
    await assertGone(session);
  });

  test("upgrade_timeout_closes_the_websocket_and_polling_goes_on", async () => {
    const session = await openPolling();
    const begin = Date.now();
    const socket = await probe(session);
    const polled = [];
    const polling = (async () => {
      while (!polled.includes("4alive")) {
        const answer = await session.poll();
        assert.equal(answer.status, 200);
        polled.push(...decodePayload(answer.body));
      }
    })();
    await Promise.race([socket.closed(15_000), polling]);
    const waited = Date.now() - begin;
    assert.ok(waited > 9_000 && waited < 14_000, `closed after ${waited} ms`);
    assert.equal((await session.post("4alive")).body, "ok");
    await polling;
  });
});

describe("CORS", () => {
  test("preflight_is_204_and_allows_get_and_post_with_the_asked_headers", async () => {
    const answer = await request(`${endpoint}?EIO=4&transport=polling`, {
      method: "OPTIONS",
      headers: { ...ORIGIN, "access-control-request-method": "POST", "access-control-request-headers": "content-type,x-own" },
    });
    assert.deepEqual([answer.status, answer.body], [204, ""]);
    assert.equal(answer.headers["access-control-allow-origin"], "*");
    const methods = String(answer.headers["access-control-allow-methods"]).split(/, */);
    assert.ok(methods.includes("GET") && methods.includes("POST"), `methods ${methods}`);
    const headers = String(answer.headers["access-control-allow-headers"]).toLowerCase();
    assert.ok(headers === "*" || (headers.includes("content-type") && headers.includes("x-own")), `headers ${headers}`);
  });

  test("preflight_within_a_session_leaves_the_session_alone", async () => {
    const session = await openPolling();
    const answer = await request(session.url, { method: "OPTIONS", headers: { ...ORIGIN, "access-control-request-method": "POST" } });
    assert.equal(answer.status, 204);
    await assertPollingEchoes(session, "alive");
  });

  test("every_answer_allows_the_origin", async () => {
    const session = await PollingSession.open(endpoint, "", ORIGIN);
    const allowed = (answer) => answer.headers["access-control-allow-origin"];
    assert.equal(allowed(await request(`${endpoint}?EIO=4&transport=polling`, { headers: ORIGIN })), "*");
    assert.equal(allowed(await request(session.url, { method: "POST", body: "4x", headers: ORIGIN })), "*");
    assert.equal(allowed(await session.poll({ headers: ORIGIN })), "*");
    assert.equal(allowed(await request(`${endpoint}?EIO=4&transport=abc`, { headers: ORIGIN })), "*", "a refusal too, so that a page can read it");
  });
});
