// What is explained is what happens: a thousand requests through a real Edge, among Routes of every kind.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RouteRule } from '../api/dataplane.ts';
import { createSeededRandom } from '../lib/id.ts';
import { explainRequest } from '../model/explain.ts';
import { loadPatterns } from '../model/patterns.ts';
import { createRouteTable } from '../model/route-table.ts';
import { call, group, startEdge, startInstance, text } from './edge-fixture.ts';

type Choose = <T>(...choices: readonly [T, ...T[]]) => T;

function withBeta(pick: Choose, wanted: boolean): RouteRule['headers'] {
  return wanted ? { 'x-beta': pick<RouteRule['headers'][string]>('1', { pattern: '[23]' }, { present: false }) } : {};
}

const REQUESTS = 1_000;
const SEEDS = [1, 2, 3, 4, 5];

test(`${REQUESTS} random requests go where it was explained that they would`, async (t) => {
  const edge = await startEdge();
  const names = ['g1', 'g2', 'g3'];
  const apps = await Promise.all(names.map((name) => startInstance(name, (_request, response) => text(response, name))));
  t.after(async () => {
    await edge.stop();
    await Promise.all(apps.map((app) => app.kill()));
  });
  await loadPatterns();
  const outcomes = new Map<string, number>();
  for (const seed of SEEDS) {
    const random = createSeededRandom(seed);
    const pick = <T>(...choices: readonly [T, ...T[]]): T => choices[Math.floor(random.next() * choices.length)] ?? choices[0];
    const maybe = <T extends object>(part: T): Partial<T> => (random.next() < 0.3 ? part : {});
    const segments = (): string =>
      Array.from({ length: Math.floor(random.next() * 4) }, () => `/${pick('a', 'b', 'v1', 'x%2Fy', 'ä')}`).join('') || '/';
    const rules: RouteRule[] = Array.from({ length: 30 }, () => ({
      host: pick('shop.localhost', 'blog.localhost', '*.localhost', '*.shop.localhost'),
      ...pick<Pick<RouteRule, 'path' | 'pathType'>>(
        { path: encodeURI(segments()).replaceAll('%25', '%') },
        { path: encodeURI(segments()).replaceAll('%25', '%'), pathType: 'exact' },
        { path: pick('/v\\d+(/.*)?', '/(a|b)/.*', '/[a-z]'), pathType: 'pattern' },
      ),
      headers: withBeta(pick, random.next() < 0.3),
      ...maybe({ methods: [pick('GET', 'POST')] }),
      ...maybe({ query: { q: pick<RouteRule['headers'][string]>('1', { present: true }) } }),
      ...maybe({ cookies: { c: pick<RouteRule['headers'][string]>('1', { pattern: '1.*' }) } }),
      ...maybe({ sources: [pick('127.0.0.0/8', '10.0.0.0/8')] }),
      group: pick('g1', 'g2', 'g3'),
    }));
    const table = createRouteTable(rules);
    await edge.install({ rules, groups: names.map((name, index) => group(name, apps[index] === undefined ? [] : [apps[index].target])) });
    for (let count = 0; count < REQUESTS / SEEDS.length; count += 1) {
      const host = pick('shop.localhost', 'SHOP.localhost.', 'blog.localhost', 'a.shop.localhost', 'a.b.shop.localhost', 'other.example');
      const method = pick('GET', 'POST', 'PUT');
      const target = `${pick('', '/.', '//')}${encodeURI(segments()).replaceAll('%25', '%')}${pick('', '?q=1', '?q', '?p=1&q=2')}`;
      const headers: Record<string, string> = {
        ...maybe({ 'x-beta': pick('1', '2', '3') }),
        ...maybe({ cookie: pick('c=1', 'c=12; d=1', 'd=1') }),
      };
      const explained = explainRequest(table, { method, target, host, headers: Object.entries(headers), address: '127.0.0.1' });
      const reply = await call(edge.port, host, target, { method, headers });
      const expected =
        explained.rule?.group ?? { found: 200, ambiguous: 400, bad_request: 400, no_path: 404, no_host: 404 }[explained.outcome];
      assert.equal(
        reply.status === 200 ? reply.body.toString() : reply.status,
        expected,
        JSON.stringify({ method, host, target, headers, explained }),
      );
      outcomes.set(explained.outcome, (outcomes.get(explained.outcome) ?? 0) + 1);
    }
  }
  t.diagnostic(JSON.stringify(Object.fromEntries(outcomes)));
  for (const outcome of ['found', 'no_path', 'no_host', 'ambiguous'])
    assert.ok((outcomes.get(outcome) ?? 0) > 5, `${outcome} is hardly ever met`);
});
