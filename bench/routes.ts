// Measures what a Route costs among ten and among fifty thousand: a lookup (other hosts, and other paths of one host), and one change, at
// control and at the Edge. Run: node bench/routes.ts [--json] [--check]

import { isDeepStrictEqual } from 'node:util';
import type { RouteGroup, RouteRule } from '../src/api/dataplane.ts';
import { createClaims } from '../src/control/routing/claims.ts';
import { createTableState } from '../src/dataplane/table-state.ts';
import { createGroups } from '../src/dataplane/groups.ts';
import { systemClock } from '../src/lib/clock.ts';
import { createRouteTable } from '../src/model/route-table.ts';
import type { MatchInput, RouteTable } from '../src/model/route-table.ts';
import { median, runBench } from './report.ts';
import type { Figure } from './report.ts';

const MANY = 50_000;
const FEW = 10;
const LOOKUPS = 200_000;
const ROUNDS = 9;

const figures: Figure[] = [];

const byHost = (index: number): RouteRule => ({ host: `app${index}.example.com`, path: '/', headers: {}, group: `e${index}/web` });
const byPath = (index: number): RouteRule => ({
  host: 'shop.example.com',
  path: `/service${index}/v1`,
  headers: {},
  group: `e${index}/web`,
});
const groupOf = (index: number, port: number): RouteGroup => ({
  id: `e${index}/web`,
  app: `app${index}`,
  environment: 'production',
  entrypoint: 'web',
  state: 'serving',
  targets: [{ instanceId: `i${index}`, deploymentId: 'd', nodeId: 'n', host: '127.0.0.1', port, state: 'active', drainUntilMs: null }],
});
const nothing = (): undefined => undefined;
const input = (host: string, path: string): MatchInput => ({
  host,
  path,
  method: 'GET',
  header: nothing,
  query: nothing,
  cookie: nothing,
  address: '10.0.0.1',
});

function lookupNs(table: RouteTable<RouteRule>, asked: readonly MatchInput[]): number {
  const began = systemClock.monotonic();
  let found = 0;
  for (let index = 0; index < LOOKUPS; index += 1) {
    const one = asked[index % asked.length];
    if (one !== undefined && table.match(one) !== null) found += 1;
  }
  if (found !== LOOKUPS) throw new Error(`${LOOKUPS - found} lookups found nothing`);
  return ((systemClock.monotonic() - began) * 1e6) / LOOKUPS;
}

/** The same ten are asked for in both tables, in turns. */
function compare(name: string, make: (index: number) => RouteRule, target: number): void {
  const build = (count: number): RouteTable<RouteRule> => createRouteTable(Array.from({ length: count }, (_, index) => make(index)));
  const [few, many] = [build(FEW), build(MANY)];
  const asked = Array.from({ length: FEW }, (_, index) => {
    const { host, path } = make(index);
    return input(host, `${path === '/' ? '' : path}/items/7`);
  });
  const ratios: number[] = [];
  const costs: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const small = lookupNs(few, asked);
    const large = lookupNs(many, asked);
    ratios.push(large / small);
    costs.push(large);
  }
  figures.push({ name: `lookup among ${MANY} ${name}`, value: median(costs), unit: 'ns' });
  figures.push({ name: `… against among ${FEW}`, value: median(ratios), unit: '×', target });
}

await runBench(async () => {
  compare('hosts', byHost, 1.2);
  compare('paths of one host', byPath, 1.2);

  const claims = createClaims(isDeepStrictEqual);
  for (let index = 0; index < MANY; index += 1)
    claims.change(`e${index}`, { environmentId: `e${index}`, createdAtMs: index, rules: [byHost(index)] });
  const changes: number[] = [];
  for (let round = 0; round < 200; round += 1) {
    const index = round * 37;
    const began = systemClock.monotonic();
    claims.change(`e${index}`, {
      environmentId: `e${index}`,
      createdAtMs: index,
      rules: [byHost(index), { ...byHost(index), path: `/new${round}` }],
    });
    changes.push(systemClock.monotonic() - began);
  }
  figures.push({ name: `one change of ${MANY} Routes at control, slowest of 200`, value: Math.max(...changes), unit: 'ms', target: 10 });

  const state = createTableState();
  const table = createRouteTable<RouteRule>([]);
  const groups = createGroups({
    clock: systemClock,
    probe: () => Promise.resolve(true),
    openPerTarget: 1000,
    openPerGroup: 1000,
    waitMs: 1000,
    waitingPerGroup: 1,
  });
  const apply = (message: Parameters<typeof state.apply>[0]): void => {
    const change = state.apply(message);
    if (change === null || change === 'gap') throw new Error('it changed nothing');
    for (const key of change.removeRules) table.remove(key);
    for (const rule of change.putRules.values()) table.put(rule);
    groups.change(change.putGroups, change.removeGroups);
  };
  const all = Array.from({ length: MANY }, (_, index) => index);
  const began = systemClock.monotonic();
  apply({ type: 'snapshot', sequence: 0, table: { rules: all.map(byHost), groups: all.map((index) => groupOf(index, 8000)) } });
  figures.push({ name: `a snapshot of ${MANY} Routes at the Edge`, value: systemClock.monotonic() - began, unit: 'ms' });
  const updates: number[] = [];
  for (let round = 0; round < 200; round += 1) {
    const index = round * 37;
    const rule = { ...byHost(index), path: `/new${round}` };
    const from = systemClock.monotonic();
    apply({ type: 'delta', sequence: round + 1, putRules: [rule], putGroups: [groupOf(index, 9000)], removeGroups: [] });
    if (table.match(input(rule.host, rule.path)) !== rule) throw new Error('the new Route is not found');
    updates.push(systemClock.monotonic() - from);
  }
  figures.push({ name: 'one change at the Edge, slowest of 200', value: Math.max(...updates), unit: 'ms', target: 10 });
  groups.stop();
  await Promise.resolve();
  return { bench: 'routes', figures };
});
