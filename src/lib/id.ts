// Identifiers and randomness. Record keys are UUIDv7 (RFC 9562 §5.7): they sort by creation time and never change.

export interface Random {
  /** `length` random bytes, cryptographically strong outside of tests. */
  bytes(length: number): Uint8Array;
}

/** Each draw costs, however little it brings. */
const POOL_BYTES = 4096;
const pool = new Uint8Array(POOL_BYTES);
let used = POOL_BYTES;

export const systemRandom: Random = {
  bytes: (length) => {
    if (length > POOL_BYTES / 8) return crypto.getRandomValues(new Uint8Array(length));
    if (used + length > POOL_BYTES) {
      crypto.getRandomValues(pool);
      used = 0;
    }
    const drawn = pool.slice(used, used + length);
    // Nobody else shall find it there.
    pool.fill(0, used, used + length);
    used += length;
    return drawn;
  },
};

/** A repeatable source for tests (mulberry32); not for secrets. */
export function createSeededRandom(seed: number): Random & { next(): number } {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  return { next, bytes: (length) => Uint8Array.from({ length }, () => Math.floor(next() * 256)) };
}

const HEX = Array.from({ length: 256 }, (_unused, byte) => byte.toString(16).padStart(2, '0'));
let lastMs = 0;
let counter = 0;

/** A UUIDv7; within one process strictly increasing even inside a millisecond (RFC 9562 §6.2, method 1: a 12-bit counter in rand_a). */
export function newId(nowMs: number = Date.now(), random: Random = systemRandom): string {
  if (nowMs > lastMs) {
    lastMs = nowMs;
    counter = 0;
  } else {
    counter += 1;
    if (counter > 0xfff) {
      lastMs += 1;
      counter = 0;
    }
  }
  const bytes = random.bytes(16);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, Math.floor(lastMs / 2 ** 16));
  view.setUint16(4, lastMs % 2 ** 16);
  view.setUint16(6, 0x7000 | counter);
  view.setUint8(8, 0x80 | (view.getUint8(8) & 0x3f));
  let hex = '';
  for (const byte of bytes) hex += HEX[byte];
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

/** An id and those that follow it, always the same: whoever repeats a write of several records names them again. */
export function idsFrom(first: string, count: number): string[] {
  const [head, tail] = [first.slice(0, -12), BigInt(`0x${first.slice(-12)}`)];
  return Array.from(
    { length: count },
    (_unused, index) =>
      head +
      BigInt.asUintN(48, tail + BigInt(index))
        .toString(16)
        .padStart(12, '0'),
  );
}

/**
 * Ids for what happens thousands of times a second: 64 random bits for this source and a serial number. Unique, cheap, and no secret.
 */
export function createSerialIds(random: Random = systemRandom): () => string {
  let source = '';
  for (const byte of random.bytes(8)) source += byte.toString(16).padStart(2, '0');
  let serial = 0;
  return () => {
    serial += 1;
    return `${source}-${serial.toString(36)}`;
  };
}

const HEX_DIGITS = Uint8Array.from('0123456789abcdef', (digit) => digit.charCodeAt(0));
const HEX_POOL_BYTES = 2_048;

/** Random lower-case hexadecimal digits, drawn from the source in large pieces since each draw costs. At most 64 at once. */
export function createHexSource(random: Random = systemRandom): (digits: number) => string {
  const ascii = new TextDecoder();
  let pool = '';
  let at = 0;
  return (digits) => {
    if (at + digits > pool.length) {
      const bytes = random.bytes(HEX_POOL_BYTES);
      const text = new Uint8Array(2 * HEX_POOL_BYTES);
      for (let index = 0; index < HEX_POOL_BYTES; index += 1) {
        const byte = bytes[index] ?? 0;
        text[2 * index] = HEX_DIGITS[byte >> 4] ?? 0;
        text[2 * index + 1] = HEX_DIGITS[byte & 15] ?? 0;
      }
      pool = ascii.decode(text);
      at = 0;
    }
    at += digits;
    return pool.slice(at - digits, at);
  };
}

/** An unguessable token of 256 bits, URL-safe, with a prefix that names its kind. */
export function newToken(prefix: string, random: Random = systemRandom): string {
  let text = '';
  for (const byte of random.bytes(32)) text += byte.toString(16).padStart(2, '0');
  return `${prefix}_${text}`;
}
