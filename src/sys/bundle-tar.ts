// The headers of a tar file (POSIX.1-2001 pax interchange format, the ustar layout of IEEE Std 1003.1 "pax"). Of a bundle owner, group and
// times are always 0. Reading foreign archives is the job of a library; these few fields are ours, so that equal folders give equal bytes
// for good.

import type { BundleEntry } from './bundle-scan.ts';

const BLOCK = 512;
const NAME_BYTES = 100;
const MAX_OCTAL_SIZE = 8 ** 11 - 1;
const MAX_OCTAL_ID = 8 ** 7 - 1;

/** Two empty blocks end an archive. */
export const TAR_END: Uint8Array = new Uint8Array(2 * BLOCK);

const ZEROES = new Uint8Array(BLOCK);

/** What fills the last block of a file of this size. */
export function tarPadding(sizeBytes: number): Uint8Array {
  return ZEROES.subarray(0, (BLOCK - (sizeBytes % BLOCK)) % BLOCK);
}

/** The header of an entry of a bundle. */
export function tarHeader(entry: BundleEntry): Uint8Array {
  return entryHeader({
    name: entry.path,
    kind: entry.kind,
    mode: entry.kind === 'file' && !entry.executable ? 0o644 : 0o755,
    sizeBytes: entry.kind === 'file' ? entry.sizeBytes : 0,
    target: entry.kind === 'link' ? entry.target : '',
  });
}

export interface EntryFields {
  readonly name: string;
  readonly kind: keyof typeof TYPES;
  readonly mode: number;
  /** Of a file; else 0. */
  readonly sizeBytes: number;
  /** Of a link. */
  readonly target: string;
  /** Default 0, as all that follows. */
  readonly modifiedMs?: number;
  readonly uid?: number;
  readonly gid?: number;
}

const TYPES = { file: '0', hardlink: '1', link: '2', folder: '5' } as const;

/** The header of any entry, with a pax header in front where a name does not fit into 100 bytes. */
export function entryHeader({ kind, target, sizeBytes, ...entry }: EntryFields): Uint8Array {
  const name = kind === 'folder' ? `${entry.name}/` : entry.name;
  const { mode, modifiedMs = 0, uid = 0, gid = 0 } = entry;
  const records = [
    ...(Buffer.byteLength(name) > NAME_BYTES ? [paxRecord('path', name)] : []),
    ...(Buffer.byteLength(target) > NAME_BYTES ? [paxRecord('linkpath', target)] : []),
    ...(sizeBytes > MAX_OCTAL_SIZE ? [paxRecord('size', String(sizeBytes))] : []),
    ...(uid > MAX_OCTAL_ID ? [paxRecord('uid', String(uid))] : []),
    ...(gid > MAX_OCTAL_ID ? [paxRecord('gid', String(gid))] : []),
  ];
  const header = ustar({ name, mode, sizeBytes, type: TYPES[kind], target, modifiedS: Math.floor(modifiedMs / 1000), uid, gid });
  if (records.length === 0) return header;
  const body = Buffer.concat(records);
  return Buffer.concat([
    ustar({ name: 'pax', mode: 0o644, sizeBytes: body.length, type: 'x', target: '', modifiedS: 0, uid: 0, gid: 0 }),
    body,
    tarPadding(body.length),
    header,
  ]);
}

interface Ustar {
  readonly name: string;
  readonly mode: number;
  readonly sizeBytes: number;
  readonly type: (typeof TYPES)[keyof typeof TYPES] | 'x';
  readonly target: string;
  readonly modifiedS: number;
  readonly uid: number;
  readonly gid: number;
}

function ustar(fields: Ustar): Buffer {
  const block = Buffer.alloc(BLOCK);
  // What is cut here stands whole in the pax header.
  block.write(fields.name, 0, NAME_BYTES, 'utf8');
  block.write(octal(fields.mode, 7), 100, 'latin1');
  block.write(octal(Math.min(fields.uid, MAX_OCTAL_ID), 7), 108, 'latin1');
  block.write(octal(Math.min(fields.gid, MAX_OCTAL_ID), 7), 116, 'latin1');
  block.write(octal(Math.min(fields.sizeBytes, MAX_OCTAL_SIZE), 11), 124, 'latin1');
  block.write(octal(Math.min(Math.max(0, fields.modifiedS), MAX_OCTAL_SIZE), 11), 136, 'latin1');
  block.fill(' ', 148, 156);
  block.write(fields.type, 156, 'latin1');
  block.write(fields.target, 157, NAME_BYTES, 'utf8');
  block.write('ustar\u000000', 257, 'latin1');
  let sum = 0;
  for (const byte of block) sum += byte;
  block.write(`${octal(sum, 6)}\u0000 `, 148, 'latin1');
  return block;
}

function octal(value: number, digits: number): string {
  return value.toString(8).padStart(digits, '0');
}

/** `<length> <key>=<value>\n`, where the length counts itself. */
function paxRecord(key: string, value: string): Buffer {
  const rest = ` ${key}=${value}\n`;
  const restBytes = Buffer.byteLength(rest);
  let length = restBytes + String(restBytes).length;
  if (restBytes + String(length).length !== length) length = restBytes + String(length).length;
  return Buffer.from(`${length}${rest}`, 'utf8');
}
