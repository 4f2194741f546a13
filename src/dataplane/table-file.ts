// The last table on disk, so that an Edge that starts while control is away serves at once. A reader finds a whole table or none: the
// file is replaced by rename, and what does not look like a table is left out with a warning.

import { readFile } from 'node:fs/promises';
import { setImmediate } from 'node:timers/promises';
import type { RouteTable } from '../api/dataplane.ts';
import { messageOf } from '../lib/failure.ts';
import { replaceFileDurably } from '../sys/durable-file.ts';
import type { Log } from '../sys/log.ts';
import type { KeptTable } from './table-state.ts';

const FILE_SCHEMA = 1;
const PART = 500;

/** In parts, with requests between them: a large table takes longer to write down than a request may wait. */
export async function saveTable(file: string, { sequence, table }: KeptTable): Promise<void> {
  const list = async (items: readonly unknown[]): Promise<string> => {
    let text = '';
    for (let at = 0; at < items.length; at += PART) {
      const part = JSON.stringify(items.slice(at, at + PART)).slice(1, -1);
      text += at === 0 ? part : `,${part}`;
      await setImmediate();
    }
    return `[${text}]`;
  };
  const [rules, groups] = [await list(table.rules), await list(table.groups)];
  const parties = table.parties === undefined ? '' : `,"parties":${await list(table.parties)}`;
  const certificates = table.certificates === undefined ? '' : `,"certificates":${await list(table.certificates)}`;
  await replaceFileDurably(
    file,
    `{"schema":${FILE_SCHEMA},"sequence":${sequence},"table":{"rules":${rules},"groups":${groups}${parties}${certificates}}}`,
  );
}

/** The kept table; null where there is none or it is damaged. */
export async function loadTable(file: string, log: Log): Promise<KeptTable | null> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) {
      log.warn({ file, error: messageOf(error) }, 'kept route table cannot be read; starting without');
    }
    return null;
  }
  try {
    const value: unknown = JSON.parse(text);
    if (isKept(value)) return { sequence: value.sequence, table: value.table };
    log.warn({ file }, 'kept route table has an unknown form; starting without');
  } catch (error) {
    log.warn({ file, error: messageOf(error) }, 'kept route table is damaged; starting without');
  }
  return null;
}

function isKept(value: unknown): value is { readonly sequence: number; readonly table: RouteTable } {
  if (!isRecord(value) || value['schema'] !== FILE_SCHEMA || typeof value['sequence'] !== 'number') return false;
  const table = value['table'];
  return (
    isRecord(table) &&
    isArrayOf(table['rules'], isRule) &&
    isArrayOf(table['groups'], isGroup) &&
    isArrayOf(table['parties'] ?? [], isParty) &&
    isArrayOf(table['certificates'] ?? [], isCertificate)
  );
}

function isRule(value: unknown): boolean {
  return isRecord(value) && isText(value['host']) && isText(value['path']) && isRecord(value['headers']) && isText(value['group']);
}

function isParty(value: unknown): boolean {
  return (
    isRecord(value) &&
    isText(value['id']) &&
    isText(value['app']) &&
    isText(value['environment']) &&
    isRecord(value['provides']) &&
    Object.values(value['provides']).every((service) => isRecord(service) && isText(service['group']) && isText(service['path'])) &&
    isArrayOf(value['callers'], (callers) => isRecord(callers) && isArrayOf(callers['uses'], isText) && isRecord(callers['instances']))
  );
}

function isCertificate(value: unknown): boolean {
  return isRecord(value) && isText(value['name']) && isText(value['chainPem']) && isText(value['keyPem']);
}

function isGroup(value: unknown): boolean {
  return isRecord(value) && isText(value['id']) && isText(value['app']) && isText(value['state']) && isArrayOf(value['targets'], isTarget);
}

function isTarget(value: unknown): boolean {
  return (
    isRecord(value) && isText(value['instanceId']) && isText(value['host']) && typeof value['port'] === 'number' && isText(value['state'])
  );
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isText(value: unknown): value is string {
  return typeof value === 'string';
}

function isArrayOf(value: unknown, item: (value: unknown) => boolean): boolean {
  return Array.isArray(value) && value.every(item);
}
