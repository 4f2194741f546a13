// The order of keys: by the bytes of their UTF-8, as SQLite and etcd sort. JavaScript's own `<` sorts by UTF-16 units, which differs for
// characters beyond U+FFFF.

const SURROGATE_START = 0xd800;

/** Where UTF-16 order and code point order differ, surrogates (beyond U+FFFF) must come after everything else. */
function rank(unit: number): number {
  if (unit < SURROGATE_START) return unit;
  return unit >= 0xe000 ? unit - 0x800 : unit + 0x2000;
}

/** Negative, 0 or positive, by UTF-8 bytes. */
export function compareKeys(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let index = 0; index < length; index += 1) {
    const left = a.charCodeAt(index);
    const right = b.charCodeAt(index);
    if (left !== right) return rank(left) - rank(right);
  }
  return a.length - b.length;
}

/** Index of the first of the sorted keys that is not less than `key`. */
export function lowerBound(keys: readonly string[], key: string): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compareKeys(keys[middle] ?? '', key) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}
