// A chat behind an ingress, ready for clients and backends.
import { DataPlane, HOST } from "../ingress/data-plane.mjs";
import { API, Backends, tokens } from "./backends.mjs";
import { ChatCluster } from "./chat-cluster.mjs";

/** Clients of a pod that leave it within a second. */
export const PACE = 100;

/**
 * @param {<T>(thing: T & {close: () => unknown}) => T} open closes it with the case
 * @param {string} name
 * @param {object} [spec] beside the ingress and the API
 * @param {{controller?: "HAProxyTech" | "Nginx", before?: (namespace: string) => Promise<unknown>}} [options] `before` makes what it names
 */
export async function serve(open, name, spec = {}, { controller = "HAProxyTech", before } = {}) {
  const cluster = open(await new ChatCluster(name).open());
  await tokens(cluster.namespace);
  await before?.(cluster.namespace);
  await cluster.apply({ replicas: 3, api: API, drain: { clientsPerSecond: PACE }, ingress: { controller, host: HOST }, ...spec });
  await cluster.is("Ready");
  const plane = open(await DataPlane.start(cluster, controller));
  await cluster.is("IngressReady");
  return { cluster, plane, backends: open(new Backends(cluster)) };
}
