// The cluster module as a whole: what agents say and are told, Nodes and Runtimes, and the streams that reach into Instances.

import type { table } from '../../api/table.ts';
import { messageOf } from '../../lib/failure.ts';
import { FINAL_INSTANCE_PHASES } from '../../model/documents.ts';
import type { InstanceSpec, InstanceStatus, Reason } from '../../model/documents.ts';
import { put } from '../../store/records.ts';
import type { ControlContext, Reconciler } from '../context.ts';
import type { NounHandlers } from '../handler.ts';
import { createAgentReports } from './agent-report.ts';
import type { AgentReports } from './agent-report.ts';
import { createAgentSync } from './agent-sync.ts';
import { createAgentCalls } from './calls.ts';
import { createInstanceLogs } from './instance-logs.ts';
import { createInstanceSockets } from './instance-sockets.ts';
import { createLogSources } from './log-source.ts';
import { createGoneEnvironments } from './gone-environments.ts';
import { createNodeHealth } from './node-health.ts';
import { createUsageStats } from './usage-stats.ts';
import { createNodeHandlers } from './nodes.ts';
import type { NodeHandlers } from './nodes.ts';
import { instanceStatusRecords } from './records.ts';

export interface Cluster {
  readonly handlers: NodeHandlers & { readonly agent: NounHandlers<typeof table.agent> };
  /** For the noun `instances`. */
  readonly instanceStreams: Pick<NounHandlers<typeof table.instances>, 'logs' | 'exec' | 'files' | 'stats'>;
  readonly reconcilers: readonly Reconciler[];
  readonly usageOf: AgentReports['usageOf'];
  readonly nodeUsageOf: AgentReports['nodeUsageOf'];
  readonly forwarding: AgentReports['forwarding'];
  /** What of the Nodes is not as it should be. */
  readonly warnings: () => readonly string[];
  /** Whether the agent of the Node has its stream of desired state open. */
  readonly isConnected: (nodeId: string) => boolean;
  stop(): void;
}

export interface ClusterDeps {
  /** Of this machine. */
  readonly ownNodeId: string;
  /** The plain value; throws `not_found` where the version is gone. */
  readonly openValue: (valueId: string) => Buffer;
}

export function createCluster(context: ControlContext, deps: ClusterDeps): Cluster {
  const { view, clock } = context;

  /** An Instance that can never run as it is specified fails here: no agent will hear of it. */
  const fail = (spec: InstanceSpec, reason: Reason): void => {
    const current = view.get(instanceStatusRecords, spec.id)?.document;
    if (current !== undefined && FINAL_INSTANCE_PHASES.has(current.phase)) return;
    view.commit(put(instanceStatusRecords, failedStatus(spec, reason, clock.now()))).catch((error: unknown) => {
      context.log.warn({ instanceId: spec.id, error: messageOf(error) }, 'an Instance that cannot run could not be marked as failed');
    });
  };

  const reports = createAgentReports(context);
  const sync = createAgentSync(context, { openValue: deps.openValue, onImpossible: fail });
  const health = createNodeHealth(context, { heartbeats: reports.heartbeats });
  const calls = createAgentCalls(context, { send: sync.send });
  const sources = createLogSources(context, { calls });
  const stats = createUsageStats(context, { calls });
  return {
    handlers: {
      ...createNodeHandlers(context, { ...reports, stats: stats.node, ownNodeId: deps.ownNodeId }),
      agent: { sync: sync.sync, report: reports.report, gone: createGoneEnvironments(context), call: calls.answer },
    },
    instanceStreams: {
      logs: createInstanceLogs(context, { sources }),
      ...createInstanceSockets(context, { calls }),
      stats: stats.instances,
    },
    reconcilers: [health],
    warnings: () => [health.held() ?? []].flat(),
    usageOf: reports.usageOf,
    nodeUsageOf: reports.nodeUsageOf,
    forwarding: reports.forwarding,
    isConnected: sync.isConnected,
    stop: () => {
      sync.stop();
      calls.stop();
    },
  };
}

function failedStatus(spec: InstanceSpec, reason: Reason, nowMs: number): InstanceStatus {
  return {
    id: spec.id,
    nodeId: spec.nodeId,
    generation: spec.generation,
    phase: 'failed',
    healthy: false,
    address: null,
    pid: null,
    restarts: 0,
    crashLoop: false,
    exit: null,
    reason,
    notEnforced: [],
    startedAtMs: null,
    healthySinceMs: null,
    output: null,
    updatedAtMs: nowMs,
  };
}
