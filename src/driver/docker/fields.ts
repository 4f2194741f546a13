// What the engine answers, looked into field by field: whatever is missing or of another kind is taken for absent, never trusted.

/** The value at a path of keys; undefined where there is none. */
export function fieldOf(value: unknown, ...path: readonly string[]): unknown {
  let at: unknown = value;
  for (const key of path) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, key)) return undefined;
    at = Object.getOwnPropertyDescriptor(at, key)?.value;
  }
  return at;
}

export function textOf(value: unknown, ...path: readonly string[]): string | null {
  const found = fieldOf(value, ...path);
  return typeof found === 'string' ? found : null;
}

export function numberOf(value: unknown, ...path: readonly string[]): number | null {
  const found = fieldOf(value, ...path);
  return typeof found === 'number' ? found : null;
}

export function listOf(value: unknown, ...path: readonly string[]): readonly unknown[] {
  const found = fieldOf(value, ...path);
  return Array.isArray(found) ? found : [];
}

export function keysOf(value: unknown, ...path: readonly string[]): readonly string[] {
  const found = fieldOf(value, ...path);
  return typeof found === 'object' && found !== null ? Object.keys(found) : [];
}
