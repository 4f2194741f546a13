// Nodes and Runtimes as people see them. What a Node has given away is counted from its Instances each time, never stored.

import { isDeepStrictEqual } from 'node:util';
import type { NodeUsage } from '../../api/agent.ts';
import type { table } from '../../api/table.ts';
import { Failure } from '../../lib/failure.ts';
import { FINAL_INSTANCE_PHASES } from '../../model/documents.ts';
import type { NodeSpec } from '../../model/documents.ts';
import { isName } from '../../model/names.ts';
import { checkLabels } from '../../model/selector.ts';
import type { Stored } from '../../store/collection.ts';
import { put, remove, update } from '../../store/records.ts';
import type { ControlContext } from '../context.ts';
import { roomOf } from '../deploys/placement.ts';
import { instanceSpecRecords } from '../deploys/records.ts';
import type { Handler, NounHandlers } from '../handler.ts';
import { PIECES } from '../scheduler/cores.ts';
import { pageOf } from '../server-page.ts';
import type { AgentReports, Heartbeats } from './agent-report.ts';
import { lostStatus } from './node-health.ts';
import { instanceStatusRecords, nodeSpecRecords, nodeStatusRecords, runtimeRecords } from './records.ts';

type NodeChange = Parameters<NounHandlers<typeof table.nodes>['update']>[0]['body'];
type NodeReply = Awaited<ReturnType<NounHandlers<typeof table.nodes>['get']>>;

export interface NodeHandlers {
  readonly nodes: NounHandlers<typeof table.nodes>;
  readonly runtimes: NounHandlers<typeof table.runtimes>;
}

export interface NodeDeps {
  readonly heartbeats: Heartbeats;
  readonly nodeUsageOf: AgentReports['nodeUsageOf'];
  readonly stats: Handler<typeof table.nodes.stats>;
  /** Of this machine, which is not removed while it works. */
  readonly ownNodeId: string;
}

const PER_COMMIT = 40;

export function createNodeHandlers(context: ControlContext, deps: NodeDeps): NodeHandlers {
  const { view } = context;

  const find = (name: string): Stored<NodeSpec> => {
    const found = view.byName(nodeSpecRecords, name);
    if (found === undefined) throw new Failure('not_found', { message: `There is no Node ${name}.`, hint: '`libra nodes` lists them.' });
    return found;
  };

  const reply = (node: NodeSpec): NodeReply => {
    const status = view.get(nodeStatusRecords, node.id)?.document;
    const { capacity, used, freePieces, overcommit, instances } = roomOf(view, node, status ?? null);
    const own = freePieces.reduce((sum, pieces) => sum + PIECES - pieces, 0) / PIECES;
    return {
      id: node.id,
      name: node.name,
      runtime: view.get(runtimeRecords, node.runtimeId)?.document.name ?? '',
      labels: { ...node.labels },
      scheduling: node.scheduling,
      roles: node.machine === undefined ? ['control', 'agent', 'edge'] : [...node.machine.roles],
      state: status?.state ?? 'unknown',
      drivers: (status?.drivers ?? []).map((driver) => ({
        name: driver.name,
        artifacts: [...driver.artifacts],
        limits: { ...driver.limits },
      })),
      capacity: {
        cpu: capacity.cpu,
        memoryBytes: capacity.memoryBytes,
        volumeBytes: capacity.volumeBytes ?? null,
        devices: { ...capacity.devices },
      },
      requested: {
        cpu: Math.round((used.cpu + own) * 1000) / 1000,
        memoryBytes: used.memoryBytes,
        volumeBytes: used.volumeBytes ?? 0,
        devices: { ...used.devices },
        instances,
      },
      overcommit,
      reserved: node.reserved ?? 0,
      usage: usageReply(deps.nodeUsageOf(node.id)),
      version: status?.platform.program ?? null,
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

  const change = async (name: string, body: NodeChange): Promise<NodeReply> => {
    const current = find(name);
    const next = changed(current.document, body);
    if (!isDeepStrictEqual(next, current.document)) {
      await view.commit(update(nodeSpecRecords, current, next));
      context.event({
        level: 'info',
        kind: 'node.changed',
        message: `What Node ${name} has to give was changed.`,
        subject: { nodeId: next.id },
      });
    }
    return reply(next);
  };

  const takeOut = async (name: string, force: boolean, who: string): Promise<{ name: string; lostInstances: number }> => {
    const current = find(name);
    const { document: node } = current;
    if (node.id === deps.ownNodeId)
      throw new Failure('conflict', { message: `Node ${name} is the machine of this control plane, which cannot remove itself.` });
    const instances = view.by(instanceSpecRecords, 'node', node.id).flatMap(({ document: spec }) => {
      const status = view.get(instanceStatusRecords, spec.id)?.document;
      return status !== undefined && FINAL_INSTANCE_PHASES.has(status.phase) ? [] : [{ spec, status }];
    });
    if (instances.length > 0 && !force) {
      throw new Failure('conflict', {
        message: `Node ${name} has ${instances.length} Instance${instances.length === 1 ? '' : 's'}.`,
        hint: `Empty it first: libra nodes drain ${name}. If the machine is gone for good: libra nodes remove ${name} --force`,
      });
    }
    const why = { message: `Node ${name} was removed.`, hint: '`libra nodes` lists those that are left.' };
    if (node.scheduling === 'open') {
      // From here on nothing new is placed there; what was placed meanwhile is seen the second time.
      await view.commit(update<NodeSpec>(nodeSpecRecords, current, { ...node, scheduling: 'cordoned' }));
      return takeOut(name, force, who);
    }
    const lost = instances.map(({ spec, status }) => put(instanceStatusRecords, lostStatus(spec, why, status, context.clock.now())));
    for (let from = 0; from < lost.length; from += PER_COMMIT) await view.commit(...lost.slice(from, from + PER_COMMIT));
    const status = view.get(nodeStatusRecords, node.id);
    await view.commit(remove(nodeSpecRecords, current), ...(status === undefined ? [] : [remove(nodeStatusRecords, status)]));
    context.event({ level: 'info', kind: 'node.removed', message: `${who} removed Node ${name}.`, subject: { nodeId: node.id } });
    return { name, lostInstances: lost.length };
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
      stats: deps.stats,
      update: (call) => change(call.params.node, call.body),
      remove: (call) => takeOut(call.params.node, call.query.force === 'true', call.principal.name),
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

function usageReply(usage: NodeUsage | null): NodeReply['usage'] {
  if (usage === null) return null;
  return {
    cpu: usage.cpu,
    load: usage.load === undefined ? null : [...usage.load],
    memoryBytes: usage.memoryBytes ?? null,
    network: usage.network ?? null,
    disk: usage.disk ?? null,
    space: usage.space ?? null,
  };
}

/** Throws `invalid_input` where a name or a value of a label cannot be one. */
function changed(node: NodeSpec, { labels, overcommit, reserved, devices, volumeBytes }: NodeChange): NodeSpec {
  checkLabels(labels ?? {});
  for (const key of Object.keys(devices ?? {}))
    if (!isName(key))
      throw new Failure('invalid_input', { message: `${JSON.stringify(key)} is not a valid name of a device, such as gpu.` });
  const { volumeBytes: before, ...rest } = node;
  const space = volumeBytes === undefined ? before : (volumeBytes ?? undefined);
  return {
    ...rest,
    labels: merged(node.labels, labels),
    ...(overcommit === undefined ? {} : { overcommit: { ...(node.overcommit ?? { cpu: 1, memory: 1 }), ...overcommit } }),
    ...(reserved === undefined ? {} : { reserved }),
    ...(devices === undefined ? {} : { devices: merged(node.devices ?? {}, devices) }),
    ...(space === undefined ? {} : { volumeBytes: space }),
  };
}

/** null takes a name away. */
function merged<T>(before: Readonly<Record<string, T>>, changes: Readonly<Record<string, T | null>> | undefined): Record<string, T> {
  const after = { ...before };
  for (const [key, value] of Object.entries(changes ?? {})) {
    if (value === null) delete after[key];
    else after[key] = value;
  }
  return after;
}

function byName<T extends { readonly name: string }>(stored: readonly Stored<T>[]): readonly T[] {
  return stored.map(({ document }) => document).sort((a, b) => (a.name < b.name ? -1 : 1));
}
