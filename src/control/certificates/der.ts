// As much of DER (X.690) as a certificate needs, for writing only.

const CONSTRUCTED = 0x20;

function element(tag: number, content: Uint8Array): Buffer {
  const { length } = content;
  if (length < 0x80) return Buffer.concat([Buffer.of(tag, length), content]);
  const bytes: number[] = [];
  for (let rest = length; rest > 0; rest = Math.floor(rest / 256)) bytes.unshift(rest % 256);
  return Buffer.concat([Buffer.of(tag, 0x80 | bytes.length, ...bytes), content]);
}

export const sequence = (...items: readonly Uint8Array[]): Buffer => element(0x10 | CONSTRUCTED, Buffer.concat(items));
export const set = (...items: readonly Uint8Array[]): Buffer => element(0x11 | CONSTRUCTED, Buffer.concat(items));
export const octets = (content: Uint8Array): Buffer => element(0x04, content);
export const utf8 = (text: string): Buffer => element(0x0c, Buffer.from(text, 'utf8'));
export const boolean = (value: boolean): Buffer => element(0x01, Buffer.of(value ? 0xff : 0));
/** Context-specific; `constructed` where it holds elements. */
export const context = (tag: number, content: Uint8Array, constructed: boolean): Buffer =>
  element(0x80 | tag | (constructed ? CONSTRUCTED : 0), content);

/** A non-negative integer, most significant byte first. */
export function integer(bytes: Uint8Array): Buffer {
  let from = 0;
  while (from < bytes.length - 1 && bytes[from] === 0) from += 1;
  const rest = bytes.subarray(from);
  return element(0x02, (rest[0] ?? 0) >= 0x80 ? Buffer.concat([Buffer.of(0), rest]) : rest);
}

/** Named bits, the first one first; zeros at the end are left out (X.690 §11.2). */
export function namedBits(...bits: readonly boolean[]): Buffer {
  const last = bits.lastIndexOf(true);
  let byte = 0;
  for (let index = 0; index <= last; index += 1) if (bits[index] === true) byte |= 0x80 >> index;
  return element(0x03, last === -1 ? Buffer.of(0) : Buffer.of(7 - last, byte));
}

export const bitString = (content: Uint8Array): Buffer => element(0x03, Buffer.concat([Buffer.of(0), content]));

/** Dotted decimal. */
export function objectId(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  const bytes = [first * 40 + second];
  for (const arc of rest) {
    const groups: number[] = [];
    for (let left = arc; left > 0 || groups.length === 0; left = Math.floor(left / 128)) groups.unshift(left % 128);
    bytes.push(...groups.map((group, index) => (index === groups.length - 1 ? group : group | 0x80)));
  }
  return element(0x06, Buffer.from(bytes));
}

/** UTCTime until 2049, GeneralizedTime from 2050 on (RFC 5280 §4.1.2.5). */
export function time(ms: number): Buffer {
  const text = new Date(ms).toISOString().replaceAll(/[-:T]/gu, '').slice(0, 14);
  return Number(text.slice(0, 4)) < 2050 ? element(0x17, Buffer.from(`${text.slice(2)}Z`)) : element(0x18, Buffer.from(`${text}Z`));
}
