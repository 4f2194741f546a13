// The record of a program beside its FIFOs: what was started, and how it ended. It is what a later keeper or librad believes.

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { readJsonFile, replaceFileDurably, replaceFileSync } from '../sys/durable-file.ts';
import type { ProcessIdentity, ProcessRecord } from '../sys/keeper-protocol.ts';

const FILE = 'record.json';

/** Survives a kill −9 of the keeper. An identity of null says: about to be started. */
export function saveRecord(folder: string, record: ProcessRecord): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  replaceFileSync(join(folder, FILE), JSON.stringify(record));
}

/** As `saveRecord`, and survives the machine. */
export function saveRecordDurably(folder: string, record: ProcessRecord): Promise<void> {
  return replaceFileDurably(join(folder, FILE), JSON.stringify(record));
}

function isIdentity(value: unknown): value is ProcessIdentity {
  return (
    typeof value === 'object' &&
    value !== null &&
    'bootId' in value &&
    typeof value.bootId === 'string' &&
    'pid' in value &&
    typeof value.pid === 'number' &&
    'startTicks' in value &&
    typeof value.startTicks === 'string'
  );
}

/** The record of `key`; null when there is none, or it belongs to another key, or cannot be read. */
export function loadRecord(folder: string, key: string): ProcessRecord | null {
  const value = readJsonFile(join(folder, FILE));
  if (typeof value !== 'object' || value === null || !('key' in value) || value.key !== key) return null;
  if (!('identity' in value) || (value.identity !== null && !isIdentity(value.identity))) return null;
  return value as ProcessRecord; // written by saveRecord; the parts that we act on are checked above
}
