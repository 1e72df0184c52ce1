// What the lists of a load's clients say (load.mjs).
import assert from "node:assert/strict";
import { KINDS } from "./kinds.mjs";

/**
 * What one load has seen of its own clients, which may be a part of all.
 * @typedef {import("./load.mjs").Load["record"]} Part
 */

/** What the lists of all parts say. @param {Part[]} parts */
export function verdict(parts) {
  const members = parts.flatMap((part) => part.members);
  const acknowledged = new Map(parts.flatMap((part) => [...part.acknowledged]));
  const positions = new Map();
  for (const { list } of members) for (const entry of list) positions.set(entry.position, entry);
  const log = [...positions.values()].sort((a, b) => a.position - b.position);
  const stored = new Map();
  for (const { content, position } of log) stored.set(content, [...(stored.get(content) ?? []), position]);
  const wrong = members.map((member) => judge(member, log, acknowledged)).filter(({ faults }) => faults.length > 0);
  const returns = members.flatMap((member) => member.returns);
  return {
    messages: log.length,
    kinds: Object.fromEntries(parts[0].kinds.map((kind) => [kind, log.filter((entry) => entry.kind === kind).length])),
    acknowledged: acknowledged.size,
    storedTwice: [...stored].filter(([, all]) => all.length > 1),
    misplaced: [...acknowledged].filter(([content, position]) => stored.get(content)?.[0] !== position),
    wrong,
    lost: sum(wrong, ({ lost }) => lost),
    doubled: sum(wrong, ({ doubled }) => doubled),
    returns: returns.length,
    recovered: returns.filter(({ recovered }) => recovered).length,
    unrecovered: members.flatMap(({ index, mode, returns }) =>
      returns.filter(({ recovered }) => !recovered).map((end) => `client ${index} by ${mode}: ${end.reason}, away ${end.away} ms`)),
    surprises: [...parts, ...members].flatMap(({ surprises }) => surprises),
    longestAway: Math.max(0, ...returns.map(({ away }) => away)),
    latencies: parts.flatMap(({ latencies }) => latencies).sort((a, b) => a - b),
  };
}

/** What is wrong with one client's list, which must be the log's entries of its places, in the log's order. */
function judge(member, log, acknowledged) {
  const own = log.filter(({ kind }) => KINDS[kind]?.(member) ?? true);
  const counts = new Map();
  for (const { content } of member.list) counts.set(content, (counts.get(content) ?? 0) + 1);
  const lost = own.filter(({ content }) => acknowledged.has(content) && !counts.has(content)).map(({ content }) => content);
  const doubled = [...counts].filter(([, count]) => count > 1).map(([content]) => content);
  const inverted = member.list.filter(({ position }, i) => i > 0 && position <= member.list[i - 1].position).length;
  const differs = member.list.findIndex(({ position, content }, i) => own[i]?.position !== position || own[i]?.content !== content);
  const faults = [];
  if (lost.length > 0) faults.push(`${lost.length} lost: ${lost.slice(0, 10)}`);
  if (doubled.length > 0) faults.push(`${doubled.length} doubled: ${doubled.slice(0, 10)}`);
  if (inverted > 0) faults.push(`${inverted} inverted`);
  if (differs >= 0 || member.list.length !== own.length) {
    faults.push(`differs from the log from entry ${differs >= 0 ? differs : member.list.length} on, ${member.list.length} of ${own.length} entries`);
  }
  return { client: member.index, mode: member.mode, faults, lost: lost.length, doubled: doubled.length, returns: member.returns };
}

/** @template T @param {T[]} list @param {(item: T) => number} of */
const sum = (list, of) => list.reduce((total, item) => total + of(item), 0);

/** Nothing acknowledged is lost, nothing doubled, one order for all, and everybody who came back was recovered. @param {ReturnType<typeof verdict>} seen */
export function assertWell({ kinds, storedTwice, misplaced, wrong, surprises, unrecovered }) {
  assert.deepEqual(Object.keys(kinds).filter((kind) => kinds[kind] === 0), [], "kinds of which nothing was shown");
  assert.deepEqual(wrong.map(({ client, faults }) => `client ${client}: ${faults.join("; ")}`).slice(0, 5), [], "clients that lost, doubled or reordered");
  assert.deepEqual(storedTwice.slice(0, 5), [], "messages at two positions");
  assert.deepEqual(misplaced.slice(0, 5), [], "messages acknowledged with another position than they were shown with");
  assert.deepEqual(surprises.slice(0, 5), []);
  assert.deepEqual(unrecovered.slice(0, 5), [], "each client that came back was recovered");
}
