// python-socketio, a client without connection state recovery, from a virtual environment of its own (tests/compat/.venv).
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { copyFileSync, existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { UNLIMITED } from "../chat/people.mjs";
import { startChat } from "../support/servers.mjs";

const run = promisify(execFile);
const FOLDER = fileURLToPath(new URL(".", import.meta.url));
const REQUIREMENTS = join(FOLDER, "requirements.txt");
const VENV = join(FOLDER, "../.venv");
const INSTALLED = join(VENV, "requirements.txt");
const PYTHON = join(VENV, "bin/python");

/** Makes the environment, unless it already holds exactly these requirements. */
async function environment() {
  if (existsSync(INSTALLED) && readFileSync(INSTALLED, "utf8") === readFileSync(REQUIREMENTS, "utf8")) return;
  rmSync(VENV, { recursive: true, force: true });
  await run("python3", ["-m", "venv", VENV]);
  await run(PYTHON, ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "-r", REQUIREMENTS]);
  copyFileSync(REQUIREMENTS, INSTALLED);
}

describe("python-socketio with recovery=0", () => {
  let chat;
  before(async () => {
    await environment();
    chat = await startChat({ nodes: 2, config: { limits: UNLIMITED } });
  }, { timeout: 180_000 });
  after(() => chat?.stop());

  for (const transport of ["polling", "websocket", "upgrade"]) {
    it(`chats, is acknowledged and sees no extra argument, by ${transport}`, { timeout: 60_000 }, async () => {
      const { stderr } = await run(PYTHON, [join(FOLDER, "client.py"), chat.urls[1], transport]).catch((error) => error);
      assert.equal(stderr, "");
    });
  }
});
