// What an agent remembers of an Instance across its own restarts: one small JSON file each, replaced in one step. Never env, never
// secrets: those live in memory and come again with the next snapshot.

import { mkdir, open, readdir, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure } from '../lib/failure.ts';
import type { Log } from '../sys/log.ts';
import { removeTree } from '../sys/remove-tree.ts';
import type { InstanceState } from './instance-state.ts';

const SCHEMA = 1;

export interface StateFiles {
  /** Folder of one Instance. */
  readonly folder: (id: string) => string;
  /** `durable`: on disk before it resolves, power cuts included. */
  save(state: InstanceState, options: { readonly durable: boolean }): Promise<void>;
  /** All that can be read, and the ids of what cannot. */
  load(): Promise<{ readonly states: readonly InstanceState[]; readonly damaged: readonly string[] }>;
  /** Deletes the whole folder of an Instance: state, work, logs. */
  remove(id: string): Promise<void>;
}

export function createStateFiles(root: string, log: Log): StateFiles {
  const folder = (id: string): string => join(root, id);
  return {
    folder,
    save: async (state, { durable }) => {
      const target = join(folder(state.id), 'state.json');
      const draft = `${target}.new`;
      try {
        await mkdir(folder(state.id), { recursive: true, mode: 0o711 });
        const file = await open(draft, 'w', 0o600);
        try {
          await file.writeFile(JSON.stringify({ schema: SCHEMA, state }));
          if (durable) await file.sync();
        } finally {
          await file.close();
        }
        await rename(draft, target);
        if (durable) await syncFolder(folder(state.id));
      } catch (cause) {
        throw new Failure('storage_failed', {
          message: `The state of Instance ${state.id} cannot be written to ${target}: ${String(cause)}`,
          cause,
        });
      }
    },
    load: async () => {
      const names = await readdir(root).catch((error: unknown) => {
        if (isMissing(error)) return [];
        throw new Failure('storage_failed', { message: `The folder ${root} cannot be read: ${String(error)}`, cause: error });
      });
      const states: InstanceState[] = [];
      const damaged: string[] = [];
      for (const name of names) {
        const state = await readState(join(root, name, 'state.json'), log);
        if (state !== null && state !== 'missing' && state.id === name) states.push(state);
        else if (state !== 'missing') damaged.push(name);
      }
      return { states, damaged };
    },
    remove: (id) => removeTree(folder(id)),
  };
}

async function syncFolder(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function readState(path: string, log: Log): Promise<InstanceState | 'missing' | null> {
  try {
    const value: unknown = JSON.parse(await readFile(path, 'utf8'));
    if (isStateRecord(value)) return value.state;
    log.error({ path }, 'the state of an Instance is not one that this version can read');
  } catch (error) {
    // A folder without a state: killed before anything was started.
    if (isMissing(error)) return 'missing';
    log.error({ path, error: String(error) }, 'the state of an Instance cannot be read');
  }
  return null;
}

/** Written by `save` alone and replaced in one step, so the schema number vouches for the shape. */
function isStateRecord(value: unknown): value is { readonly schema: number; readonly state: InstanceState } {
  if (typeof value !== 'object' || value === null || !('schema' in value) || !('state' in value)) return false;
  const { schema, state } = value;
  return schema === SCHEMA && typeof state === 'object' && state !== null && 'id' in state && 'activity' in state;
}

export const isMissing = (error: unknown): boolean =>
  typeof error === 'object' && error !== null && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR');
