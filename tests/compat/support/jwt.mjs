// Signed tokens for the tests of `auth: Jwt`.

import { createHmac, sign } from "node:crypto";

const encode = (/** @type {object} */ part) => Buffer.from(JSON.stringify(part)).toString("base64url");

/**
 * @param {object} claims
 * @param {string | Buffer} key
 * @param {object} [header] what stands in it besides the algorithm
 * @returns {string} a token signed with a secret
 */
export function signHs256(claims, key, header = {}) {
  const unsigned = `${encode({ alg: "HS256", typ: "JWT", ...header })}.${encode(claims)}`;
  return `${unsigned}.${createHmac("sha256", key).update(unsigned).digest("base64url")}`;
}

/**
 * @param {object} claims
 * @param {import("node:crypto").KeyObject} key a private one
 * @param {{alg: string}} header
 * @returns {string} a token signed with it
 */
export function signed(claims, key, header) {
  const unsigned = `${encode({ typ: "JWT", ...header })}.${encode(claims)}`;
  const hash = `sha${header.alg.slice(2)}`;
  return `${unsigned}.${sign(hash, Buffer.from(unsigned), { key, dsaEncoding: "ieee-p1363" }).toString("base64url")}`;
}
