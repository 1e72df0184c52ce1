// HS256 tokens for the tests of `auth: Jwt`.

import { createHmac } from "node:crypto";

const encode = (/** @type {object} */ part) => Buffer.from(JSON.stringify(part)).toString("base64url");

/**
 * @param {object} claims
 * @param {string | Buffer} key
 * @returns {string} a signed token
 */
export function signHs256(claims, key) {
  const unsigned = `${encode({ alg: "HS256", typ: "JWT" })}.${encode(claims)}`;
  return `${unsigned}.${createHmac("sha256", key).update(unsigned).digest("base64url")}`;
}
