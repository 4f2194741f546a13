// The permission matrix as text, for people and for the golden file: a line per endpoint, a column per kind of principal.

import type { EndpointTable, Permission } from './endpoint.ts';

/** Lines sorted by path and method; `yes` where that principal's permissions contain what the endpoint needs. */
export function permissionMatrix(table: EndpointTable, permissionsOf: Readonly<Record<string, ReadonlySet<Permission>>>): string {
  const kinds = Object.keys(permissionsOf);
  const endpoints = Object.entries(table)
    .flatMap(([noun, verbs]) => Object.entries(verbs).map(([verb, endpoint]) => ({ name: `${noun}.${verb}`, endpoint })))
    .sort((a, b) => compareText(`${a.endpoint.path} ${a.endpoint.method}`, `${b.endpoint.path} ${b.endpoint.method}`));
  const rows = endpoints.map(({ name, endpoint }) => [
    name,
    `${endpoint.method} ${endpoint.path}`,
    endpoint.permission,
    endpoint.scope,
    ...kinds.map((kind) => (endpoint.permission === 'public' || permissionsOf[kind]?.has(endpoint.permission) === true ? 'yes' : '-')),
  ]);
  const all = [['endpoint', 'route', 'permission', 'scope', ...kinds], ...rows];
  const widths = (all[0] ?? []).map((_cell, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
  return all
    .map(
      (row) =>
        `${row
          .map((cell, column) => cell.padEnd(widths[column] ?? 0))
          .join('  ')
          .trimEnd()}\n`,
    )
    .join('');
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
