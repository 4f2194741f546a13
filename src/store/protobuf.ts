// Protocol Buffers (https://protobuf.dev/programming-guides/encoding) as far as etcd's API needs them: a shape says what a message holds,
// and its type follows from it. Fields that a shape does not name are passed over, so a newer cluster may say more.

interface Kinds {
  readonly text: string;
  readonly bytes: Uint8Array;
  /** 64 bits of which no more than 53 are ever used. */
  readonly int: number;
  /** All of the 64 bits, as decimal digits. */
  readonly id: string;
  readonly flag: boolean;
}

interface Field<T> {
  readonly number: number;
  readonly kind: keyof Kinds | Shape<unknown>;
  readonly many: boolean;
  /** Phantom, so that T is kept. Never set. */
  readonly type?: T;
}

interface Named extends Field<unknown> {
  readonly name: string;
}

/** What a message holds. */
export interface Shape<T> {
  readonly fields: readonly Named[];
  readonly byNumber: ReadonlyMap<number, Named>;
  /** What a message holds of which nothing was said. */
  readonly empty: Readonly<Record<string, unknown>>;
  /** Phantom, so that T is kept. Never set. */
  readonly type?: T;
}

type Fields = Readonly<Record<string, Field<unknown>>>;
type Content<F extends Fields> = { readonly [K in keyof F]: F[K] extends Field<infer T> ? T : never };
export type MessageOf<S> = S extends Shape<infer T> ? T : never;
/** A message to be sent: what is left out is not said. */
export type Said<T> = T extends Uint8Array
  ? T
  : T extends readonly (infer U)[]
    ? readonly Said<U>[]
    : T extends object
      ? { readonly [K in keyof T]?: Said<T[K]> }
      : T;

const field = <T>(number: number, kind: Field<T>['kind'], many = false): Field<T> => ({ number, kind, many });
export const text = (number: number): Field<string> => field(number, 'text');
export const bytes = (number: number): Field<Uint8Array> => field(number, 'bytes');
export const int = (number: number): Field<number> => field(number, 'int');
export const id = (number: number): Field<string> => field(number, 'id');
export const flag = (number: number): Field<boolean> => field(number, 'flag');
export const one = <T>(number: number, shape: Shape<T>): Field<T | null> => field(number, shape);
export const many = <T>(number: number, shape: Shape<T>): Field<readonly T[]> => field(number, shape, true);

const EMPTY: Readonly<Record<keyof Kinds, unknown>> = { text: '', bytes: new Uint8Array(), int: 0, id: '0', flag: false };

export function shape<F extends Fields>(content: F): Shape<Content<F>> {
  const fields = Object.entries(content).map(([name, it]): Named => ({ ...it, name }));
  return {
    fields,
    byNumber: new Map(fields.map((it) => [it.number, it])),
    empty: Object.fromEntries(fields.map((it) => [it.name, it.many ? [] : typeof it.kind === 'string' ? EMPTY[it.kind] : null])),
  };
}

const WIRE = { varint: 0, fixed64: 1, delimited: 2, fixed32: 5 } as const;
const FIRST_BYTES = 1024;
const MAX_VARINT_BYTES = 10;

/** A message with `before` bytes of room in front of it. */
export function encode<T>(of: Shape<T>, value: Said<T>, before = 0): Buffer {
  // Written from its end, so that the length of what is inside is known when it is to be written before it.
  let buffer = Buffer.allocUnsafe(FIRST_BYTES);
  let at = buffer.length;
  const reserve = (count: number): number => {
    if (at < count) {
      const larger = Buffer.allocUnsafe(Math.max(buffer.length * 2, buffer.length + count));
      buffer.copy(larger, larger.length - (buffer.length - at), at);
      at += larger.length - buffer.length;
      buffer = larger;
    }
    return (at -= count);
  };
  const varint = (given: number): void => {
    let length = 1;
    for (let rest = given; rest >= 128; rest = Math.floor(rest / 128)) length += 1;
    let place = reserve(length);
    let rest = given;
    for (; rest >= 128; rest = Math.floor(rest / 128)) buffer[place++] = (rest % 128) | 128;
    buffer[place] = rest;
  };
  const large = (given: bigint): void => {
    const groups: number[] = [];
    let rest = BigInt.asUintN(64, given);
    for (; rest >= 128n; rest >>= 7n) groups.push(Number(rest & 127n) | 128);
    groups.push(Number(rest));
    const place = reserve(groups.length);
    buffer.set(groups, place);
  };
  const scalar = (kind: keyof Kinds, said: unknown): number => {
    switch (kind) {
      case 'text': {
        const string = String(said);
        const length = Buffer.byteLength(string);
        const place = reserve(length);
        buffer.write(string, place, length, 'utf8');
        varint(length);
        return WIRE.delimited;
      }
      case 'bytes': {
        // The shape says so.
        const content = said as Uint8Array;
        const place = reserve(content.length);
        buffer.set(content, place);
        varint(content.length);
        return WIRE.delimited;
      }
      case 'int':
        if (Number(said) < 0) large(BigInt(Number(said)));
        else varint(Number(said));
        return WIRE.varint;
      case 'id':
        large(BigInt(String(said)));
        return WIRE.varint;
      case 'flag':
        varint(said === true ? 1 : 0);
        return WIRE.varint;
    }
  };
  const message = (its: Shape<unknown>, said: Readonly<Record<string, unknown>>): void => {
    for (let index = its.fields.length - 1; index >= 0; index -= 1) {
      const each = its.fields[index];
      const content = each === undefined ? undefined : said[each.name];
      if (each === undefined || content === undefined || content === null) continue;
      // The shape says so.
      const items = each.many ? (content as readonly unknown[]) : [content];
      for (let item = items.length - 1; item >= 0; item -= 1) {
        const { kind } = each;
        if (typeof kind === 'string') varint(each.number * 8 + scalar(kind, items[item]));
        else {
          const end = buffer.length - at;
          // The shape says so.
          message(kind, items[item] as Readonly<Record<string, unknown>>);
          varint(buffer.length - at - end);
          varint(each.number * 8 + WIRE.delimited);
        }
      }
    }
  };
  // A message is an object by the names of its shape.
  message(of, value as Readonly<Record<string, unknown>>);
  reserve(before);
  return buffer.subarray(at);
}

/** Throws where it is no message. */
export function decode<T>(of: Shape<T>, buffer: Buffer): T {
  // The fields of the shape, each of its kind.
  return decodePart(of, buffer, { at: 0 }, buffer.length) as T;
}

interface Cursor {
  at: number;
}

function decodePart(of: Shape<unknown>, buffer: Buffer, cursor: Cursor, end: number): Readonly<Record<string, unknown>> {
  const message: Record<string, unknown> = { ...of.empty };
  while (cursor.at < end) {
    const tag = readVarint(buffer, cursor);
    const wire = tag % 8;
    const known = of.byNumber.get(Math.floor(tag / 8));
    if (wire === WIRE.varint) {
      const from = cursor.at;
      const number = readVarint(buffer, cursor);
      if (known === undefined) continue;
      if (known.kind === 'flag') message[known.name] = number !== 0;
      else if (known.kind === 'int' && number < Number.MAX_SAFE_INTEGER) message[known.name] = number;
      else {
        const whole = BigInt.asIntN(64, readLarge(buffer, from));
        message[known.name] = known.kind === 'id' ? String(whole) : Number(whole);
      }
      continue;
    }
    const length = wire === WIRE.delimited ? readVarint(buffer, cursor) : wire === WIRE.fixed64 ? 8 : wire === WIRE.fixed32 ? 4 : Infinity;
    const stop = cursor.at + length;
    if (stop > end) throw new Error('a message of the etcd cluster is broken off');
    if (known !== undefined && wire === WIRE.delimited) {
      const content = delimited(known, buffer, cursor, stop);
      // A list was made for it below, at the first.
      if (!known.many) message[known.name] = content;
      else if (message[known.name] === of.empty[known.name]) message[known.name] = [content];
      else (message[known.name] as unknown[]).push(content);
    }
    cursor.at = stop;
  }
  return message;
}

function delimited({ kind }: Named, buffer: Buffer, cursor: Cursor, stop: number): unknown {
  if (kind === 'text') return buffer.toString('utf8', cursor.at, stop);
  if (kind === 'bytes') return buffer.subarray(cursor.at, stop);
  if (typeof kind === 'string') throw new Error(`a message of the etcd cluster has a text where a number belongs`);
  return decodePart(kind, buffer, cursor, stop);
}

function readVarint(buffer: Buffer, cursor: Cursor): number {
  let result = 0;
  let weight = 1;
  for (let count = 0; count < MAX_VARINT_BYTES; count += 1) {
    const byte = buffer[cursor.at];
    if (byte === undefined) break;
    cursor.at += 1;
    result += (byte & 127) * weight;
    if (byte < 128) return result;
    weight *= 128;
  }
  throw new Error('a number in a message of the etcd cluster is broken off');
}

function readLarge(buffer: Buffer, from: number): bigint {
  let result = 0n;
  for (let at = from, shift = 0n; ; at += 1, shift += 7n) {
    const byte = buffer[at] ?? 0;
    result |= BigInt(byte & 127) << shift;
    if (byte < 128) return result;
  }
}
