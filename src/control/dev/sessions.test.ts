import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { afterEach, beforeEach, test } from 'node:test';
import type { EdgeReport, RouteGroup } from '../../api/dataplane.ts';
import type { table } from '../../api/table.ts';
import { Failure, isFailure } from '../../lib/failure.ts';
import type { DevSession } from '../../model/documents.ts';
import { create, remove, update } from '../../store/records.ts';
import { appRecords, releaseRecords } from '../apps/records.ts';
import { deploymentRecords, environmentRecords, instanceSpecRecords } from '../deploys/records.ts';
import { connect } from '../routing/routing-fixture.ts';
import { instanceStatusRecords } from '../cluster/records.ts';
import { createRouting } from '../routing/routing.ts';
import type { Routing } from '../routing/routing.ts';
import {
  aDeployment,
  anApp,
  anEnvironment,
  anInstance,
  aRelease,
  aStatus,
  callOf,
  createTestContext,
  edgePrincipal,
} from '../test-context.ts';
import type { TestContext } from '../test-context.ts';
import { sessionRecords } from './records.ts';
import { createSessions } from './sessions.ts';
import type { Sessions } from './sessions.ts';

type Made = Awaited<ReturnType<Sessions['handlers']['sessions']['create']>>;

let context: TestContext;
let routing: Routing;
let sessions: Sessions;
beforeEach(async () => {
  context = await createTestContext();
  const empty = { stableDeploymentId: null, lastDeployment: 0 };
  await context.view.commit(
    create(appRecords, anApp()),
    create(environmentRecords, anEnvironment({ id: 'env-dev', name: 'dev', ...empty })),
    create(environmentRecords, anEnvironment({ id: 'env-production', name: 'production', ...empty })),
  );
  routing = createRouting(context);
  sessions = createSessions(context, {
    routing,
    values: {
      resolveValues: () => ({
        env: new Map([['LEVEL', { valueId: 'value-1', version: 1 }]]),
        secrets: new Map([['key', { valueId: 'value-2', version: 1 }]]),
      }),
      openValue: (id) => Buffer.from(`the value ${id}`),
    },
  });
});
afterEach(async () => {
  routing.stop();
  await context.close();
});

interface Asked {
  readonly environment?: string;
  readonly entrypoint?: string;
  readonly mode?: DevSession['mode'];
  readonly key?: string;
  readonly from?: string;
  readonly ttlMs?: number;
  readonly paths?: string[];
}

const begin = (asked: Asked = {}): Promise<Made> => {
  const {
    environment = 'dev',
    entrypoint = 'web',
    mode = 'personal',
    key = 'ana',
    from = 'ana@laptop',
    ttlMs = 3_600_000,
    paths = ['/'],
  } = asked;
  return sessions.handlers.sessions.create(
    callOf<typeof table.sessions.create>({
      params: { app: 'shop', environment },
      query: undefined,
      body: { entrypoint, mode, key, from, ttlMs, paths, uses: [] },
    }),
  );
};
const list = async (): Promise<readonly string[]> => {
  const { items } = await sessions.handlers.sessions.list(
    callOf({ params: { app: 'shop', environment: 'dev' }, query: undefined, body: undefined }),
  );
  return items.map((one) => `${one.entrypoint} ${one.mode} ${one.key} ${one.from}${one.connected ? ' connected' : ''}`);
};
const pass = async (): Promise<void> => {
  for (const reconciler of sessions.reconcilers) await reconciler.run(new AbortController().signal);
};
const report = (change: Partial<EdgeReport>, edgeId = 'edge-1'): Promise<unknown> =>
  routing.handlers.dataplane.report(
    callOf<typeof table.dataplane.report>({
      params: {},
      query: undefined,
      body: { edgeId, sequence: 0, draining: {}, ejected: [], ...change },
      principal: edgePrincipal,
    }),
  );
const refusal = async (made: Promise<unknown>): Promise<Failure> => {
  const error: unknown = await made.then(
    () => null,
    (caught: unknown) => caught,
  );
  assert.ok(error instanceof Failure, 'it was not refused');
  return error;
};

test('a session has a credential of which only the hash is kept, and says where it is reached', async () => {
  const made = await begin();
  assert.match(made.credential, /^libra_dev_[0-9a-f]{64}$/u);
  assert.deepEqual([made.url, made.gateway], ['http://ana--shop--dev.localhost:8080', 'http://libra.localhost:8080/_libra/dev']);
  const kept = context.view.get(sessionRecords, made.id)?.document;
  assert.equal(kept?.hash, createHash('sha256').update(made.credential).digest('hex'));
  assert.ok(!JSON.stringify([kept, context.events]).includes(made.credential));
  assert.deepEqual(await list(), ['web personal ana ana@laptop']);
  assert.equal(context.events[0]?.message, 'owner (ana@laptop) stands in for shop/dev web, personal, with the key ana.');
});

test('who is in the way is named, and two who ask at once are not both let in', async () => {
  const first = await begin();
  const refused = await refusal(begin({ from: 'bob@desk' }));
  assert.equal(refused.code, 'conflict');
  assert.match(refused.message, /the session of owner \(ana@laptop\)/u);
  assert.match(refused.hint ?? '', new RegExp(`libra dev revoke ${first.id}`, 'u'));
  // Other keys, other Entrypoints, and one that replaces stand beside it.
  await begin({ key: 'bob', from: 'bob@desk' });
  await begin({ entrypoint: 'api', from: 'bob@desk' });
  await begin({ mode: 'replace', key: 'bob', from: 'bob@desk' });
  assert.match((await refusal(begin({ mode: 'replace', key: 'cleo', from: 'cleo@desk' }))).message, /^All requests for shop\/dev web go/u);
  const both = await Promise.allSettled([begin({ key: 'new', from: 'a' }), begin({ key: 'new', from: 'b' })]);
  assert.deepEqual(both.map(({ status }) => status).toSorted(), ['fulfilled', 'rejected']);
  const lost = both.find((one) => one.status === 'rejected');
  assert.ok(lost?.status === 'rejected' && isFailure(lost.reason, 'conflict'));
});

test('what a killed program left behind makes way for the same machine, but not while a laptop is connected', async () => {
  const first = await begin();
  const second = await begin();
  assert.notEqual(second.id, first.id);
  assert.deepEqual(await list(), ['web personal ana ana@laptop']);
  const edge = await connect(routing, context, 'edge-1');
  await report({ sessions: [{ id: second.id, host: '127.0.0.1', port: 9, sinceMs: 1 }] });
  await pass();
  assert.equal((await refusal(begin())).code, 'conflict');
  await edge.disconnect();
});

test('production is protected until what is deployed there says otherwise, and any Environment that says so', async () => {
  const production = await refusal(begin({ environment: 'production' }));
  assert.equal(production.code, 'plan_refused');
  assert.match(production.message, /^shop\/production is protected: production is, unless/u);
  const manifest = {
    ...aRelease().manifest,
    environments: {
      production: { runtime: null, env: {}, entrypoints: {}, protected: false },
      dev: { runtime: null, env: {}, entrypoints: {}, protected: true },
    },
  };
  await context.view.commit(
    create(releaseRecords, aRelease({ manifest, number: 7 })),
    create(deploymentRecords, aDeployment({ id: 'd-production', environmentId: 'env-production' })),
    create(deploymentRecords, aDeployment({ id: 'd-dev', environmentId: 'env-dev' })),
  );
  const made = await begin();
  for (const name of ['production', 'dev']) {
    const stored = context.view.get(environmentRecords, `env-${name}`);
    assert.ok(stored);
    await context.view.commit(update(environmentRecords, stored, { ...stored.document, stableDeploymentId: `d-${name}` }));
  }
  await begin({ environment: 'production' });
  const dev = await refusal(begin({ key: 'late' }));
  assert.equal(
    dev.message,
    'shop/dev is protected: the manifest of Release 7, which is deployed there, says `environments.dev.protected: true`.',
  );
  // One that began before gets no values any more.
  const values = sessions.handlers.sessions.values(
    callOf<typeof table.sessions.values>({
      params: { app: 'shop', environment: 'dev', session: made.id },
      query: undefined,
      body: { secrets: [] },
    }),
  );
  assert.equal((await refusal(values)).code, 'plan_refused');
});

test('values are told to a session, with the Secrets that it names, and that is written down without them', async () => {
  const made = await begin();
  const values = await sessions.handlers.sessions.values(
    callOf<typeof table.sessions.values>({
      params: { app: 'shop', environment: 'dev', session: made.id },
      query: undefined,
      body: { secrets: ['key', 'none'] },
    }),
  );
  assert.deepEqual(values, { env: { LEVEL: 'the value value-1' }, secrets: { key: 'the value value-2' } });
  const told = context.events.at(-1);
  assert.equal(told?.kind, 'session.values');
  assert.ok(!JSON.stringify(context.events).includes('the value'));
});

test('where a laptop is connected comes into the table, outlives control, and goes with the Edge', async () => {
  await context.view.commit(
    create(instanceSpecRecords, anInstance({ environmentId: 'env-dev' })),
    create(instanceStatusRecords, aStatus()),
  );
  const made = await begin({ paths: ['/', '/api'] });
  const edge = await connect(routing, context, 'edge-1');
  const targetOf = async (follow = edge): Promise<readonly unknown[]> => {
    await follow.catchUp();
    return follow
      .table()
      .groups.flatMap((group: RouteGroup) =>
        (group.sessions ?? []).map(({ key, target }) => [group.entrypoint, key, target?.port ?? null]),
      );
  };
  assert.deepEqual(await targetOf(), [['web', 'ana', null]]);
  assert.deepEqual(
    edge.table().rules.map((rule) => `${rule.host}${rule.path} ${rule.session ?? '-'}`),
    ['ana--shop--dev.localhost/ ana', 'ana--shop--dev.localhost/api ana', 'shop--dev.localhost/ -', 'shop--dev.localhost/api -'],
  );
  await report({ sessions: [{ id: made.id, host: '127.0.0.1', port: 4000, sinceMs: 1 }] });
  await report({ sessions: [{ id: made.id, host: '127.0.0.1', port: 5000, sinceMs: 2 }] }, 'edge-2');
  await pass();
  assert.deepEqual(await targetOf(), [['web', 'ana', 4000]], 'an Edge that does not follow the table counts for nothing');
  const second = await connect(routing, context, 'edge-2');
  await report({ sessions: [{ id: made.id, host: '127.0.0.1', port: 4000, sinceMs: 1 }] });
  await report({ sessions: [{ id: made.id, host: '127.0.0.1', port: 5000, sinceMs: 2 }] }, 'edge-2');
  await pass();
  assert.deepEqual(await targetOf(), [['web', 'ana', 5000]], 'the newest counts');
  await report({}, 'edge-2');
  await pass();
  assert.deepEqual(await targetOf(), [['web', 'ana', 4000]]);
  // Control begins anew: until Edges have said something, what is written down holds.
  const anew = createRouting(context);
  const again = createSessions(context, {
    routing: anew,
    values: { resolveValues: () => ({ env: new Map(), secrets: new Map() }), openValue: () => Buffer.alloc(0) },
  });
  const passAgain = async (): Promise<void> => {
    for (const reconciler of again.reconcilers) await reconciler.run(new AbortController().signal);
  };
  await passAgain();
  assert.equal(context.view.get(sessionRecords, made.id)?.document.attached?.port, 4000);
  await context.clock.advance(30_000);
  await passAgain();
  assert.equal(context.view.get(sessionRecords, made.id)?.document.attached, null);
  anew.stop();
  await edge.disconnect();
  await second.disconnect();
});

test('a session ends with its time, with its laptop away for ten minutes, by hand, and with its Environment', async () => {
  const made = await begin({ ttlMs: 60_000 });
  await begin({ key: 'away' });
  const revoked = await begin({ key: 'revoked' });
  await sessions.handlers.sessions.delete(
    callOf({ params: { app: 'shop', environment: 'dev', session: revoked.id }, query: undefined, body: undefined }),
  );
  assert.deepEqual(await list(), ['web personal ana ana@laptop', 'web personal away ana@laptop']);
  await context.clock.advance(60_000);
  await pass();
  assert.deepEqual(await list(), ['web personal away ana@laptop']);
  await context.clock.advance(540_000);
  await pass();
  assert.deepEqual(await list(), []);
  await begin({ key: 'last' });
  const stored = context.view.get(environmentRecords, 'env-dev');
  assert.ok(stored);
  await context.view.commit(remove(environmentRecords, stored));
  await pass();
  assert.equal(context.view.list(sessionRecords).length, 0);
  const ends = context.events.filter(({ kind }) => kind === 'session.ended').map(({ message }) => message);
  assert.deepEqual(ends, [
    'owner ended the session revoked of owner (ana@laptop) for shop/dev web.',
    'Ended the session ana of owner (ana@laptop): its time was over.',
    'Ended the session away of owner (ana@laptop): its laptop was away for ten minutes.',
    'Ended the session last of owner (ana@laptop): its Environment is being deleted.',
  ]);
  assert.equal(
    isFailure(
      await refusal(
        sessions.handlers.sessions.delete(
          callOf({ params: { app: 'shop', environment: 'production', session: made.id }, query: undefined, body: undefined }),
        ),
      ),
      'not_found',
    ),
    true,
  );
});
