// The figures of the cases, one row each: shown by the test, and kept in the file NATS_TABLE for `make faults`.
import { appendFileSync } from "node:fs";

/** What a row says, in the order of the columns. */
export const COLUMNS = ["clients", "messages", "acknowledged", "reconnects", "recovered", "lost", "doubled", "slowest ack ms", "longest away ms"];

/**
 * Adds the row of a case.
 * @param {import("node:test").TestContext} t
 * @param {Partial<Record<string, number>>} figures by column; one that is left out does not apply
 */
export function row(t, figures) {
  const wrong = Object.keys(figures).filter((name) => !COLUMNS.includes(name));
  if (wrong.length > 0) throw new Error(`no column is named ${wrong}`);
  const shown = COLUMNS.filter((name) => figures[name] !== undefined);
  t.diagnostic(shown.map((name) => `${name}: ${figures[name]}`).join(", "));
  if (process.env.NATS_TABLE) appendFileSync(process.env.NATS_TABLE, `${JSON.stringify({ case: t.name, ...figures })}\n`);
}
