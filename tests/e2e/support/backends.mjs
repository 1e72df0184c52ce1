// Backends of a ChatCluster: whoever has its token asks the pods behind its Service for them.
import { Backend, TOKEN } from "../../compat/support/api.mjs";
import { Endpoints } from "./endpoints.mjs";
import { apply } from "./kubectl.mjs";

/** What `spec.api` says, and the Secret that it names. */
export const API = { tokensSecretRef: { name: "backends", key: "tokens" } };
export const tokens = (namespace) =>
  apply([{ apiVersion: "v1", kind: "Secret", metadata: { name: API.tokensSecretRef.name, namespace }, stringData: { [API.tokensSecretRef.key]: `${TOKEN}\n` } }]);

export class Backends {
  #endpoints;

  /** @param {import("./chat-cluster.mjs").ChatCluster} cluster */
  constructor({ namespace, name }) {
    this.#endpoints = new Endpoints(namespace, `${name}-api`);
  }

  /** One for each pod that takes requests now. */
  get all() {
    return this.#endpoints.ready.map(({ address }) => new Backend(`http://${address}`));
  }

  close() {
    this.#endpoints.close();
  }
}
