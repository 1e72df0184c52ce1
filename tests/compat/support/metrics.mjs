// What servers say about themselves on the admin listener.
import { SOON } from "./wait.mjs";

/** The metrics of one server: value by name, with its labels as they are written. @param {{adminUrl: string}} chat @returns {Promise<Map<string, number>>} */
export async function metricsOf({ adminUrl }) {
  const text = await (await fetch(`${adminUrl}/metrics`, { signal: AbortSignal.timeout(SOON) })).text();
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(" ")), Number(line.slice(line.lastIndexOf(" ") + 1))]));
}

/** The sum of one metric over servers. @param {{adminUrl: string}[]} chats @param {string} name without `chatcluster_` */
export async function sumOf(chats, name) {
  const all = await Promise.all(chats.map(metricsOf));
  return all.reduce((sum, metrics) => {
    const value = metrics.get(`chatcluster_${name}`);
    if (value === undefined) throw new Error(`no metric is named chatcluster_${name}`);
    return sum + value;
  }, 0);
}

/** Clients that servers did not recover, by cause, without those of no client. @param {{adminUrl: string}[]} chats @returns {Promise<Record<string, number>>} */
export async function notRecovered(chats) {
  /** @type {Record<string, number>} */
  const causes = {};
  for (const metrics of await Promise.all(chats.map(metricsOf))) {
    for (const [name, value] of metrics) {
      const cause = /^chatcluster_not_recovered_total\{cause="(.+)"\}$/.exec(name)?.[1];
      if (cause && value > 0) causes[cause] = (causes[cause] ?? 0) + value;
    }
  }
  return causes;
}
