// The header that a load balancer puts in front of a connection to say whose it is (PROXY protocol, versions 1 and 2, as HAProxy
// specifies them). Pure and incremental: bytes in, the header and what lies behind it out. One reading or a refusal, nothing guessed,
// and never more kept than the longest header that is allowed.

import net from 'node:net';

export interface Endpoint {
  readonly address: string;
  readonly port: number;
}

export interface ProxyHeader {
  readonly version: 1 | 2;
  /** null: the balancer speaks for itself (a health check) or does not know; the socket's own address counts. */
  readonly source: Endpoint | null;
  readonly destination: Endpoint | null;
}

export type ProxyHeaderResult =
  | { readonly type: 'more' }
  | { readonly type: 'header'; readonly header: ProxyHeader; readonly rest: Buffer }
  | { readonly type: 'refused'; readonly why: string };

export interface ProxyHeaderReader {
  /** Takes the next bytes. After anything but `more` the reader is used up. */
  push(chunk: Buffer): ProxyHeaderResult;
}

const SIGNATURE = Buffer.from([0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a]);
const V1_START = Buffer.from('PROXY ');
/** §2.1: the longest line with its end. */
const V1_BYTES = 107;
const V2_START_BYTES = 16;
/** Addresses and TLVs; the format would allow 64 KiB, what balancers send is below 1 KiB. */
const V2_BYTES = 4_096;
const CRC32C = 0x03;

const MORE: ProxyHeaderResult = { type: 'more' };
const refused = (why: string): ProxyHeaderResult => ({ type: 'refused', why: `PROXY protocol: ${why}` });

export function createProxyHeaderReader(): ProxyHeaderReader {
  let held: Buffer = Buffer.alloc(0);
  return {
    push: (chunk) => {
      held = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
      if (startsAs(held, SIGNATURE)) return readV2(held);
      if (startsAs(held, V1_START)) return readV1(held);
      return refused('the connection does not begin with a header');
    },
  };
}

/** True while nothing differs as far as both go. */
function startsAs(data: Buffer, start: Buffer): boolean {
  const length = Math.min(data.length, start.length);
  return data.subarray(0, length).equals(start.subarray(0, length));
}

function readV1(data: Buffer): ProxyHeaderResult {
  const end = data.subarray(0, V1_BYTES).indexOf('\r\n');
  if (end === -1) return data.length >= V1_BYTES ? refused('the line does not end') : MORE;
  const rest = data.subarray(end + 2);
  const words = data.toString('latin1', V1_START.length, end).split(' ');
  // What follows UNKNOWN is to be ignored.
  if (words[0] === 'UNKNOWN') return { type: 'header', header: { version: 1, source: null, destination: null }, rest };
  const [family = '', from = '', to = '', fromPort = '', toPort = '', ...more] = words;
  const isAddress = family === 'TCP4' ? net.isIPv4 : family === 'TCP6' ? isPlainIPv6 : null;
  if (isAddress === null) return refused('the family is unknown');
  if (more.length > 0 || !isAddress(from) || !isAddress(to)) return refused('the addresses are not valid');
  const source = { address: plain(from), port: portOf(fromPort) };
  const destination = { address: plain(to), port: portOf(toPort) };
  if (source.port === -1 || destination.port === -1) return refused('the ports are not valid');
  return { type: 'header', header: { version: 1, source, destination }, rest };
}

const isPlainIPv6 = (text: string): boolean => net.isIPv6(text) && !text.includes('%');

function portOf(text: string): number {
  const port = /^(?:0|[1-9]\d{0,4})$/u.test(text) ? Number(text) : -1;
  return port <= 65_535 ? port : -1;
}

/** An IPv4 address in IPv6 form as IPv4, so that rules about it hold. */
function plain(address: string): string {
  const lower = address.toLowerCase();
  const mapped = lower.startsWith('::ffff:') ? lower.slice(7) : '';
  return net.isIPv4(mapped) ? mapped : lower;
}

function readV2(data: Buffer): ProxyHeaderResult {
  if (data.length < V2_START_BYTES) return MORE;
  const versionAndCommand = data.readUInt8(12);
  if (versionAndCommand >> 4 !== 2) return refused('the version is not 2');
  const command = versionAndCommand & 0x0f;
  if (command > 1) return refused('the command is unknown');
  const length = data.readUInt16BE(14);
  if (length > V2_BYTES) return refused(`the header is longer than ${V2_BYTES} bytes`);
  const end = V2_START_BYTES + length;
  if (data.length < end) return MORE;
  const rest = data.subarray(end);
  const nobody: ProxyHeaderResult = { type: 'header', header: { version: 2, source: null, destination: null }, rest };
  // LOCAL: whatever stands there is to be skipped.
  if (command === 0) return nobody;
  const family = data.readUInt8(13);
  switch (family) {
    case 0x00:
      return nobody;
    case 0x11:
      return readAddresses(data, end, 4, rest);
    case 0x21:
      return readAddresses(data, end, 16, rest);
    default:
      return refused('the family is not TCP over IPv4 or IPv6');
  }
}

function readAddresses(data: Buffer, end: number, bytes: 4 | 16, rest: Buffer): ProxyHeaderResult {
  const ports = V2_START_BYTES + 2 * bytes;
  const tlvs = ports + 4;
  if (tlvs > end) return refused('the addresses are cut off');
  const why = checkTlvs(data.subarray(0, end), tlvs);
  if (why !== null) return refused(why);
  const at = (from: number): string => addressText(data.subarray(from, from + bytes));
  const source = { address: at(V2_START_BYTES), port: data.readUInt16BE(ports) };
  const destination = { address: at(V2_START_BYTES + bytes), port: data.readUInt16BE(ports + 2) };
  return { type: 'header', header: { version: 2, source, destination }, rest };
}

/** Why the values behind the addresses are not whole, or do not agree with their check sum; null where they do. */
function checkTlvs(header: Buffer, from: number): string | null {
  let at = from;
  while (at < header.length) {
    if (at + 3 > header.length) return 'a value is cut off';
    const type = header.readUInt8(at);
    const length = header.readUInt16BE(at + 1);
    const value = at + 3;
    if (value + length > header.length) return 'a value is cut off';
    if (type === CRC32C) {
      if (length !== 4) return 'the check sum is not 4 bytes';
      const zeroed = Buffer.from(header);
      zeroed.fill(0, value, value + 4);
      if (crc32c(zeroed) !== header.readUInt32BE(value)) return 'the check sum is wrong';
    }
    at = value + length;
  }
  return null;
}

function addressText(bytes: Buffer): string {
  if (bytes.length === 4) return bytes.join('.');
  const isMapped = bytes.subarray(0, 10).every((byte) => byte === 0) && bytes.readUInt16BE(10) === 0xffff;
  if (isMapped) return bytes.subarray(12).join('.');
  const groups = Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(index * 2).toString(16));
  return compress(groups);
}

/** RFC 5952 §4.2: the first of the longest runs of zeros, of two groups at least, as `::`. */
function compress(groups: readonly string[]): string {
  let best = { from: 0, length: 1 };
  let length = 0;
  groups.forEach((group, index) => {
    length = group === '0' ? length + 1 : 0;
    if (length > best.length) best = { from: index + 1 - length, length };
  });
  if (best.length < 2) return groups.join(':');
  return `${groups.slice(0, best.from).join(':')}::${groups.slice(best.from + best.length).join(':')}`;
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit += 1) value = (value & 1) === 0 ? value >>> 1 : (value >>> 1) ^ 0x82f63b78;
  return value;
});

/** CRC-32C (Castagnoli), RFC 3720 appendix B.4. */
export function crc32c(data: Buffer): number {
  let value = 0xffffffff;
  for (const byte of data) value = (value >>> 8) ^ (CRC_TABLE[(value ^ byte) & 0xff] ?? 0);
  return (value ^ 0xffffffff) >>> 0;
}
