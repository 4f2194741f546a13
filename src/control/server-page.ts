// Pages of lists. A cursor is the sort key of the last item, packed so that nobody builds on its form; it never holds a store revision,
// stays valid over restarts, and goes on in the right place when the item that it names is gone.

import { Failure } from '../lib/failure.ts';

export interface PageQuery {
  readonly limit: number;
  readonly cursor?: string | undefined;
}

export interface PageOptions<T> {
  /** Tells lists apart, so that a cursor of another list is refused: `apps`. */
  readonly list: string;
  /** Unique in the list; the items are sorted by it (by UTF-16 code units). */
  readonly keyOf: (item: T) => string;
  readonly order: 'ascending' | 'descending';
}

/** The cursor that goes on after this key. */
export function cursorOf(list: string, key: string): string {
  return Buffer.from(JSON.stringify([1, list, key])).toString('base64url');
}

/** The key after which a cursor goes on. Throws `invalid_input` for one of another list. */
export function keyAfter(list: string, cursor: string): string {
  let parts: unknown;
  try {
    parts = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'));
  } catch {
    parts = null;
  }
  if (Array.isArray(parts) && parts.length === 3 && parts[0] === 1 && parts[1] === list && typeof parts[2] === 'string') return parts[2];
  throw new Failure('invalid_input', { message: 'The cursor does not belong to this list.', hint: 'Start again without a cursor.' });
}

/** The page of sorted `items` that the query asks for. Costs the logarithm of the list plus the page. */
export function pageOf<T>(
  items: readonly T[],
  query: PageQuery,
  options: PageOptions<T>,
): { readonly items: T[]; readonly next: string | null } {
  const { keyOf, order } = options;
  let start = 0;
  if (query.cursor !== undefined) {
    const after = keyAfter(options.list, query.cursor);
    const isBehind = (item: T): boolean => (order === 'ascending' ? keyOf(item) > after : keyOf(item) < after);
    let end = items.length;
    while (start < end) {
      const middle = (start + end) >> 1;
      const item = items[middle];
      if (item === undefined || isBehind(item)) end = middle;
      else start = middle + 1;
    }
  }
  const shown = items.slice(start, start + query.limit);
  const last = shown.at(-1);
  const more = start + shown.length < items.length;
  return { items: shown, next: more && last !== undefined ? cursorOf(options.list, keyOf(last)) : null };
}
