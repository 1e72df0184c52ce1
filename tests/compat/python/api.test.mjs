// schemathesis tries every operation of the HTTP API by its own description: what is described is taken and answered as described,
// what is not is refused, and nothing is a server error.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { it } from "node:test";
import { promisify } from "node:util";
import { startChatWithApi, TOKEN } from "../support/api.mjs";
import { python } from "../support/python.mjs";

const run = promisify(execFile);

it("the HTTP API does as its description says", { timeout: 100_000 }, async () => {
  const { chat, backend } = await startChatWithApi({});
  const cwd = mkdtempSync(join(tmpdir(), "chatcluster-schemathesis-"));
  const program = join(dirname(python()), "schemathesis");
  const options = ["--seed", "1", "--max-examples", "50", "--phases", "coverage,fuzzing", "--checks", "all"];
  try {
    const { stdout } = await run(program, ["run", `${backend.origin}/api/v1/openapi.json`, "-H", `Authorization: Bearer ${TOKEN}`, ...options], { cwd, timeout: 60_000 }).catch(
      (error) => assert.fail(`${error.stdout}\n${error.stderr}`),
    );
    assert.match(stdout, /Tested: 11\n/);
  } finally {
    rmSync(cwd, { recursive: true });
    await chat.stop();
  }
});
