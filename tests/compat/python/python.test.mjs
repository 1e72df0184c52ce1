// python-socketio, a client without connection state recovery, from the virtual environment of these tests.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { after, before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { UNLIMITED } from "../chat/people.mjs";
import { python } from "../support/python.mjs";
import { startChat } from "../support/servers.mjs";

const run = promisify(execFile);
const CLIENT = fileURLToPath(new URL("client.py", import.meta.url));

describe("python-socketio with recovery=0", () => {
  let chat;
  before(async () => void (chat = await startChat({ nodes: 2, config: { limits: UNLIMITED } })));
  after(() => chat?.stop());

  for (const transport of ["polling", "websocket", "upgrade"]) {
    it(`chats, is acknowledged and sees no extra argument, by ${transport}`, { timeout: 60_000 }, async () => {
      const { stderr } = await run(python(), [CLIENT, chat.urls[1], transport]).catch((error) => error);
      assert.equal(stderr, "");
    });
  }
});
