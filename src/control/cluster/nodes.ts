// Nodes and Runtimes as people see them. What a Node has given away is counted from its Instances each time, never stored.

import { isDeepStrictEqual } from 'node:util';
import type { table } from '../../api/table.ts';
import { Failure } from '../../lib/failure.ts';
import type { NodeSpec } from '../../model/documents.ts';
import { isName } from '../../model/names.ts';
import { isLabelKey, isLabelValue } from '../../model/selector.ts';
import type { Stored } from '../../store/collection.ts';
import { update } from '../../store/records.ts';
import type { ControlContext } from '../context.ts';
import { roomOf } from '../deploys/placement.ts';
import type { NounHandlers } from '../handler.ts';
import { PIECES } from '../scheduler/cores.ts';
import { pageOf } from '../server-page.ts';
import type { Heartbeats } from './agent-report.ts';
import { nodeSpecRecords, nodeStatusRecords, runtimeRecords } from './records.ts';

type NodeChange = Parameters<NounHandlers<typeof table.nodes>['update']>[0]['body'];
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
      update: (call) => change(call.params.node, call.body),
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

/** Throws `invalid_input` where a name or a value of a label cannot be one. */
function changed(node: NodeSpec, { labels, overcommit, reserved, devices, volumeBytes }: NodeChange): NodeSpec {
  for (const [key, value] of Object.entries(labels ?? {})) {
    if (!isLabelKey(key))
      throw new Failure('invalid_input', { message: `${JSON.stringify(key)} is not a valid label.`, hint: 'Letters, digits and . _ / -' });
    if (value !== null && !isLabelValue(value))
      throw new Failure('invalid_input', {
        message: `${JSON.stringify(value)} is not a valid value of the label ${key}.`,
        hint: 'Letters, digits and . _ -',
      });
  }
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
