// What a keeper holds for the platform itself (listeners, programs with `restart`), on disk, so that its successor after a kill −9 takes
// both up again by itself. Valid for one boot of the machine; mode 0600, because requests carry environments.

import { rmSync } from 'node:fs';
import { readJsonFile, replaceFileSync } from '../sys/durable-file.ts';
import type { SpawnRequest } from '../sys/keeper-protocol.ts';
import { currentBootId } from '../sys/process-identity.ts';
import type { HeldListener } from './listeners.ts';
import { parseRequest } from './requests.ts';

export interface KeeperState {
  readonly listeners: readonly HeldListener[];
  readonly programs: readonly SpawnRequest[];
}

export interface StateFile {
  /** Writes where something has changed. */
  save(state: KeeperState): void;
  load(): KeeperState;
  remove(): void;
}

const isFields = (value: unknown): value is Readonly<Record<string, unknown>> => typeof value === 'object' && value !== null;

/** Items of a list that parse; what does not (a newer keeper's) is left out. */
function each<T>(list: unknown, parse: (fields: Readonly<Record<string, unknown>>) => T | null): T[] {
  return (Array.isArray(list) ? list : []).flatMap((item: unknown): T[] => {
    try {
      const parsed = isFields(item) ? parse(item) : null;
      return parsed === null ? [] : [parsed];
    } catch {
      return [];
    }
  });
}

export function createStateFile(path: string): StateFile {
  let written: string | null = null;
  return {
    save: (state) => {
      const text = JSON.stringify({ bootId: currentBootId(), ...state });
      if (text === written) return;
      replaceFileSync(path, text);
      written = text;
    },
    load: () => {
      const value = readJsonFile(path);
      if (!isFields(value) || value['bootId'] !== currentBootId()) return { listeners: [], programs: [] };
      return {
        listeners: each(value['listeners'], (fields) => {
          const request = parseRequest({ ...fields, op: 'listen' });
          return request.op === 'listen' ? { name: request.name, host: request.host, port: request.port } : null;
        }),
        programs: each(value['programs'], (fields) => {
          const request = parseRequest({ ...fields, op: 'spawn' });
          return request.op === 'spawn' && request.restart !== null ? request : null;
        }),
      };
    },
    remove: () => {
      rmSync(path, { force: true });
      written = null;
    },
  };
}
