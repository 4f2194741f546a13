// What agents say becomes records: statuses only of Instances that the Node was given, never of a newer generation than was asked for,
// and never out of a final phase. Heartbeats stay in memory on the monotonic clock; the store sees one now and then.

import { isDeepStrictEqual } from 'node:util';
import type { AgentReport, ForwardStatus, InstanceUsage, NodeUsage } from '../../api/agent.ts';
import type { table } from '../../api/table.ts';
import { Failure } from '../../lib/failure.ts';
import { FINAL_INSTANCE_PHASES } from '../../model/documents.ts';
import type { InstanceSpec, InstanceStatus, NodeStatus } from '../../model/documents.ts';
import type { Operation } from '../../store/collection.ts';
import { put } from '../../store/records.ts';
import type { ControlContext } from '../context.ts';
import { instanceSpecRecords } from '../deploys/records.ts';
import type { Handler } from '../handler.ts';
import { gatherWrites } from './gathered-writes.ts';
import { instanceStatusRecords, nodeSpecRecords, nodeStatusRecords } from './records.ts';
import { parseReport } from './report-shape.ts';

const HEARTBEAT_WRITE_MS = 15_000;
/** What was measured longer ago says nothing about now. */
const USAGE_MS = 20_000;

export interface Heartbeats {
  /** Monotonic time of the Node's last report to this control, undefined for none yet. */
  lastHeardMs(nodeId: string): number | undefined;
  /** Wall-clock time of its last report, from memory or the store. */
  lastSeenMs(nodeId: string): number | null;
}

export interface AgentReports {
  readonly report: Handler<typeof table.agent.report>;
  readonly heartbeats: Heartbeats;
  /** What it takes, as its Node said within the last seconds; null where it has not. */
  readonly usageOf: (spec: InstanceSpec) => InstanceUsage | null;
  /** The same of the machine. */
  readonly nodeUsageOf: (nodeId: string) => NodeUsage | null;
  /** Where the Nodes forward output, as they said last. */
  readonly forwarding: () => readonly NodeForwarding[];
}

export interface NodeForwarding extends ForwardStatus {
  /** Name of the Node. */
  readonly node: string;
}

/** What a Node has measured. */
interface Told {
  readonly atMs: number;
  readonly byId: ReadonlyMap<string, InstanceUsage>;
  readonly node: NodeUsage | null;
}

export function createAgentReports(context: ControlContext): AgentReports {
  const { view, clock } = context;
  const gathered = gatherWrites(view);
  const heard = new Map<string, { readonly monotonicMs: number; readonly wallMs: number }>();
  const written = new Map<string, number>();
  const usages = new Map<string, Told>();
  const forwarding = new Map<string, readonly ForwardStatus[]>();

  const nodeStatus = (nodeId: string, report: AgentReport): NodeStatus | null => {
    const current = view.get(nodeStatusRecords, nodeId)?.document;
    const next: NodeStatus = {
      id: nodeId,
      state: 'up',
      drivers: report.drivers,
      capacity: report.capacity,
      platform: report.platform,
      bootId: report.bootId,
      ...(report.dataPort === undefined ? {} : { dataPort: report.dataPort }),
      lastSeenMs: clock.now(),
    };
    const due = clock.monotonic() - (written.get(nodeId) ?? Number.NEGATIVE_INFINITY) >= HEARTBEAT_WRITE_MS;
    if (!due && current !== undefined && isDeepStrictEqual(current, { ...next, lastSeenMs: current.lastSeenMs })) return null;
    written.set(nodeId, clock.monotonic());
    if (current?.state === 'down') {
      context.event({ level: 'info', kind: 'node.up', message: `Node ${nameOf(nodeId)} is back.`, subject: { nodeId } });
    }
    return next;
  };

  const nameOf = (nodeId: string): string => view.get(nodeSpecRecords, nodeId)?.document.name ?? nodeId;

  const handle: AgentReports['report'] = async (call) => {
    if (call.principal.kind !== 'node') throw new Failure('forbidden', { message: 'Only an agent may report for its Node.' });
    const { nodeId } = call.principal;
    if (view.get(nodeSpecRecords, nodeId) === undefined) {
      throw new Failure('not_found', { message: 'This Node is not part of the platform.', hint: 'Join it again.' });
    }
    const report = parseReport(call.body);
    heard.set(nodeId, { monotonicMs: clock.monotonic(), wallMs: clock.now() });
    if (report.usage !== undefined)
      usages.set(nodeId, {
        atMs: clock.monotonic(),
        byId: new Map(report.usage.map((usage) => [usage.id, usage])),
        node: report.nodeUsage ?? null,
      });
    if (report.usage !== undefined) forwarding.set(nodeId, report.forwarding ?? []);
    const writes: Promise<void>[] = [];
    const node = nodeStatus(nodeId, report);
    if (node !== null) writes.push(gathered.write(nodeId, () => put(nodeStatusRecords, node)));
    for (const status of lastOfEach(report.instances)) {
      const next = acceptStatus(status, nodeId);
      if (next === null) continue;
      tellRestart(next);
      // It may have been given up since.
      const still = (): Operation | null => (acceptStatus(status, nodeId) === null ? null : put(instanceStatusRecords, next));
      const group = view.get(instanceSpecRecords, status.id)?.document.environmentId ?? '';
      writes.push(gathered.write(status.id, still, group));
    }
    await Promise.all(writes);
    return { accepted: report.instances.length };
  };

  /** What to write for a reported status; null where it changes nothing or may not change anything. */
  const acceptStatus = (status: InstanceStatus, nodeId: string): InstanceStatus | null => {
    const spec = view.get(instanceSpecRecords, status.id)?.document;
    if (spec === undefined || spec.nodeId !== nodeId || status.generation > spec.generation) return null;
    const current = view.get(instanceStatusRecords, status.id)?.document;
    if (current !== undefined) {
      if (status.generation < current.generation || FINAL_INSTANCE_PHASES.has(current.phase)) return null;
      if (isDeepStrictEqual(current, { ...status, nodeId, updatedAtMs: current.updatedAtMs })) return null;
    }
    return { ...status, nodeId, updatedAtMs: clock.now() };
  };

  /** A program that comes back by itself would otherwise leave no trace: its status says only how it is now. */
  const tellRestart = (next: InstanceStatus): void => {
    const spec = view.get(instanceSpecRecords, next.id)?.document;
    const before = view.get(instanceStatusRecords, next.id)?.document;
    if (spec === undefined || before === undefined || next.restarts <= before.restarts) return;
    const why = (next.reason ?? before.reason)?.message ?? endOf(next.exit ?? before.exit);
    context.event({
      level: next.crashLoop ? 'error' : 'warning',
      kind: next.crashLoop ? 'instance.crash-loop' : 'instance.restarted',
      message: `${spec.entrypoint}.${spec.slot} ${next.crashLoop ? 'keeps ending soon after its start' : 'ended and was started again'}: ${why}`,
      subject: {
        appId: spec.appId,
        instanceId: spec.id,
        nodeId: spec.nodeId,
        ...(spec.environmentId === null ? {} : { environmentId: spec.environmentId }),
      },
    });
  };

  const lately = (nodeId: string): Told | null => {
    const told = usages.get(nodeId);
    return told === undefined || clock.monotonic() - told.atMs > USAGE_MS ? null : told;
  };

  return {
    report: handle,
    forwarding: () =>
      [...forwarding].flatMap(([nodeId, targets]) =>
        view.get(nodeSpecRecords, nodeId) === undefined ? [] : targets.map((status) => ({ node: nameOf(nodeId), ...status })),
      ),
    usageOf: (spec) => lately(spec.nodeId)?.byId.get(spec.id) ?? null,
    nodeUsageOf: (nodeId) => lately(nodeId)?.node ?? null,
    heartbeats: {
      lastHeardMs: (nodeId) => heard.get(nodeId)?.monotonicMs,
      lastSeenMs: (nodeId) => heard.get(nodeId)?.wallMs ?? view.get(nodeStatusRecords, nodeId)?.document.lastSeenMs ?? null,
    },
  };
}

function endOf(exit: InstanceStatus['exit']): string {
  if (exit === null) return 'how it ended is not known.';
  return exit.signal === null ? `it ended with exit code ${exit.code ?? 'unknown'}.` : `it was ended by ${exit.signal}.`;
}

/** One commit may write a key once: of several statuses of one Instance the last counts. */
function lastOfEach(statuses: readonly InstanceStatus[]): Iterable<InstanceStatus> {
  return new Map(statuses.map((status) => [status.id, status])).values();
}
