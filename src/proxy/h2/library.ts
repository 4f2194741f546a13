// What both sides have to know of node:http2: how it takes and gives fields (flat lists of lower-case names and values, or objects where
// it takes nothing else), and how a stream is broken off.

import type { OutgoingHttpHeaders } from 'node:http2';
import { FIELD, Fields, fieldName } from '../fields.ts';

/**
 * To destroy a stream with, so that RST_STREAM is all that is sent. `close(code)` would end its writable side first, and the other end
 * could take a part for the whole by the END_STREAM of it.
 */
export const BROKEN_OFF: Error = new Error('the message broke off');

/** What may not be said in HTTP/2 (RFC 9113 §8.2.2), and what the caller says itself. */
function crosses(kind: number): boolean {
  return kind === FIELD.plain || kind === FIELD.origin || kind === FIELD.trailer;
}

/** Adds the fields that cross to a flat list. */
export function pushFields(list: string[], { names, values }: Fields, withOrigin: boolean): void {
  for (let index = 0; index < names.length; index += 1) {
    const name = names[index];
    if (name !== undefined && crosses(name.kind) && (withOrigin || name.kind !== FIELD.origin)) list.push(name.lower, values[index] ?? '');
  }
}

/** An object without prototype surprises: every value is a list. */
export function fieldObject(fields: Fields): OutgoingHttpHeaders {
  const lists = new Map<string, string[]>();
  for (const [name, value] of fields.pairs()) {
    const list = lists.get(name);
    if (list === undefined) lists.set(name, [value]);
    else list.push(value);
  }
  return Object.fromEntries(lists);
}

/** From a trailer section; null where nothing in it may cross. */
export function trailersOf(raw: readonly string[]): Fields | null {
  const fields = new Fields();
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = fieldName(raw[index] ?? '');
    const value = raw[index + 1] ?? '';
    if (name?.inTrailers === true && VALUE.test(value)) fields.push(name, value);
  }
  return fields.size === 0 ? null : fields;
}

const VALUE = /^[\t\x20-\x7e\x80-\xff]*$/u;
