// What counts strongest (product.md §3): an Environment's override > `environments.<name>` > the Entrypoint > defaults. Pure rules; the
// caller lays the values of `libra env set` on top of what stands here.

import type { Environment } from './documents.ts';
import type { EntrypointSpec, EnvValue, Manifest, RouteSpec } from './manifest-types.ts';
import { PRODUCTION, defaultHost } from './names.ts';
import { routeKey } from './route-match.ts';
import type { RouteTo } from './route-match.ts';

function own<T>(record: Readonly<Record<string, T>>, key: string): T | undefined {
  return Object.hasOwn(record, key) ? record[key] : undefined;
}

/**
 * The Entrypoints as they run in this Environment, with its own instances, resources and routes in place. Explicit hosts belong to
 * production: elsewhere, without routes of its own, an Entrypoint keeps the paths and gets the default host instead (host ''), and where
 * two Entrypoints would then claim the same path, `web` has it, else the first one.
 */
export function effectiveEntrypoints(manifest: Manifest, environmentName: string): Readonly<Record<string, EntrypointSpec>> {
  const section = own(manifest.environments, environmentName);
  const claimed = new Set<string>();
  const routesElsewhere = (routes: readonly RouteSpec[]): readonly RouteSpec[] => {
    const moved: RouteSpec[] = [];
    for (const route of routes) {
      const key = routeKey(routeOf({ ...route, host: '' }));
      if (claimed.has(key)) continue;
      claimed.add(key);
      moved.push({ ...route, host: '' });
    }
    return moved;
  };
  const webFirst = Object.entries(manifest.entrypoints).sort(([a], [b]) => Number(b === 'web') - Number(a === 'web'));
  const result = new Map<string, EntrypointSpec>();
  for (const [name, spec] of webFirst) {
    const change = section === undefined ? undefined : own(section.entrypoints, name);
    let routes = change?.routes ?? spec.routes;
    if (change?.routes === undefined && environmentName !== PRODUCTION && spec.routes !== null) routes = routesElsewhere(spec.routes);
    if (routes === null && name === 'web') claimed.add(routeKey({ host: '', path: '/', headers: {} }));
    result.set(name, { ...spec, instances: change?.instances ?? spec.instances, resources: change?.resources ?? spec.resources, routes });
  }
  return Object.fromEntries(Object.entries(manifest.entrypoints).map(([name, spec]) => [name, result.get(name) ?? spec]));
}

/** A Route of a manifest as what it asks and does. */
export function routeOf({ host, path, pathType, match, policy }: RouteSpec): RouteTo {
  const headers = Object.fromEntries(Object.entries(match.headers).map(([name, value]) => [name.toLowerCase(), value]));
  return {
    ...match,
    host: host.toLowerCase(),
    path,
    headers,
    ...(pathType === undefined ? {} : { pathType }),
    ...(policy === undefined ? {} : { policy }),
  };
}

/** The declared variables of one Entrypoint in one Environment, weakest layer first: manifest, Entrypoint, Environment, Environment's Entrypoint. */
export function effectiveEnv(manifest: Manifest, environmentName: string, entrypoint: string): Readonly<Record<string, EnvValue>> {
  const section = own(manifest.environments, environmentName);
  return {
    ...manifest.env,
    ...own(manifest.entrypoints, entrypoint)?.env,
    ...section?.env,
    ...(section === undefined ? undefined : own(section.entrypoints, entrypoint)?.env),
  };
}

export interface WantedInstances {
  readonly instances: number;
  /** What decided. */
  readonly source: 'override' | 'environment' | 'entrypoint';
}

/**
 * How many Instances shall run. A singleton is never more than one; what is not a service has none of its own. `manifest` null: `spec` is
 * of a Deployment's snapshot and already holds the word of its Environment's section.
 */
export function wantedInstances(
  spec: EntrypointSpec,
  manifest: Manifest | null,
  environmentName: string,
  overrides: Environment['overrides'],
): WantedInstances {
  if (spec.run !== 'service') return { instances: 0, source: 'entrypoint' };
  const capped = (instances: number): number => (spec.singleton ? Math.min(1, instances) : instances);
  const scaled = own(overrides.entrypoints, spec.name)?.instances;
  if (scaled !== undefined) return { instances: capped(scaled), source: 'override' };
  const section = manifest === null ? undefined : own(manifest.environments, environmentName);
  const declared = section === undefined ? undefined : own(section.entrypoints, spec.name)?.instances;
  if (declared !== undefined) return { instances: capped(declared), source: 'environment' };
  return { instances: capped(spec.instances), source: 'entrypoint' };
}

/** The routes with every host filled in. `spec` comes from `effectiveEntrypoints` (or a Deployment's snapshot made of it). */
export function effectiveRoutes(spec: EntrypointSpec, app: string, environment: string, domain: string): readonly RouteSpec[] {
  const host = defaultHost(app, environment, domain);
  if (spec.routes === null) return spec.name === 'web' && spec.listens ? [{ host, path: '/', match: { headers: {} } }] : [];
  return spec.routes.map((route) => (route.host === '' ? { ...route, host } : route));
}

export interface SecretUse {
  readonly secret: string;
  readonly entrypoint: string;
  /** `env DATABASE_URL` or `file /etc/tls.key`. */
  readonly where: string;
}

/** Every place of every Entrypoint that a Secret of the Environment goes to. */
export function secretsUsed(manifest: Manifest, environmentName: string): readonly SecretUse[] {
  const uses: SecretUse[] = [];
  for (const [entrypoint, spec] of Object.entries(manifest.entrypoints)) {
    for (const [name, value] of Object.entries(effectiveEnv(manifest, environmentName, entrypoint))) {
      if (typeof value !== 'string') uses.push({ secret: value.secret, entrypoint, where: `env ${name}` });
    }
    for (const file of spec.files) uses.push({ secret: file.secret, entrypoint, where: `file ${file.path}` });
  }
  return uses;
}
