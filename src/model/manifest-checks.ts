// Checks across a manifest: combinations that cannot be, names that lead nowhere, claims that clash. They look at what is there, field by
// field, so that they still run where another field of the same Entrypoint is wrong.

import { isRecord } from './manifest-fields.ts';
import type { At } from './manifest-fields.ts';
import { routeOf } from './effective.ts';
import { completeRoute, routeSection } from './manifest-route.ts';
import { runOf } from './manifest-defaults.ts';
import { routeKey } from './route-match.ts';
import { scheduleTrouble, timezoneTrouble } from './schedule.ts';

export type Report = (path: readonly PropertyKey[], message: string, at?: At) => void;

/** Fields that mean nothing to an Entrypoint that runs once and ends. */
const SERVICE_ONLY: readonly string[] = ['routes', 'instances', 'port', 'health', 'traffic', 'pages', 'rollout', 'singleton', 'disconnect'];

/** Checks one Entrypoint by what the file says of it; `raw` may have fields of a wrong type, which are reported elsewhere. */
export function checkEntrypoint(name: string, raw: Readonly<Record<string, unknown>>, report: Report): void {
  const path = ['entrypoints', name];
  const run = runOf({
    run:
      raw['run'] === 'service' || raw['run'] === 'before-deploy' || raw['run'] === 'manual' || raw['run'] === 'schedule'
        ? raw['run']
        : undefined,
    schedule: raw['schedule'] === undefined ? undefined : '',
  });
  if (run !== 'service') {
    for (const key of SERVICE_ONLY) {
      if (raw[key] !== undefined) report([...path, key], `has no meaning for an Entrypoint that ${WHAT_IT_DOES[run]}`, 'key');
    }
    if (raw['restart'] === 'always') report([...path, 'restart'], `cannot be always for an Entrypoint that ${WHAT_IT_DOES[run]}`);
  }
  if (raw['schedule'] !== undefined && run !== 'schedule') {
    report([...path, 'run'], `cannot be ${run} for an Entrypoint with a schedule; remove one of the two`);
  }
  if (raw['run'] === 'schedule' && raw['schedule'] === undefined) report([...path, 'run'], 'needs `schedule`, such as "0 3 * * *"');
  if (raw['schedule'] === undefined) {
    for (const key of ['timezone', 'overlap', 'missed']) {
      if (raw[key] !== undefined) report([...path, key], 'has no meaning without `schedule`', 'key');
    }
  }
  checkSchedule(path, raw, report);
  checkScale(path, raw, report);
  checkHealth(path, raw, report);
  checkDuplicates([...path, 'volumes'], raw['volumes'], ['name', 'path'], report);
  checkDuplicates([...path, 'files'], raw['files'], ['path'], report);
  const { traffic, container } = raw;
  if (isRecord(container) && isRecord(container['host'])) checkHostFolders(path, raw, container['host']['folders'], report);
  checkRoutes([...path, 'routes'], raw['routes'], isRecord(traffic) && traffic['protocol'] === 'h2c', report);
}

const WHAT_IT_DOES = {
  schedule: 'runs on a schedule',
  'before-deploy': 'runs before a Deployment',
  manual: 'runs on request',
} as const;

function checkSchedule(path: readonly PropertyKey[], raw: Readonly<Record<string, unknown>>, report: Report): void {
  const { schedule, timezone } = raw;
  const zoneTrouble = typeof timezone === 'string' ? timezoneTrouble(timezone) : null;
  if (zoneTrouble !== null) report([...path, 'timezone'], zoneTrouble);
  if (typeof schedule !== 'string') return;
  const trouble = scheduleTrouble(schedule);
  if (trouble !== null) report([...path, 'schedule'], trouble);
}

function checkScale(path: readonly PropertyKey[], raw: Readonly<Record<string, unknown>>, report: Report): void {
  const { singleton, instances, disconnect, rollout, placement } = raw;
  if (singleton === true && typeof instances === 'number' && instances > 1) {
    report([...path, 'instances'], `cannot be ${instances} for a singleton: never two of it run at once`);
  }
  if (disconnect !== undefined && singleton !== true) report([...path, 'disconnect'], 'has a meaning only with `singleton: true`', 'key');
  if (isRecord(rollout) && rollout['surge'] === 0 && (rollout['unavailable'] ?? 0) === 0) {
    report([...path, 'rollout'], 'with surge 0 and unavailable 0 no Instance could ever be replaced; raise one of them');
  }
  if (!isRecord(placement)) return;
  const { strategy, perNode } = placement;
  if ((strategy === 'fill' || strategy === 'each') && (perNode === undefined || perNode === 0)) {
    report([...path, 'placement', 'strategy'], `${strategy} needs \`perNode\`: how many Instances each of its Nodes gets`);
  }
}

function checkHealth(path: readonly PropertyKey[], raw: Readonly<Record<string, unknown>>, report: Report): void {
  const { health } = raw;
  if (!isRecord(health)) return;
  const probes = ['http', 'tcp', 'command'].filter((key) => health[key] !== undefined);
  if (probes.length > 1) report([...path, 'health', probes[1] ?? ''], `cannot stand next to ${probes[0] ?? ''}: choose one check`, 'key');
}

function checkDuplicates(path: readonly PropertyKey[], raw: unknown, keys: readonly string[], report: Report): void {
  if (!Array.isArray(raw)) return;
  for (const key of keys) {
    const seen = new Set<unknown>();
    for (const [index, item] of raw.entries()) {
      const value: unknown = isRecord(item) ? item[key] : undefined;
      if (typeof value !== 'string') continue;
      if (seen.has(value)) report([...path, index, key], `${value} is there twice`);
      seen.add(value);
    }
  }
}

/** Nothing else may be where a folder of the machine shall appear. */
function checkHostFolders(path: readonly PropertyKey[], raw: Readonly<Record<string, unknown>>, folders: unknown, report: Report): void {
  if (!Array.isArray(folders)) return;
  const others = ['volumes', 'files'].flatMap((key) => (Array.isArray(raw[key]) ? raw[key] : []));
  const taken = new Set(others.map((item: unknown) => (isRecord(item) ? item['path'] : undefined)));
  for (const [index, item] of folders.entries()) {
    if (!isRecord(item)) continue;
    const key = item['target'] === undefined ? 'path' : 'target';
    const target = item[key];
    if (typeof target !== 'string') continue;
    if (taken.has(target)) report([...path, 'container', 'host', 'folders', index, key], `something else is at ${target} already`);
    taken.add(target);
  }
}

function checkRoutes(path: readonly PropertyKey[], raw: unknown, isH2c: boolean, report: Report): void {
  if (!Array.isArray(raw)) return;
  const seen = new Set<string>();
  const authorities = new Map<string, string>();
  for (const [index, item] of raw.entries()) {
    const route = routeSection.safeParse(item);
    if (!route.success) continue;
    const { host, policy } = completeRoute(route.data);
    const authority = policy?.clientCertificates?.authority;
    // The handshake knows the host and nothing more.
    if (authority !== undefined && (authorities.get(host) ?? authority) !== authority)
      report([...path, index, 'clientCertificates', 'authority'], 'another Route of this host has another authority: a host has one');
    else if (authority !== undefined) authorities.set(host, authority);
    if (isH2c && policy?.onDemandCertificates !== undefined)
      report(
        [...path, index, 'onDemandCertificates'],
        'cannot be asked of an Entrypoint that speaks h2c: it is asked over HTTP/1.1',
        'key',
      );
    const key = routeKey(routeOf(completeRoute(route.data)));
    if (seen.has(key)) report([...path, index], 'the same route is there twice');
    seen.add(key);
  }
}
