// The first Runtime and the Node of this machine. A Node is known by an id that lives in the data folder, so that a changed host name
// never makes a second Node out of the same machine.

import { newId } from '../../lib/id.ts';
import { isFailure } from '../../lib/failure.ts';
import type { NodeSpec, Runtime } from '../../model/documents.ts';
import { toName } from '../../model/names.ts';
import { create } from '../../store/records.ts';
import type { ControlContext } from '../context.ts';
import { nodeSpecRecords, runtimeRecords } from './records.ts';

export const DEFAULT_RUNTIME = 'default';
const NAME_ATTEMPTS = 100;

/** The Runtime `default`, made where it is missing. */
async function ensureDefaultRuntime(context: ControlContext, teamId: string): Promise<Runtime> {
  const existing = context.view.byName(runtimeRecords, DEFAULT_RUNTIME);
  if (existing !== undefined) return existing.document;
  const runtime: Runtime = {
    id: newId(context.clock.now(), context.random),
    name: DEFAULT_RUNTIME,
    teamId,
    labels: {},
    createdAtMs: context.clock.now(),
  };
  try {
    await context.view.commit(create(runtimeRecords, runtime));
    return runtime;
  } catch (error) {
    const other = isFailure(error, 'exists') ? context.view.byName(runtimeRecords, DEFAULT_RUNTIME) : undefined;
    if (other === undefined) throw error;
    return other.document; // made by another control meanwhile
  }
}

/** The name that a Node gets at this attempt: the one wished for, then with a number. */
export function freeNodeName(base: string, attempt: number): string {
  return attempt === 1 ? base : `${base.slice(0, 26)}-${attempt}`;
}

export interface LocalNode {
  /** From the data folder; a fresh UUIDv7 at first start. */
  readonly nodeId: string;
  /** As the operator or the machine says; becomes a DNS label. */
  readonly hostname: string;
  readonly teamId: string;
}

/** The Node record of this machine, made where it is missing. Its name is the host name, with a number where that is taken. */
export async function ensureLocalNode(context: ControlContext, local: LocalNode): Promise<NodeSpec> {
  const existing = context.view.get(nodeSpecRecords, local.nodeId);
  if (existing !== undefined) return existing.document;
  const runtime = await ensureDefaultRuntime(context, local.teamId);
  const base = toName(local.hostname.split('.')[0] ?? '') ?? 'node';
  for (let attempt = 1; ; attempt += 1) {
    const node: NodeSpec = {
      id: local.nodeId,
      name: freeNodeName(base, attempt),
      runtimeId: runtime.id,
      labels: {},
      scheduling: 'open',
      createdAtMs: context.clock.now(),
    };
    try {
      await context.view.commit(create(nodeSpecRecords, node));
      return node;
    } catch (error) {
      if (!isFailure(error, 'exists') || attempt >= NAME_ATTEMPTS) throw error;
    }
  }
}
