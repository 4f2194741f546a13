// Checks what comes over the socket: whatever a client sends, the keeper either understands it wholly or answers with an error.

import { Failure } from '../lib/failure.ts';
import type { KeeperRequest, SpawnRequest } from '../sys/keeper-protocol.ts';

type Fields = Readonly<Record<string, unknown>>;

function fail(field: string, expected: string): never {
  throw new Failure('invalid_input', { message: `The keeper got a request whose “${field}” is not ${expected}.` });
}

const isFields = (value: unknown): value is Fields => typeof value === 'object' && value !== null && !Array.isArray(value);

function text(fields: Fields, name: string, limit = 4096): string {
  const value = fields[name];
  return typeof value === 'string' && value.length > 0 && value.length <= limit && !value.includes('\0') ? value : fail(name, 'a text');
}

function path(fields: Fields, name: string): string {
  const value = text(fields, name);
  return value.startsWith('/') ? value : fail(name, 'an absolute path');
}

function whole(fields: Fields, name: string, least: number, most: number): number {
  const value = fields[name];
  return typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most
    ? value
    : fail(name, `a whole number from ${least} to ${most}`);
}

const flag = (fields: Fields, name: string): boolean => fields[name] === true;

function texts(fields: Fields, name: string, least: number, most: number): string[] {
  const value = fields[name];
  if (!Array.isArray(value) || value.length < least || value.length > most) return fail(name, `a list of ${least} to ${most} texts`);
  return value.map((each: unknown) => (typeof each === 'string' && !each.includes('\0') ? each : fail(name, 'a list of texts')));
}

function nested(fields: Fields, name: string): Fields | null {
  const value = fields[name];
  if (value === null) return null;
  return isFields(value) ? value : fail(name, 'an object or null');
}

function environment(fields: Fields): Record<string, string> {
  const env: Record<string, string> = {};
  const entries = Object.entries(nested(fields, 'env') ?? fail('env', 'an object'));
  if (entries.length > 4096) fail('env', 'an object of at most 4096 variables');
  for (const [name, value] of entries) {
    if (typeof value !== 'string' || value.includes('\0') || name === '' || /[=\0]/.test(name)) fail('env', 'an object of texts');
    env[name] = value;
  }
  return env;
}

function log(fields: Fields): SpawnRequest['log'] {
  const value = nested(fields, 'log') ?? fail('log', 'an object');
  return { folder: path(value, 'folder'), bytes: whole(value, 'bytes', 0, 2 ** 40) };
}

function signalName(fields: Fields): string {
  const name = text(fields, 'signal', 16);
  return /^SIG[A-Z0-9]+$/.test(name) ? name : fail('signal', 'the name of a signal');
}

function spawn(fields: Fields): KeeperRequest {
  const user = nested(fields, 'user');
  const restart = nested(fields, 'restart');
  return {
    op: 'spawn',
    key: text(fields, 'key', 256),
    argv: texts(fields, 'argv', 1, 4096),
    env: environment(fields),
    cwd: path(fields, 'cwd'),
    user: user === null ? null : { uid: whole(user, 'uid', 0, 2 ** 32 - 2), gid: whole(user, 'gid', 0, 2 ** 32 - 2) },
    cgroups: texts(fields, 'cgroups', 0, 16),
    log: log(fields),
    recordFolder: path(fields, 'recordFolder'),
    listeners: texts(fields, 'listeners', 0, 16),
    restart: restart === null ? null : { minMs: whole(restart, 'minMs', 1, 2 ** 31), maxMs: whole(restart, 'maxMs', 1, 2 ** 31) },
  };
}

/** The request in a parsed line. Throws `invalid_input` and says which field is wrong. */
export function parseRequest(fields: Fields): KeeperRequest {
  const op = text(fields, 'op', 32);
  switch (op) {
    case 'hello':
      return { op, program: text(fields, 'program', 256) };
    case 'spawn':
      return spawn(fields);
    case 'attach':
      return { op, key: text(fields, 'key', 256), recordFolder: path(fields, 'recordFolder'), log: log(fields) };
    case 'list':
      return { op };
    case 'get':
    case 'retire':
    case 'forget':
      return { op, key: text(fields, 'key', 256) };
    case 'signal':
      return { op, key: text(fields, 'key', 256), signal: signalName(fields), group: flag(fields, 'group') };
    case 'attend':
      return { op, key: text(fields, 'key', 256), forMs: whole(fields, 'forMs', 1, 2 ** 31 - 1) };
    case 'listen':
      return {
        op,
        name: text(fields, 'name', 256),
        host: text(fields, 'host', 256),
        port: whole(fields, 'port', 0, 65535),
        takeover: flag(fields, 'takeover'),
      };
    case 'unlisten':
      return { op, name: text(fields, 'name', 256) };
    case 'shutdown':
      return { op, force: flag(fields, 'force') };
    default:
      throw new Failure('unsupported', { message: `This keeper does not know the request “${op.slice(0, 32)}”.` });
  }
}

/** The id and fields of a line; null when it is no request at all. */
export function parseEnvelope(value: unknown): { readonly id: number; readonly fields: Fields } | null {
  if (!isFields(value) || typeof value['id'] !== 'number' || !Number.isSafeInteger(value['id'])) return null;
  return { id: value['id'], fields: value };
}
