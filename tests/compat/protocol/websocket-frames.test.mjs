// WebSocket (RFC 6455) at the level of frames, as Engine.IO's transport: handshake, lengths, fragments, control frames, violations.
// The violations are answered with a close frame of the RFC's code and the end of the TCP connection.
// `TARGET=reference` runs the same tests against Node's engine.io, to check the tests.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { OPCODE, RawWebSocket, TcpClient, encodeFrame } from "../support/raw.mjs";
import { startFixture } from "../support/servers.mjs";

const MAX_PAYLOAD = 1_000_000;
/** Pings so rare that within SOON, which is every wait's deadline, no heartbeat can be what closed a connection. */
const QUIET = { PING_INTERVAL_MS: "25000", PING_TIMEOUT_MS: "20000" };

/** @type {import("../support/servers.mjs").Listening} */
let server;
/** Its pings are frequent. @type {import("../support/servers.mjs").Listening} */
let beating;
/** @type {string} */
let url;

const urlOf = (/** @type {{url: string}} */ { url }) => `${url}/engine.io/?EIO=4&transport=websocket`;

before(async () => {
  server = await startFixture("protocol_v4", { env: QUIET });
  beating = await startFixture("protocol_v4");
  url = urlOf(server);
});
after(() => Promise.all([server?.stop(), beating?.stop()]));

/** An open session over bare TCP, the handshake packet read. */
async function open(fixture = server) {
  const client = await TcpClient.upgrade(urlOf(fixture));
  const first = await client.frames.next();
  assert.equal(first.payload[0], 0x30);
  return client;
}

/** @param {string | Buffer} payload */
async function assertNext(client, opcode, payload) {
  const frame = await client.frames.next();
  assert.deepEqual([frame.fin, frame.rsv, frame.opcode], [true, 0, opcode]);
  const expected = Buffer.from(payload);
  assert.ok(frame.payload.equals(expected), `got ${frame.payload.length} bytes ${frame.payload.subarray(0, 40)}, not ${expected.length} bytes`);
}

async function assertLives(client) {
  client.sendText("4alive");
  await assertNext(client, OPCODE.text, "4alive");
  client.destroy();
}

/** The server sends a close frame with this code, nothing else, and ends the connection. */
async function assertClosedWith(client, code) {
  await client.ended();
  const rest = client.frames.unread;
  assert.deepEqual(
    rest.map((frame) => [frame.opcode, frame.payload.length >= 2 ? frame.payload.readUInt16BE(0) : undefined]),
    [[OPCODE.close, code]],
  );
}

describe("handshake", () => {
  test("accept_key_is_the_one_of_the_rfc", async () => {
    const client = await TcpClient.connect(url);
    const answer = await client.requestUpgrade(url, { "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==" });
    assert.match(answer, /^HTTP\/1\.1 101 /);
    assert.match(answer, /^sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=\r$/im);
    assert.match(answer, /^upgrade: websocket\r$/im);
    assert.match(answer, /^connection: upgrade\r$/im);
    client.destroy();
  });

  test("offered_extensions_and_subprotocols_are_not_taken", async () => {
    const client = await TcpClient.connect(url);
    const answer = await client.requestUpgrade(url, { "Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits" });
    assert.match(answer, /^HTTP\/1\.1 101 /);
    assert.doesNotMatch(answer, /^sec-websocket-extensions:/im);
    client.destroy();
  });

  test("connection_header_may_list_more_and_be_of_any_case", async () => {
    const client = await TcpClient.connect(url);
    const answer = await client.requestUpgrade(url, { Connection: "keep-alive, upgrade", Upgrade: "WebSocket" });
    assert.match(answer, /^HTTP\/1\.1 101 /);
    client.destroy();
  });

  for (const [name, headers] of [
    ["missing_key", { "Sec-WebSocket-Key": undefined }],
    ["bad_key", { "Sec-WebSocket-Key": "short" }],
    ["missing_version", { "Sec-WebSocket-Version": undefined }],
    ["unknown_version", { "Sec-WebSocket-Version": "99" }],
    ["other_protocol", { Upgrade: "h2c" }],
  ]) {
    test(`bad_handshake_is_refused: ${name}`, async () => {
      const client = await TcpClient.connect(url);
      assert.match(await client.requestUpgrade(url, /** @type {any} */ (headers)), /^HTTP\/1\.1 4\d\d /);
      client.destroy();
    });
  }

  test("frames_sent_together_with_the_handshake_are_read", async () => {
    const client = await TcpClient.connect(url);
    const { host, pathname, search } = new URL(url);
    const head = `GET ${pathname}${search} HTTP/1.1\r\nHost: ${host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`;
    client.write(Buffer.concat([Buffer.from(head), encodeFrame({ opcode: OPCODE.text, payload: "4early" })]));
    assert.match(await client.readAnswer(), /^HTTP\/1\.1 101 /);
    assert.equal((await client.frames.next()).payload[0], 0x30);
    await assertNext(client, OPCODE.text, "4early");
    client.destroy();
  });
});

describe("lengths and fragments", () => {
  for (const length of [1, 2, 125, 126, 127, 128, 65_535, 65_536, 65_537, 300_000, MAX_PAYLOAD]) {
    test(`text_of_length_is_echoed: ${length}`, async () => {
      const client = await open();
      const text = `4${"a".repeat(length - 1)}`;
      client.sendText(text);
      await assertNext(client, OPCODE.text, text);
      await assertLives(client);
    });
  }

  for (const length of [0, 1, 125, 126, 65_535, 65_536, MAX_PAYLOAD]) {
    test(`binary_of_length_is_echoed: ${length}`, async () => {
      const client = await open();
      const bytes = Buffer.alloc(length, 0xa5);
      client.sendFrames({ opcode: OPCODE.binary, payload: bytes });
      await assertNext(client, OPCODE.binary, bytes);
      await assertLives(client);
    });
  }

  test("frame_that_arrives_byte_by_byte_is_read", async () => {
    const client = await open();
    for (const byte of encodeFrame({ opcode: OPCODE.text, payload: "4slowly" })) {
      client.write(Buffer.from([byte]));
      await new Promise(setImmediate);
    }
    await assertNext(client, OPCODE.text, "4slowly");
    client.destroy();
  });

  test("many_frames_in_one_write_are_read_in_order", async () => {
    const client = await open();
    client.sendFrames(...Array.from({ length: 500 }, (_, i) => ({ opcode: OPCODE.text, payload: `4${i}` })));
    for (let i = 0; i < 500; i++) await assertNext(client, OPCODE.text, `4${i}`);
    client.destroy();
  });

  test("fragments_make_one_text", async () => {
    const client = await open();
    client.sendFrames(
      { opcode: OPCODE.text, payload: "4he", fin: false },
      { opcode: OPCODE.continuation, payload: "ll", fin: false },
      { opcode: OPCODE.continuation, payload: "", fin: false },
      { opcode: OPCODE.continuation, payload: "o" },
    );
    await assertNext(client, OPCODE.text, "4hello");
    client.destroy();
  });

  test("fragments_make_one_binary", async () => {
    const client = await open();
    client.sendFrames({ opcode: OPCODE.binary, payload: Buffer.from([1]), fin: false }, { opcode: OPCODE.continuation, payload: Buffer.from([2, 3]) });
    await assertNext(client, OPCODE.binary, Buffer.from([1, 2, 3]));
    client.destroy();
  });

  test("character_split_between_fragments_is_valid", async () => {
    const client = await open();
    const bytes = Buffer.from("4🦀");
    client.sendFrames(...[...bytes].map((byte, i) => ({ opcode: i ? OPCODE.continuation : OPCODE.text, payload: Buffer.from([byte]), fin: i === bytes.length - 1 })));
    await assertNext(client, OPCODE.text, "4🦀");
    client.destroy();
  });

  test("ping_between_fragments_is_answered_first_and_the_message_stays_whole", async () => {
    const client = await open();
    client.sendFrames(
      { opcode: OPCODE.text, payload: "4hel", fin: false },
      { opcode: OPCODE.ping, payload: "between" },
      { opcode: OPCODE.continuation, payload: "lo" },
    );
    await assertNext(client, OPCODE.pong, "between");
    await assertNext(client, OPCODE.text, "4hello");
    client.destroy();
  });
});

describe("control frames", () => {
  for (const payload of ["", "abc", "x".repeat(125)]) {
    test(`ping_is_answered_with_a_pong_of_the_same_payload: ${payload.length} bytes`, async () => {
      const client = await open();
      client.sendFrames({ opcode: OPCODE.ping, payload });
      await assertNext(client, OPCODE.pong, payload);
      await assertLives(client);
    });
  }

  test("pong_without_ping_is_ignored", async () => {
    const client = await open();
    client.sendFrames({ opcode: OPCODE.pong, payload: "unasked" });
    await assertLives(client);
  });

  test("websocket_pong_is_no_engine_pong", async () => {
    const client = await open(beating);
    assert.equal((await client.frames.next()).payload.toString(), "2");
    client.sendFrames({ opcode: OPCODE.pong, payload: "2" });
    await client.closedByPeer();
    client.destroy();
  });

  for (const code of [1000, 1001, 3000, 4999]) {
    test(`close_frame_is_answered_and_the_connection_ends: ${code}`, async () => {
      const client = await open();
      const payload = Buffer.from([code >> 8, code & 0xff, ...Buffer.from("bye")]);
      client.sendFrames({ opcode: OPCODE.close, payload });
      const answer = await client.frames.next();
      assert.equal(answer.opcode, OPCODE.close);
      await client.ended();
    });
  }

  test("empty_close_frame_is_answered", async () => {
    const client = await open();
    client.sendFrames({ opcode: OPCODE.close });
    assert.equal((await client.frames.next()).opcode, OPCODE.close);
    await client.ended();
  });

  test("nothing_after_a_close_frame_is_read", async () => {
    const client = await open();
    client.sendFrames({ opcode: OPCODE.close }, { opcode: OPCODE.text, payload: "4late" });
    await client.ended();
    assert.deepEqual(client.frames.unread.map((frame) => frame.opcode), [OPCODE.close]);
  });
});

describe("violations", () => {
  const text = OPCODE.text;
  /** @type {[string, number, Parameters<typeof encodeFrame>[0][]][]} */
  const cases = [
    ["unmasked_text", 1002, [{ opcode: text, payload: "4x", masked: false }]],
    ["unmasked_ping", 1002, [{ opcode: OPCODE.ping, masked: false }]],
    ["first_reserved_bit", 1002, [{ opcode: text, payload: "4x", rsv: 4 }]],
    ["second_reserved_bit", 1002, [{ opcode: text, payload: "4x", rsv: 2 }]],
    ["third_reserved_bit", 1002, [{ opcode: text, payload: "4x", rsv: 1 }]],
    ["reserved_bit_on_a_control_frame", 1002, [{ opcode: OPCODE.ping, rsv: 1 }]],
    ["reserved_data_opcode", 1002, [{ opcode: 3, payload: "4x" }]],
    ["reserved_control_opcode", 1002, [{ opcode: 11, payload: "4x" }]],
    ["fragmented_ping", 1002, [{ opcode: OPCODE.ping, fin: false }]],
    ["long_ping", 1002, [{ opcode: OPCODE.ping, payload: "x".repeat(126) }]],
    ["continuation_of_nothing", 1002, [{ opcode: OPCODE.continuation, payload: "4x" }]],
    ["new_text_within_a_fragmented_one", 1002, [{ opcode: text, payload: "4a", fin: false }, { opcode: text, payload: "4b" }]],
    ["new_binary_within_a_fragmented_text", 1002, [{ opcode: text, payload: "4a", fin: false }, { opcode: OPCODE.binary, payload: "b" }]],
    ["close_with_half_a_code", 1002, [{ opcode: OPCODE.close, payload: Buffer.from([3]) }]],
    ["close_with_code_999", 1002, [{ opcode: OPCODE.close, payload: Buffer.from([3, 231]) }]],
    ["close_with_code_1005", 1002, [{ opcode: OPCODE.close, payload: Buffer.from([3, 237]) }]],
    ["close_with_code_1006", 1002, [{ opcode: OPCODE.close, payload: Buffer.from([3, 238]) }]],
    ["close_with_code_5000", 1002, [{ opcode: OPCODE.close, payload: Buffer.from([19, 136]) }]],
    ["close_with_bad_reason", 1007, [{ opcode: OPCODE.close, payload: Buffer.from([3, 232, 0xff]) }]],
    ["invalid_utf8", 1007, [{ opcode: text, payload: Buffer.from([0x34, 0xff]) }]],
    ["cut_utf8", 1007, [{ opcode: text, payload: Buffer.from([0x34, 0xe2, 0x82]) }]],
    ["surrogate_utf8", 1007, [{ opcode: text, payload: Buffer.from([0x34, 0xed, 0xa0, 0x80]) }]],
    ["overlong_utf8", 1007, [{ opcode: text, payload: Buffer.from([0x34, 0xc0, 0xaf]) }]],
    ["invalid_utf8_over_fragments", 1007, [{ opcode: text, payload: Buffer.from([0x34, 0xe2]), fin: false }, { opcode: OPCODE.continuation, payload: "a" }]],
    ["one_byte_over_the_limit", 1009, [{ opcode: text, payload: "4".repeat(MAX_PAYLOAD + 1) }]],
    ["binary_over_the_limit", 1009, [{ opcode: OPCODE.binary, payload: Buffer.alloc(MAX_PAYLOAD + 1) }]],
    ["announced_over_the_limit", 1009, [{ opcode: text, payload: "4", length: 4_000_000_000, lengthBytes: 8 }]],
    ["announced_2_to_the_53", 1009, [{ opcode: text, payload: "4", length: 2n ** 53n, lengthBytes: 8 }]],
    ["fragments_over_the_limit", 1009, [{ opcode: text, payload: "4".repeat(600_000), fin: false }, { opcode: OPCODE.continuation, payload: "4".repeat(400_001), fin: false }]],
  ];

  for (const [name, code, frames] of cases) {
    test(`${name}_closes_with_${code}`, async () => {
      const client = await open();
      client.sendFrames(...frames);
      await assertClosedWith(client, code);
    });
  }

  // RFC 6455 wants the highest bit 0; which code answers it is open (the reference says 1009).
  test("length_with_the_highest_bit_closes", async () => {
    const client = await open();
    client.sendFrames({ opcode: text, payload: "4", length: 2n ** 63n + 5n, lengthBytes: 8 });
    await client.ended();
    assert.deepEqual(client.frames.unread.map((frame) => frame.opcode), [OPCODE.close]);
  });

  test("messages_before_a_violation_are_delivered", async () => {
    const client = await open();
    client.sendFrames({ opcode: text, payload: "4before" });
    await assertNext(client, text, "4before");
    client.sendFrames({ opcode: text, payload: "4bad", rsv: 7 });
    await assertClosedWith(client, 1002);
  });

  test("violations_hurt_nobody_else", async () => {
    const other = await RawWebSocket.open(url, { answerPings: true });
    await other.inbox.next();
    const bad = await Promise.all(cases.map(() => open()));
    bad.forEach((client, index) => client.sendFrames(...cases[index][2]));
    other.send("4alive");
    assert.equal(await other.inbox.next(), "4alive");
    await Promise.all(bad.map((client) => client.ended()));
    other.send("4still");
    assert.equal(await other.inbox.next(), "4still");
    await other.close();
  });

  test("garbage_instead_of_http_is_refused_and_hurts_nobody", async () => {
    const client = await TcpClient.connect(url);
    client.write(Buffer.from([0, 255, 1, 254, 13, 10, 13, 10]));
    await client.ended();
    await assertLives(await open());
  });
});
