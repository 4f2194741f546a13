// Nodes and Runtimes as people see them. What a Node has given away is counted from its Instances each time, never stored.

import type { table } from '../../api/table.ts';
import { Failure } from '../../lib/failure.ts';
import { FINAL_INSTANCE_PHASES } from '../../model/documents.ts';
import type { InstanceSpec, NodeSpec } from '../../model/documents.ts';
import type { Stored } from '../../store/collection.ts';
import { update } from '../../store/records.ts';
import type { ControlContext } from '../context.ts';
import { deploymentRecords, instanceSpecRecords } from '../deploys/records.ts';
import type { NounHandlers } from '../handler.ts';
import { pageOf } from '../server-page.ts';
import type { Heartbeats } from './agent-report.ts';
import { BUILD_RESOURCES } from './desired.ts';
import { instanceStatusRecords, nodeSpecRecords, nodeStatusRecords, runtimeRecords } from './records.ts';

type NodeReply = Awaited<ReturnType<NounHandlers<typeof table.nodes>['get']>>;

export interface NodeHandlers {
  readonly nodes: NounHandlers<typeof table.nodes>;
  readonly runtimes: NounHandlers<typeof table.runtimes>;
}

export function createNodeHandlers(context: ControlContext, deps: { readonly heartbeats: Heartbeats }): NodeHandlers {
  const { view } = context;

  const find = (name: string): Stored<NodeSpec> => {
    const found = view.byName(nodeSpecRecords, name);
    if (found === undefined) throw new Failure('not_found', { message: `There is no Node ${name}.`, hint: '`libra nodes` lists them.' });
    return found;
  };

  const resourcesOf = (spec: InstanceSpec): { readonly cpu: number; readonly memoryBytes: number } => {
    const deployment = spec.deploymentId === null ? undefined : view.get(deploymentRecords, spec.deploymentId)?.document;
    const resources = deployment?.entrypoints[spec.entrypoint]?.resources ?? BUILD_RESOURCES;
    return { cpu: resources.cpu.request, memoryBytes: resources.memory.requestBytes };
  };

  const requested = (nodeId: string): NodeReply['requested'] => {
    const total = { cpu: 0, memoryBytes: 0, instances: 0 };
    for (const { document: spec } of view.by(instanceSpecRecords, 'node', nodeId)) {
      const phase = view.get(instanceStatusRecords, spec.id)?.document.phase;
      if (phase !== undefined && FINAL_INSTANCE_PHASES.has(phase)) continue;
      const { cpu, memoryBytes } = resourcesOf(spec);
      total.cpu += cpu;
      total.memoryBytes += memoryBytes;
      total.instances += 1;
    }
    return { ...total, cpu: Math.round(total.cpu * 1000) / 1000 };
  };

  const reply = (node: NodeSpec): NodeReply => {
    const status = view.get(nodeStatusRecords, node.id)?.document;
    return {
      id: node.id,
      name: node.name,
      runtime: view.get(runtimeRecords, node.runtimeId)?.document.name ?? '',
      labels: { ...node.labels },
      scheduling: node.scheduling,
      state: status?.state ?? 'unknown',
      drivers: (status?.drivers ?? []).map((driver) => ({
        name: driver.name,
        artifacts: [...driver.artifacts],
        limits: { ...driver.limits },
      })),
      capacity: status === undefined ? { cpu: 0, memoryBytes: 0 } : { ...status.capacity },
      requested: requested(node.id),
      lastSeenMs: deps.heartbeats.lastSeenMs(node.id),
    };
  };

  const setScheduling = async (name: string, scheduling: NodeSpec['scheduling']): Promise<NodeReply> => {
    const current = find(name);
    const next = { ...current.document, scheduling };
    if (current.document.scheduling !== scheduling) {
      await view.commit(update(nodeSpecRecords, current, next));
      context.event({
        level: 'info',
        kind: `node.${scheduling}`,
        message: `Node ${name} is now ${scheduling}.`,
        subject: { nodeId: next.id },
      });
    }
    return reply(next);
  };

  return {
    nodes: {
      list: async (call) => {
        const page = pageOf(byName(view.list(nodeSpecRecords)), call.query, {
          list: 'nodes',
          keyOf: (node) => node.name,
          order: 'ascending',
        });
        return { items: page.items.map(reply), next: page.next };
      },
      get: async (call) => reply(find(call.params.node).document),
      cordon: (call) => setScheduling(call.params.node, 'cordoned'),
      uncordon: (call) => setScheduling(call.params.node, 'open'),
      drain: (call) => setScheduling(call.params.node, 'draining'),
    },
    runtimes: {
      list: async (call) => {
        const page = pageOf(byName(view.list(runtimeRecords)), call.query, {
          list: 'runtimes',
          keyOf: (runtime) => runtime.name,
          order: 'ascending',
        });
        const items = page.items.map((runtime) => ({
          id: runtime.id,
          name: runtime.name,
          labels: { ...runtime.labels },
          nodes: view
            .by(nodeSpecRecords, 'runtime', runtime.id)
            .map((node) => node.document.name)
            .sort(),
        }));
        return { items, next: page.next };
      },
    },
  };
}

function byName<T extends { readonly name: string }>(stored: readonly Stored<T>[]): readonly T[] {
  return stored.map(({ document }) => document).sort((a, b) => (a.name < b.name ? -1 : 1));
}
