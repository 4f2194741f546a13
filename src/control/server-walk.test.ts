import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request as httpRequest } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { makeAuthority } from '../../test/fixtures/certificate.ts';
import type { Endpoint } from '../api/endpoint.ts';
import { table } from '../api/table.ts';
import type { ApiTable } from '../api/table.ts';
import { systemClock } from '../lib/clock.ts';
import { Failure } from '../lib/failure.ts';
import { newId, systemRandom } from '../lib/id.ts';
import { createMemoryStore } from '../store/memory.ts';
import { create } from '../store/records.ts';
import { createView } from '../store/view.ts';
import { silentLog } from '../sys/log.ts';
import { signInstanceToken } from '../tunnel/instance-token.ts';
import { appRecords, releaseRecords } from './apps/records.ts';
import { createInstanceAuth } from './auth/instances.ts';
import { LIBRAD_SERVICES, PERMISSIONS_OF } from './auth/permissions.ts';
import { createAuthorise } from './auth/scope.ts';
import { createAuthenticate, ensureToken } from './auth/tokens.ts';
import { nodeSpecRecords } from './cluster/records.ts';
import { allCollections } from './collections.ts';
import { environmentRecords, instanceSpecRecords } from './deploys/records.ts';
import type { HandlersOf } from './handler.ts';
import { createIdempotencyStore } from './server-idempotency.ts';
import { createServer } from './server.ts';
import type { Server } from './server.ts';
import { aNode, anApp, anEnvironment, anInstance, aRelease } from './test-context.ts';

const every = Object.entries(table).flatMap(([noun, verbs]) =>
  Object.entries(verbs).map(([verb, endpoint]: [string, Endpoint]) => ({ name: `${noun}.${verb}`, endpoint })),
);

interface Walk {
  readonly server: Server;
  readonly reached: Set<string>;
  readonly url: string;
  readonly credentials: Readonly<Record<Who, string | null>>;
  stop(): Promise<void>;
}
type Who = 'none' | 'wrong' | 'owner' | 'node' | 'edge' | 'instance';
const WHO: readonly Who[] = ['none', 'wrong', 'owner', 'node', 'edge', 'instance'];

/** The real table and the real credentials; handlers that only note that they were reached, and refuse as for a missing object. */
async function startWalk(): Promise<Walk> {
  const store = createMemoryStore({ clock: systemClock });
  const running = createView({ store, collections: allCollections, clock: systemClock });
  await running.start();
  const context = { view: running.view, clock: systemClock, random: systemRandom };
  const reached = new Set<string>();
  const stub = (name: string) => () => {
    reached.add(name);
    throw new Failure('not_found', { message: 'Reached the handler.' });
  };
  const authority = makeAuthority();
  const handlers = Object.fromEntries(
    Object.entries(table).map(([noun, verbs]) => [
      noun,
      // For sockets `check` is what runs before the upgrade.
      Object.fromEntries(
        Object.keys(verbs).map((verb) => [verb, Object.assign(stub(`${noun}.${verb}`), { check: stub(`${noun}.${verb}`) })]),
      ),
    ]),
  ) as unknown as HandlersOf<ApiTable>; // made from the very table
  const server = createServer({
    table,
    handlers,
    authenticate: createAuthenticate(
      running.view,
      () => {
        throw new Error('no machine comes here');
      },
      createInstanceAuth({ view: running.view, clock: systemClock, authorityPem: authority.certificatePem }),
    ),
    authorise: createAuthorise(running.view),
    idempotency: createIdempotencyStore({ store, clock: systemClock, random: systemRandom }),
    clock: systemClock,
    random: systemRandom,
    log: silentLog,
    version: '0.0.0',
    domain: 'localhost',
  });
  const { url } = await server.start({ host: '127.0.0.1', port: 0 });
  const credentials = {
    none: null,
    wrong: `libra_owner_${'0'.repeat(64)}`,
    owner: await ensureToken(context, { principal: { kind: 'owner' }, secret: null }),
    node: await ensureToken(context, { principal: { kind: 'node', nodeId: 'n1' }, secret: null }),
    edge: await ensureToken(context, { principal: { kind: 'edge', nodeId: 'n1' }, secret: null }),
  };
  const nodeId = newId();
  const { manifest } = aRelease();
  await running.view.commit(
    create(appRecords, anApp()),
    create(releaseRecords, aRelease({ manifest: { ...manifest, uses: [...LIBRAD_SERVICES] } })),
    create(environmentRecords, anEnvironment()),
    create(nodeSpecRecords, aNode({ id: nodeId })),
    create(instanceSpecRecords, anInstance({ nodeId })),
  );
  const claims = { instanceId: 'instance-1', app: 'shop', environment: 'production', environmentId: 'environment-1', entrypoint: 'web' };
  const instance = signInstanceToken(authority.issueMachine(nodeId), claims, systemClock.now());
  const stop = async (): Promise<void> => {
    await server.stop();
    await running.stop();
    await store.close();
  };
  return { server, reached, url, credentials: { ...credentials, instance }, stop };
}

/** A path with something in every parameter. */
function pathOf(endpoint: Endpoint): string {
  const path = endpoint.path.replace('{digest}', `sha256:${'0'.repeat(64)}`).replace(/\{[^}]+\}/gu, 'one');
  const query = new URLSearchParams();
  if (endpoint.path.endsWith('/exec')) query.set('command', '["true"]');
  if (endpoint.path.endsWith('/files'))
    for (const [name, value] of Object.entries({ path: 'one', direction: 'out' })) query.set(name, value);
  if (endpoint.path === '/v1/dataplane/sync') query.set('edge', 'e1');
  if (endpoint.method === 'DELETE' && endpoint.query !== null && endpoint.scope !== 'node' && endpoint.scope !== 'none')
    query.set('confirm', 'one');
  return query.size === 0 ? path : `${path}?${query.toString()}`;
}

/** Who may call it, of those with a credential. */
function holderOf({ permission }: Endpoint): 'owner' | 'node' | 'edge' | 'instance' {
  return (['owner', 'node', 'edge', 'instance'] as const).find((who) => PERMISSIONS_OF[who].has(permission)) ?? 'owner';
}

async function statusOf(walk: Walk, endpoint: Endpoint, who: Who): Promise<number> {
  const credential = walk.credentials[who];
  const headers: Record<string, string> = credential === null ? {} : { authorization: `Bearer ${credential}` };
  if (endpoint.kind === 'socket') {
    Object.assign(headers, {
      connection: 'Upgrade',
      upgrade: 'websocket',
      'sec-websocket-version': '13',
      'sec-websocket-key': 'MDEyMzQ1Njc4OWFiY2RlZg==',
    });
  }
  const request = httpRequest(walk.url + pathOf(endpoint), { method: endpoint.method, headers, agent: false });
  request.end();
  const [response] = (await once(request, 'response')) as [IncomingMessage]; // node:http's event
  response.resume();
  await once(response, 'close');
  return response.statusCode ?? 0;
}

test('every route refuses whoever lacks its permission, and nobody else', async (t) => {
  const walk = await startWalk();
  t.after(walk.stop);
  for (const { name, endpoint } of every) {
    for (const who of WHO) {
      walk.reached.clear();
      const status = await statusOf(walk, endpoint, who);
      const label = `${name} by ${who}: ${status}`;
      const isPublic = endpoint.permission === 'public';
      const permitted = isPublic || (who !== 'none' && who !== 'wrong' && PERMISSIONS_OF[who].has(endpoint.permission));
      if (permitted) assert.ok(status !== 401 && status !== 403 && status < 500, label);
      else {
        assert.equal(status, who === 'none' || who === 'wrong' ? 401 : 403, label);
        assert.equal(walk.reached.size, 0, `${label} reached the handler`);
      }
    }
  }
});

test('the walk reaches every handler that needs no body', async (t) => {
  const walk = await startWalk();
  t.after(walk.stop);
  const unreached: string[] = [];
  for (const { name, endpoint } of every) {
    if (endpoint.body !== null) continue;
    const who = holderOf(endpoint);
    await statusOf(walk, endpoint, who);
    if (!walk.reached.has(name)) unreached.push(name);
  }
  assert.deepEqual(unreached, []);
});

test('no two endpoints share a method and a path', () => {
  const routes = every.map(({ endpoint }) => `${endpoint.method} ${endpoint.path.replace(/\{[^}]+\}/gu, '{}')}`);
  assert.equal(new Set(routes).size, routes.length);
});

test('every permission but those of machines belongs to the owner, and every one is used or reserved', () => {
  assert.ok(!PERMISSIONS_OF.owner.has('agent.sync') && !PERMISSIONS_OF.owner.has('dataplane.sync'));
  for (const service of LIBRAD_SERVICES) {
    const holders = Object.entries(PERMISSIONS_OF).flatMap(([kind, permissions]) => (permissions.has(service) ? [kind] : []));
    assert.deepEqual(holders, ['instance'], service);
  }
  for (const { name, endpoint } of every) {
    const holders = Object.values(PERMISSIONS_OF).filter((permissions) => permissions.has(endpoint.permission));
    assert.ok(holders.length > 0, `nobody may call ${name}`);
  }
});

test('garbage in any body of the real table is refused, never a defect', async (t) => {
  const walk = await startWalk();
  t.after(walk.stop);
  const writes = every.filter(({ endpoint }) => endpoint.body !== null);
  const value = fc.jsonValue({ maxDepth: 3 });
  const field = fc.constantFrom(
    'name',
    'cause',
    'manifest',
    'values',
    'value',
    'entrypoints',
    'release',
    'environment',
    'command',
    '__proto__',
  );
  const body = fc.oneof(
    value.map((json) => JSON.stringify(json)),
    fc.dictionary(field, value).map((json) => JSON.stringify(json)),
    fc.string(),
  );
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...writes), body, async ({ endpoint }, payload) => {
      const who = holderOf(endpoint);
      const reply = await walk.server.inject({
        method: endpoint.method,
        url: pathOf(endpoint),
        headers: { authorization: `Bearer ${walk.credentials[who]}`, 'content-type': 'application/json' },
        payload,
      });
      assert.ok([400, 404, 413].includes(reply.statusCode), `${endpoint.method} ${endpoint.path} ${payload} → ${reply.statusCode}`);
    }),
    { numRuns: 300 },
  );
});
