// Pods that a Service sends to, as those see them who balance between them: ingress controllers and kube-proxy.
import { watch } from "./kubectl.mjs";

export class Endpoints {
  #slices = new Map();
  #stop;

  /** @param {string} namespace @param {string} service @param {() => void} [changed] */
  constructor(namespace, service, changed = () => {}) {
    const of = (keep) => (slice) => {
      keep(slice);
      changed();
    };
    this.#stop = watch(
      ["-n", namespace, "endpointslices", "-l", `kubernetes.io/service-name=${service}`],
      of((slice) => this.#slices.set(slice.metadata.name, slice)),
      of((slice) => this.#slices.delete(slice.metadata.name)),
    );
  }

  /** Whether the API server has said anything yet. */
  get isKnown() {
    return this.#slices.size > 0;
  }

  /** @returns {{name: string, address: string}[]} those that are ready, by name */
  get ready() {
    // a Service whose port no pod has yet has a slice without ports
    return [...this.#slices.values()]
      .filter(({ ports }) => ports?.length)
      .flatMap(({ endpoints, ports }) =>
        (endpoints ?? [])
          .filter(({ conditions }) => conditions.ready)
          .map(({ addresses, targetRef }) => ({ name: targetRef.name, address: `${addresses[0]}:${ports[0].port}` })))
      .sort((a, b) => a.name.localeCompare(b.name));
  }

  close() {
    this.#stop();
  }
}
