// CORS with a list of origins and credentials, as a browser asks for it, against the chat server.
// (The fixtures allow any origin: engineio-v4.test.mjs.)

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { PollingSession, request } from "../support/raw.mjs";
import { startChat } from "../support/servers.mjs";

const ALLOWED = "https://chat.example";
const ALSO_ALLOWED = "http://localhost:5173";

/** The CORS headers of an answer. */
const cors = ({ headers }) => ({
  origin: headers["access-control-allow-origin"],
  credentials: headers["access-control-allow-credentials"],
});

describe("a list of origins with credentials", () => {
  /** @type {import("../support/servers.mjs").Chat} */
  let server;
  let handshake = "";
  before(async () => {
    server = await startChat({ config: { cors: { origins: [ALLOWED, ALSO_ALLOWED], credentials: true }, drain: { deadline: "5s" } } });
    handshake = `${server.url}/socket.io/?EIO=4&transport=polling`;
  });
  after(() => server?.stop());

  for (const origin of [ALLOWED, ALSO_ALLOWED]) {
    test(`listed_origin_is_named_in_every_answer: ${origin}`, async () => {
      const expected = { origin, credentials: "true" };
      const headers = { origin };
      const answer = await request(handshake, { headers });
      assert.deepEqual(cors(answer), expected);
      assert.match(String(answer.headers.vary), /origin/i, "a cache must keep the answers of two origins apart");
      const session = await PollingSession.open(`${server.url}/socket.io/`, "", headers);
      assert.deepEqual(cors(await request(session.url, { method: "POST", body: "40", headers })), expected);
      assert.deepEqual(cors(await session.poll({ headers })), expected);
      assert.deepEqual(cors(await request(`${handshake}&sid=unknown`, { headers })), expected, "a refusal too, so that a page can read it");
    });
  }

  test("preflight_of_a_listed_origin_is_204_and_names_it", async () => {
    const answer = await request(handshake, {
      method: "OPTIONS",
      headers: { origin: ALLOWED, "access-control-request-method": "POST", "access-control-request-headers": "content-type" },
    });
    assert.equal(answer.status, 204);
    assert.deepEqual(cors(answer), { origin: ALLOWED, credentials: "true" });
    assert.match(String(answer.headers["access-control-allow-methods"]), /POST/);
    assert.match(String(answer.headers["access-control-allow-headers"]), /content-type/i);
  });

  for (const origin of ["https://evil.example", "https://chat.example.evil.example", "http://chat.example", "https://chat.example:8443", "null"]) {
    test(`other_origin_is_not_allowed: ${origin}`, async () => {
      assert.equal(cors(await request(handshake, { headers: { origin } })).origin, undefined);
      const preflight = await request(handshake, { method: "OPTIONS", headers: { origin, "access-control-request-method": "POST" } });
      assert.equal(cors(preflight).origin, undefined);
    });
  }
});

describe("without CORS", () => {
  test("no_origin_is_allowed", async (t) => {
    const server = await startChat({ config: { drain: { deadline: "5s" } } });
    t.after(() => server.stop());
    const answer = await request(`${server.url}/socket.io/?EIO=4&transport=polling`, { headers: { origin: ALLOWED } });
    assert.equal(answer.status, 200);
    assert.deepEqual(cors(answer), { origin: undefined, credentials: undefined });
  });
});
