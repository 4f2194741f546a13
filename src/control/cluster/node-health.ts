// Marks Nodes down that are silent, and gives up what ran there. Silence counts only while this control listens, on the monotonic clock:
// neither an outage nor a stall of control (stopped, suspended, starved) nor a jump of the wall clock moves an Instance. Where most Nodes
// fall silent together it is more likely the network, or this control, than all of them: then nothing is moved until a person or time says.

import { FINAL_INSTANCE_PHASES } from '../../model/documents.ts';
import type { InstanceSpec, InstanceStatus, NodeSpec, NodeStatus } from '../../model/documents.ts';
import { put, remove } from '../../store/records.ts';
import type { Operation } from '../../store/collection.ts';
import type { ControlContext, Reconciler } from '../context.ts';
import { deploymentRecords, instanceSpecRecords } from '../deploys/records.ts';
import type { Heartbeats } from './agent-report.ts';
import { instanceStatusRecords, nodeSpecRecords, nodeStatusRecords } from './records.ts';

const EVERY_MS = 2000;
const PER_COMMIT = 40;
const SWEEP_MS = 60_000;
/** A pass that is so late shows that this process did not run, and so heard nobody. */
const STALL_MS = 4 * EVERY_MS;
/** Silent for so long, though not yet down: two heartbeats are missing. */
const SUSPECT_MS = 12_000;
/** Nodes whose Instances were given up within this time count for one and the same loss. */
const SAME_LOSS_MS = 600_000;

/** Whether so many fell silent together: two or more, and more than those that are still heard. */
export function isMassLoss(silent: number, heard: number): boolean {
  return silent >= 2 && silent > heard;
}

export interface NodeHealth extends Reconciler {
  /** Why nothing is moved off silent Nodes at the moment; null: it is. */
  held(): string | null;
}

export function createNodeHealth(context: ControlContext, deps: { readonly heartbeats: Heartbeats }): NodeHealth {
  const { view, clock } = context;
  /** Since when it has been listening without a break. */
  let listeningSinceMs = clock.monotonic();
  let lastPassMs = listeningSinceMs;
  let sweptMs = listeningSinceMs;
  /** When Instances of the Node were given up. */
  const gaveUp = new Map<string, number>();
  let held: string | null = null;

  const silenceMs = (nodeId: string): number =>
    clock.monotonic() - Math.max(listeningSinceMs, deps.heartbeats.lastHeardMs(nodeId) ?? listeningSinceMs);

  const givenUp = (node: NodeSpec, silentMs: number): InstanceStatus[] =>
    view.by(instanceSpecRecords, 'node', node.id).flatMap(({ document: spec }) => {
      const current = view.get(instanceStatusRecords, spec.id)?.document;
      if (current !== undefined && FINAL_INSTANCE_PHASES.has(current.phase)) return [];
      if (silentMs <= replaceAfterMs(spec)) return [];
      return [
        lostStatus(
          spec,
          { message: `Node ${node.name} does not answer.`, hint: '`libra nodes` shows when it was last seen.' },
          current,
          clock.now(),
        ),
      ];
    });

  /** A singleton is given up only when its cut-off agent has surely stopped it. */
  const replaceAfterMs = (spec: InstanceSpec): number => {
    const entrypoint =
      spec.deploymentId === null ? undefined : view.get(deploymentRecords, spec.deploymentId)?.document.entrypoints[spec.entrypoint];
    return entrypoint?.singleton === true
      ? Math.max(context.settings.nodeGraceMs, entrypoint.disconnect.replaceAfterMs)
      : context.settings.nodeGraceMs;
  };

  const isAtStake = (nodeId: string): boolean =>
    clock.monotonic() - (gaveUp.get(nodeId) ?? Number.NEGATIVE_INFINITY) < SAME_LOSS_MS ||
    view.by(instanceSpecRecords, 'node', nodeId).some(({ document: { id } }) => {
      const phase = view.get(instanceStatusRecords, id)?.document.phase;
      return phase === undefined || !FINAL_INSTANCE_PHASES.has(phase);
    });

  /** A Node that lost what it had long ago says nothing about now. */
  const hold = (nodes: readonly NodeSpec[]): void => {
    for (const id of gaveUp.keys()) if (view.get(nodeSpecRecords, id) === undefined) gaveUp.delete(id);
    const known = nodes.filter(({ id }) => view.get(nodeStatusRecords, id) !== undefined);
    const isSilent = ({ id }: NodeSpec): boolean => silenceMs(id) > Math.min(SUSPECT_MS, context.settings.nodeGraceMs);
    const heard = known.filter((node) => !isSilent(node)).length;
    const silent = known.filter((node) => isSilent(node) && isAtStake(node.id));
    const now = isMassLoss(silent.length, heard)
      ? `${silent.length} Nodes are silent at once and ${heard} ${heard === 1 ? 'is' : 'are'} heard: nothing is moved.`
      : null;
    if (now !== null && held === null) {
      const names = silent.map(({ name }) => name).sort();
      const some = `${names.slice(0, 10).join(', ')}${names.length > 10 ? ` and ${names.length - 10} more` : ''}`;
      context.event({ level: 'error', kind: 'node.mass-loss', message: `${now} Silent: ${some}.`, subject: {}, runbook: 'mass-loss' });
    } else if (now === null && held !== null) {
      context.event({
        level: 'info',
        kind: 'node.mass-loss-over',
        message: 'Most Nodes are heard again; what is lost is replaced.',
        subject: {},
      });
    }
    held = now;
  };

  const commit = async (operations: readonly Operation[]): Promise<void> => {
    for (let from = 0; from < operations.length; from += PER_COMMIT) await view.commit(...operations.slice(from, from + PER_COMMIT));
  };

  /** Statuses that were reported while their Instance was being removed. */
  const sweep = async (): Promise<void> => {
    if (clock.monotonic() - sweptMs < SWEEP_MS) return;
    sweptMs = clock.monotonic();
    const orphans = view.list(instanceStatusRecords).filter((stored) => view.get(instanceSpecRecords, stored.document.id) === undefined);
    await commit(orphans.map((stored) => remove(instanceStatusRecords, stored)));
  };

  return {
    held: () => held,
    name: 'node-health',
    everyMs: EVERY_MS,
    wakeOn: [],
    run: async () => {
      const nowMs = clock.monotonic();
      if (nowMs - lastPassMs > STALL_MS) listeningSinceMs = nowMs;
      lastPassMs = nowMs;
      const nodes = view.list(nodeSpecRecords).map(({ document }) => document);
      hold(nodes);
      for (const node of nodes) {
        const status = view.get(nodeStatusRecords, node.id)?.document;
        const silentMs = silenceMs(node.id);
        if (status === undefined || silentMs <= context.settings.nodeGraceMs) continue;
        if (status.state === 'up') {
          const down: NodeStatus = { ...status, state: 'down' };
          await view.commit(put(nodeStatusRecords, down));
          context.event({
            level: 'error',
            kind: 'node.down',
            message: `Node ${node.name} has been silent for ${Math.round(silentMs / 1000)} s${held === null ? '; what ran there is replaced elsewhere' : ''}.`,
            subject: { nodeId: node.id },
            runbook: 'node-down',
          });
        }
        if (held !== null) continue;
        const lost = givenUp(node, silentMs);
        if (lost.length === 0) continue;
        gaveUp.set(node.id, nowMs);
        await commit(lost.map((status) => put(instanceStatusRecords, status)));
      }
      await sweep();
    },
  };
}

/** An Instance that was given up, since what ran it is no longer there. */
export function lostStatus(
  spec: InstanceSpec,
  why: { readonly message: string; readonly hint: string },
  current: InstanceStatus | undefined,
  nowMs: number,
): InstanceStatus {
  return {
    id: spec.id,
    nodeId: spec.nodeId,
    generation: current?.generation ?? spec.generation,
    phase: 'lost',
    healthy: false,
    address: null,
    pid: null,
    restarts: current?.restarts ?? 0,
    crashLoop: false,
    exit: current?.exit ?? null,
    reason: {
      code: 'node_down',
      message: why.message,
      hint: why.hint,
      lastLines: [],
      instanceId: spec.id,
    },
    notEnforced: [],
    startedAtMs: current?.startedAtMs ?? null,
    healthySinceMs: null,
    output: null,
    updatedAtMs: nowMs,
  };
}
