// What only the machine below Kubernetes can do: the nodes without Docker (tests/cluster), or kind's containers.
import { execFile } from "node:child_process";
import { promisify } from "node:util";

const run = promisify(execFile);
const DEADLINE = { timeout: 60_000 };
const CLUSTER = new URL("../../cluster/cluster.sh", import.meta.url).pathname;
const isKind = process.env.E2E_PLATFORM === "kind";

/** A command on a node. @param {string} node @param {string[]} command */
const on = (node, command) => (isKind ? run("docker", ["exec", node, ...command], DEADLINE) : run(CLUSTER, ["in", node.replace(/^n/, ""), ...command], DEADLINE));

/** Ends the processes of a pod's container at once, as the kernel does when memory is short. @param {any} pod @param {string} [container] */
export async function killContainer(pod, container) {
  const { containerID } = pod.status.containerStatuses.find(({ name }) => !container || name === container);
  await on(pod.spec.nodeName, ["ctr", "-n", "k8s.io", "task", "kill", "--signal", "SIGKILL", containerID.replace("containerd://", "")]);
}

/** Whether nodes can lose their power and their cables here. */
export const HAS_FAULTS = !isKind;
const fault = (verb) => (node) => run(CLUSTER, [verb, node.replace(/^n/, "")], DEADLINE);
export const powerOff = fault("kill");
export const powerOn = fault("start");
export const cut = fault("cut");
export const heal = fault("heal");
