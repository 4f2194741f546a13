// Paths and header fields as a Route changes them. What comes of a path is canonical again, or nothing.

import { compilePattern } from '../../model/patterns.ts';
import { canonicalTarget } from '../../model/request-target.ts';
import type { RouteConditions } from '../../model/route-match.ts';
import type { HeaderEdits, PathEdit } from '../../model/route-policy.ts';
import type { Fields } from '../../proxy/fields.ts';

/** From a canonical path to another one; null where what comes of it is no path. */
export type EditPath = (path: string) => string | null;

export function createPathEdit(edit: PathEdit, route: RouteConditions): EditPath {
  const canonical = (path: string): string | null => {
    const target = canonicalTarget('GET', path, 'localhost');
    return target.type === 'bad' || target.query !== '' ? null : target.path;
  };
  switch (edit.kind) {
    case 'full':
      return () => canonical(edit.value);
    case 'prefix': {
      const covered = route.path.replace(/\/+$/u, '').length;
      const prefix = edit.value.replace(/\/+$/u, '');
      return (path) => canonical(`${prefix}${path.slice(covered)}` || '/');
    }
    case 'pattern': {
      const pattern = compilePattern(route.path);
      return (path) => {
        const groups = pattern.match(path);
        return groups === null ? null : canonical(edit.value.replace(/\$(\d)/gu, (_text, digit: string) => groups[Number(digit)] ?? ''));
      };
    }
  }
}

export function editFields(fields: Fields, { remove, set, add }: HeaderEdits): void {
  for (const name of remove ?? []) fields.delete(name.toLowerCase());
  for (const [name, value] of Object.entries(set ?? {})) fields.set(name, value);
  for (const [name, value] of Object.entries(add ?? {})) fields.add(name, value);
}
