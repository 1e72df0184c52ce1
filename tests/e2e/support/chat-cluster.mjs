// One ChatCluster in a namespace of its own: what a test does to it as its user, and what it sees of it.
import { pause, until } from "../../compat/support/wait.mjs";
import { apply, get, kubectl, list, watch } from "./kubectl.mjs";

/** The image that run.mjs loads under two tags: what a rollout goes to is the same program. */
export const IMAGE = { repository: "registry.local/chatcluster-server", tag: "1" };
export const NEXT_IMAGE = { ...IMAGE, tag: "2" };
/** Where nats.yaml puts it. */
export const NATS_URL = "nats://nats.messaging.svc:4222";
/** From apply to Ready: images are on the nodes. */
const STARTED = 60_000;
/** Nobody deletes a log: a cluster that is kept up has those of earlier runs. */
const RUN = `e2e.${Date.now().toString(36)}`;

/** A condition of an object's status, by its type. @returns {{type: string, status: string, reason: string, message: string} | undefined} */
export const condition = (object, type) => object?.status?.conditions?.find((one) => one.type === type);

export class ChatCluster {
  /** Every status that was seen, in order. @type {any[]} */
  seen = [];
  #unwatch;

  /** @param {string} name of it, and of its namespace behind `e2e-` */
  constructor(name) {
    this.name = name;
    this.namespace = `e2e-${name}`;
  }

  /** Makes the namespace, which admits restricted pods only, and watches the status from here on. */
  async open() {
    const labels = { "pod-security.kubernetes.io/enforce": "restricted", "chatcluster.dev/test": "e2e" };
    await apply([{ apiVersion: "v1", kind: "Namespace", metadata: { name: this.namespace, labels } }]);
    this.#unwatch = watch(["-n", this.namespace, "chatclusters", "--field-selector", `metadata.name=${this.name}`], (object) => this.seen.push(object));
    return this;
  }

  /** Applies it, whole. @param {object} spec beside the image and NATS, which may be overwritten */
  async apply(spec) {
    const nats = { mode: "External", urls: [NATS_URL], subjectPrefix: `${RUN}.${this.name}` };
    this.spec = { image: IMAGE, nats, ...spec };
    await apply([{ apiVersion: "chatcluster.dev/v1alpha1", kind: "ChatCluster", metadata: { name: this.name, namespace: this.namespace }, spec: this.spec }]);
    return this;
  }

  /** Applies it with some fields exchanged. @param {object} fields of the spec */
  change(fields) {
    return this.apply({ ...this.spec, ...fields });
  }

  read() {
    return get(this.namespace, "chatcluster", this.name);
  }

  /** Waits for a condition of the newest spec. @param {string} type @param {string} [status] @param {string} [reason] */
  async is(type, status = "True", reason, deadline = STARTED) {
    let last;
    return await until(
      async () => {
        last = await this.read();
        const found = condition(last, type);
        const isNew = found?.observedGeneration === last.metadata.generation;
        return isNew && found.status === status && (reason === undefined || found.reason === reason) ? last : pause(200);
      },
      deadline,
      () => `${type} is ${status} ${reason ?? ""}; ${JSON.stringify(last?.status?.conditions?.map((one) => `${one.type}=${one.status} ${one.reason}: ${one.message}`), null, 1)}`,
    );
  }

  pods() {
    return list(this.namespace, "pods", `app.kubernetes.io/instance=${this.name}`);
  }

  /** Deletes its namespace and waits until nothing is left. */
  async close(deadline = 90_000) {
    this.#unwatch?.();
    await kubectl(["delete", "namespace", this.namespace, "--ignore-not-found", `--timeout=${deadline / 1000}s`], { deadline: deadline + 5_000 });
  }
}

/** What must hold in every status whatever happens: who reads it acts on it. @param {ChatCluster} cluster @returns {string[]} what does not */
export function untruths({ seen }) {
  if (!seen.some(({ status }) => status)) return ["no status was seen"];
  const found = [];
  for (const { metadata, spec, status } of seen) {
    if (!status) continue;
    const at = `generation ${metadata.generation}, version ${metadata.resourceVersion}`;
    const ready = condition({ status }, "Ready");
    const isCurrent = status.observedGeneration === metadata.generation;
    const wanted = spec.state === "Suspended" ? 0 : spec.replicas;
    const { replicas = 0, readyReplicas = 0, updatedReplicas = 0 } = status;
    if (isCurrent && ready?.status === "True" && (replicas !== wanted || readyReplicas !== wanted || updatedReplicas !== wanted)) {
      found.push(`${at}: Ready, with ${readyReplicas} ready and ${updatedReplicas} new ones of ${replicas} pods, ${wanted} are wanted`);
    }
    for (const { type, observedGeneration } of status.conditions ?? []) {
      if (observedGeneration > metadata.generation) found.push(`${at}: ${type} is of generation ${observedGeneration}`);
    }
  }
  return found;
}
