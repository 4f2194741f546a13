// Checks between the parts of a manifest: references that lead nowhere and claims of two Entrypoints on the same thing.

import type { Report } from './manifest-checks.ts';
import { listensOf, runOf } from './manifest-defaults.ts';
import { isRecord } from './manifest-fields.ts';
import type { BuildInput, EntrypointInput, EnvironmentInput } from './manifest-schema.ts';
import { nearest } from './nearest.ts';
import { parseUse, serviceText, serviceVariable } from './service-policy.ts';
import { matchOf, placeOf } from './manifest-route.ts';
import { routeKey } from './route-match.ts';
import { placeText } from './route-text.ts';

/** The parts that could be read; what could not has been reported already and is absent here. */
export interface ManifestParts {
  readonly build: BuildInput | undefined;
  /** False where a build is in the file but could not be read: then nobody knows what it makes. */
  readonly buildKnown: boolean;
  readonly entrypoints: ReadonlyMap<string, EntrypointInput>;
  /** Names of all Entrypoints in the file, readable or not. */
  readonly entrypointNames: readonly string[];
  readonly provides: ReadonlyMap<string, { readonly entrypoint: string }>;
  readonly uses: readonly string[];
  readonly environments: ReadonlyMap<string, EnvironmentInput>;
}

export function checkWhole(parts: ManifestParts, report: Report): void {
  checkBuild(parts.build, report);
  checkCommands(parts, report);
  checkReferences(parts, report);
  checkUses(parts.uses, report);
  checkPorts(parts, report);
  checkRouteClaims(parts, report);
  checkEnvironments(parts, report);
}

function checkBuild(build: BuildInput | undefined, report: Report): void {
  if (build === undefined) return;
  const kinds = (['image', 'dockerfile', 'static'] as const).filter((key) => build[key] !== undefined);
  const [first, second] = kinds;
  if (first === undefined) return;
  if (second !== undefined) report(['build', second], `cannot stand next to ${first}: choose one`, 'key');
  if (build.base !== undefined) report(['build', 'base'], `has no meaning next to ${first}`, 'key');
  if (build.commands !== undefined && first !== 'static') report(['build', 'commands'], `has no meaning next to ${first}`, 'key');
}

const isImage = (build: BuildInput | undefined): boolean => build?.image !== undefined || build?.dockerfile !== undefined;

const runsImage = ({ build }: ManifestParts, input: EntrypointInput): boolean => input.image !== undefined || isImage(build);

function checkCommands(parts: ManifestParts, report: Report): void {
  const { build } = parts;
  if (!parts.buildKnown) return;
  for (const [name, input] of parts.entrypoints) {
    if (input.command !== undefined || runsImage(parts, input)) continue;
    if (name === 'web' && build?.static !== undefined) continue;
    report(['entrypoints', name, 'command'], 'is missing: expected the command that starts it, such as node server.js', 'key');
  }
  if (parts.entrypointNames.length === 0 && !isImage(build) && build?.static === undefined) {
    report(['entrypoints'], 'is missing: expected at least one Entrypoint, such as `web: { command: node server.js }`', 'key');
  }
}

/** Each has one address, which stands in one variable. */
function checkUses(uses: readonly string[], report: Report): void {
  const seen = new Map<string, string>();
  for (const [index, use] of uses.entries()) {
    const service = parseUse(use);
    const variable = serviceVariable(service);
    const other = seen.get(variable);
    if (other === undefined) seen.set(variable, use);
    else if (serviceText(parseUse(other)) === serviceText(service)) report(['uses', index], `${use} is the same Service as ${other}`);
    else report(['uses', index], `the address of ${use} would stand in ${variable}, as that of ${other}: rename one of the Services`);
  }
}

function unknownEntrypoint(name: string, known: readonly string[]): string {
  const meant = nearest(name, known);
  const rest =
    meant === null
      ? known.length === 0
        ? ''
        : `; there ${known.length === 1 ? 'is' : 'are'} ${known.slice(0, 8).join(', ')}`
      : `; did you mean ${meant}?`;
  return `there is no Entrypoint ${name}${rest}`;
}

function checkReferences(parts: ManifestParts, report: Report): void {
  // A file without Entrypoints still has `web`, where the build makes something that runs by itself.
  const known = parts.entrypointNames.length === 0 ? ['web'] : parts.entrypointNames;
  for (const [service, { entrypoint }] of parts.provides) {
    if (!known.includes(entrypoint)) report(['provides', service, 'entrypoint'], unknownEntrypoint(entrypoint, known));
    const input = parts.entrypoints.get(entrypoint);
    if (input !== undefined && runOf(input) !== 'service') {
      report(['provides', service, 'entrypoint'], `the Entrypoint ${entrypoint} does not run all the time and cannot answer a Service`);
    }
  }
  for (const [entrypoint, { placement }] of parts.entrypoints) {
    for (const key of ['near', 'apart'] as const) {
      for (const [index, name] of (placement?.[key] ?? []).entries()) {
        const path = ['entrypoints', entrypoint, 'placement', key, index];
        const input = parts.entrypoints.get(name);
        if (!known.includes(name)) report(path, unknownEntrypoint(name, known));
        else if (key === 'near' && name === entrypoint) report(path, 'is this Entrypoint itself, which would never find a Node');
        else if (input !== undefined && runOf(input) !== 'service') report(path, `the Entrypoint ${name} does not run all the time`);
      }
    }
  }
  for (const [environment, section] of parts.environments) {
    for (const name of Object.keys(section.entrypoints ?? {})) {
      if (!known.includes(name)) report(['environments', environment, 'entrypoints', name], unknownEntrypoint(name, known), 'key');
    }
  }
}

function checkPorts(parts: ManifestParts, report: Report): void {
  const owners = new Map<number, string>();
  for (const [name, input] of parts.entrypoints) {
    const { port } = input;
    // That of an image is the port inside.
    if (port === undefined || runsImage(parts, input)) continue;
    const owner = owners.get(port);
    if (owner !== undefined) report(['entrypoints', name, 'port'], `the fixed port ${port} is taken by the Entrypoint ${owner}`);
    else owners.set(port, name);
  }
}

/** Routes of production; where `web` has none of its own it stands at the default host. */
function checkRouteClaims(parts: ManifestParts, report: Report): void {
  const owners = new Map<string, string>();
  const web = parts.entrypoints.get('web');
  if (web !== undefined && web.routes === undefined && listensOf('web', web, false))
    owners.set(routeKey({ host: '', path: '/', headers: {} }), 'web');
  for (const [name, { routes }] of parts.entrypoints) {
    for (const [index, route] of (routes ?? []).entries()) {
      const claimed = { host: route.host ?? '', ...placeOf(route.path), ...matchOf(route.match) };
      const key = routeKey(claimed);
      const owner = owners.get(key);
      if (owner === undefined) owners.set(key, name);
      else if (owner !== name) {
        report(
          ['entrypoints', name, 'routes', index],
          `${placeText({ ...claimed, host: route.host ?? 'the default host' })} already leads to the Entrypoint ${owner}`,
        );
      }
    }
  }
}

function checkEnvironments(parts: ManifestParts, report: Report): void {
  for (const [environment, section] of parts.environments) {
    for (const [name, change] of Object.entries(section.entrypoints ?? {})) {
      const input = parts.entrypoints.get(name);
      if (input === undefined) continue;
      const path = ['environments', environment, 'entrypoints', name];
      if (input.singleton === true && (change.instances ?? 0) > 1) {
        report([...path, 'instances'], `cannot be ${change.instances ?? 0} for a singleton: never two of it run at once`);
      }
      if (runOf(input) === 'service') continue;
      for (const key of ['instances', 'routes'] as const) {
        if (change[key] !== undefined) report([...path, key], `has no meaning for ${name}, which is not a service`, 'key');
      }
    }
  }
}

/** The keys of a mapping in the file, or none. */
export function keysOf(value: unknown): readonly string[] {
  return isRecord(value) ? Object.keys(value) : [];
}
