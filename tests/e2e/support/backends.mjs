// Backends of a ChatCluster: whoever has its token asks the pods behind its Service for them.
import { TOKEN } from "../../compat/support/api.mjs";
import { Endpoints } from "./endpoints.mjs";
import { apply } from "./kubectl.mjs";

/** What `spec.api` says, and the Secret that it names. */
export const API = { tokensSecretRef: { name: "backends", key: "tokens" } };
export const tokens = (namespace) =>
  apply([{ apiVersion: "v1", kind: "Secret", metadata: { name: API.tokensSecretRef.name, namespace }, stringData: { [API.tokensSecretRef.key]: `${TOKEN}\n` } }]);

export class Backends {
  #endpoints;
  /** @type {Set<(origins: string[]) => void>} */
  #followers = new Set();

  /** @param {import("./chat-cluster.mjs").ChatCluster} cluster */
  constructor({ namespace, name }) {
    this.#endpoints = new Endpoints(namespace, `${name}-api`, () => {
      for (const tell of this.#followers) tell(this.origins);
    });
  }

  /** Where pods take requests now. */
  get origins() {
    return this.#endpoints.ready.map(({ address }) => `http://${address}`);
  }

  /** Tells of each change until the returned function is called. @param {(origins: string[]) => void} tell */
  follow(tell) {
    this.#followers.add(tell);
    return () => void this.#followers.delete(tell);
  }

  close() {
    this.#endpoints.close();
  }
}
