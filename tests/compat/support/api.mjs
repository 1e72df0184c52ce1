// A chat with the HTTP API, and a backend that uses it.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startChat } from "./servers.mjs";
import { until } from "./wait.mjs";

export const TOKEN = "a-token-that-nobody-else-has-0123456789";

/**
 * Starts a chat with the API on a port that the system chooses.
 * @param {{nodes?: number, config?: object, dataDir?: string}} options
 */
export async function startChatWithApi({ config, ...options }) {
  const folder = mkdtempSync(join(tmpdir(), "chatcluster-tokens-"));
  const chat = await startChat({ ...options, config: { ...config, ...apiConfig(folder) } });
  rmSync(folder, { recursive: true });
  return { chat, backend: new Backend(await until(() => originOf(chat))) };
}

/** What switches the API on, on a port that the system chooses; the token is kept in a folder. @param {string} folder */
export function apiConfig(folder) {
  const tokenFile = join(folder, "tokens");
  writeFileSync(tokenFile, `another-token-of-more-than-32-characters\n${TOKEN}\n`);
  return { api: { tokenFile, listen: "127.0.0.1:0" } };
}

/** @type {WeakMap<object, string>} */
const origins = new WeakMap();

/** Where a server's API is, once it has said so. @param {{output: string}} chat */
export function originOf(chat) {
  const origin = origins.get(chat) ?? /the API for backends on (http:\/\/[0-9.:]+)/.exec(chat.output)?.[1];
  if (origin) origins.set(chat, origin);
  return origin;
}

/** Somebody with a token. */
export class Backend {
  /** @param {string} origin */
  constructor(origin) {
    this.origin = origin;
    this.base = `${origin}/api/v1/namespaces/%2F`;
  }

  /** @returns {Promise<{status: number, body: any}>} */
  async ask(method, path, { body, headers = {}, timeout = 15_000 } = {}) {
    const answer = await fetch(`${this.base}${path}`, {
      method,
      headers: { authorization: `Bearer ${TOKEN}`, ...(body ? { "content-type": "application/json" } : {}), ...headers },
      body: body && JSON.stringify(body),
      signal: AbortSignal.timeout(timeout),
    });
    return { status: answer.status, body: await answer.json() };
  }

  /** Says something in `place`, such as `lobby` or `rooms/tea`. */
  say(place, content, key, author) {
    return this.ask("POST", `/${place}/messages`, { body: { content, author }, headers: { "idempotency-key": key } });
  }

  emit(place, event, args, more = {}) {
    return this.ask("POST", `/${place}/emit`, { body: { event, args, ...more } });
  }
}
