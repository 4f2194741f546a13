// Pages of a list that is already in order: the cursor names the key of the last item given, so that items which come or go between
// two pages neither shift nor repeat the others.

/** The items after the cursor, and the cursor for the next page; null at the end. `items` must rise by `keyOf`. */
export function pageOf<T>(
  items: readonly T[],
  query: { readonly limit: number; readonly cursor?: string | undefined },
  keyOf: (item: T) => string,
): { readonly items: readonly T[]; readonly next: string | null } {
  const after = query.cursor === undefined ? null : Buffer.from(query.cursor, 'base64url').toString();
  const rest = after === null ? items : items.filter((item) => keyOf(item) > after);
  const page = rest.slice(0, query.limit);
  const last = page.at(-1);
  return { items: page, next: rest.length > page.length && last !== undefined ? Buffer.from(keyOf(last)).toString('base64url') : null };
}
