// The headers of a tar file (POSIX.1-2001 pax interchange format, the ustar layout of IEEE Std 1003.1 "pax"), reduced to what a bundle
// holds: owner, group and times are always 0. Reading foreign archives is the job of a library; these few fields are ours, so that equal
// folders give equal bytes for good.

import type { BundleEntry } from './bundle-scan.ts';

const BLOCK = 512;
const NAME_BYTES = 100;
const MAX_OCTAL_SIZE = 8 ** 11 - 1;

/** Two empty blocks end an archive. */
export const TAR_END: Uint8Array = new Uint8Array(2 * BLOCK);

const ZEROES = new Uint8Array(BLOCK);

/** What fills the last block of a file of this size. */
export function tarPadding(sizeBytes: number): Uint8Array {
  return ZEROES.subarray(0, (BLOCK - (sizeBytes % BLOCK)) % BLOCK);
}

/** The header of an entry, with a pax header in front where a name does not fit into 100 bytes. */
export function tarHeader(entry: BundleEntry): Uint8Array {
  const name = entry.kind === 'folder' ? `${entry.path}/` : entry.path;
  const target = entry.kind === 'link' ? entry.target : '';
  const sizeBytes = entry.kind === 'file' ? entry.sizeBytes : 0;
  const records = [
    ...(Buffer.byteLength(name) > NAME_BYTES ? [paxRecord('path', name)] : []),
    ...(Buffer.byteLength(target) > NAME_BYTES ? [paxRecord('linkpath', target)] : []),
    ...(sizeBytes > MAX_OCTAL_SIZE ? [paxRecord('size', String(sizeBytes))] : []),
  ];
  const mode = entry.kind === 'file' && !entry.executable ? 0o644 : 0o755;
  const type = entry.kind === 'file' ? '0' : entry.kind === 'link' ? '2' : '5';
  const header = ustar({ name, mode, sizeBytes, type, target });
  if (records.length === 0) return header;
  const body = Buffer.concat(records);
  return Buffer.concat([
    ustar({ name: 'pax', mode: 0o644, sizeBytes: body.length, type: 'x', target: '' }),
    body,
    tarPadding(body.length),
    header,
  ]);
}

interface Ustar {
  readonly name: string;
  readonly mode: number;
  readonly sizeBytes: number;
  readonly type: '0' | '2' | '5' | 'x';
  readonly target: string;
}

function ustar(fields: Ustar): Buffer {
  const block = Buffer.alloc(BLOCK);
  // What is cut here stands whole in the pax header.
  block.write(fields.name, 0, NAME_BYTES, 'utf8');
  block.write(octal(fields.mode, 7), 100, 'latin1');
  block.write(octal(0, 7), 108, 'latin1');
  block.write(octal(0, 7), 116, 'latin1');
  block.write(octal(Math.min(fields.sizeBytes, MAX_OCTAL_SIZE), 11), 124, 'latin1');
  block.write(octal(0, 11), 136, 'latin1');
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
