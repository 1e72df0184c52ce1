// The Python with the packages of examples/python-client, in a virtual environment that the Makefile makes.
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const VENV = fileURLToPath(new URL("../.venv/", import.meta.url));

/** The interpreter's path. */
export function python() {
  // the Makefile writes this file last
  if (!existsSync(`${VENV}requirements.txt`)) throw new Error(`${VENV} is not there; run: make test, or only: make tests/compat/.venv/requirements.txt`);
  return `${VENV}bin/python`;
}
