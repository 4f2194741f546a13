import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { test } from 'node:test';
import { makeAuthority } from '../../../test/fixtures/certificate.ts';
import { table } from '../../api/table.ts';
import { createFakeClock } from '../../lib/clock.ts';
import { isFailure } from '../../lib/failure.ts';
import { newId } from '../../lib/id.ts';
import type { Release } from '../../model/documents.ts';
import type { Collection } from '../../store/collection.ts';
import { create, remove, update } from '../../store/records.ts';
import { keyIdOf } from '../../tunnel/identity.ts';
import { signInstanceToken, TOKEN_LIFE_MS } from '../../tunnel/instance-token.ts';
import { appRecords, releaseRecords } from '../apps/records.ts';
import { instanceStatusRecords, nodeSpecRecords } from '../cluster/records.ts';
import { environmentRecords, instanceSpecRecords } from '../deploys/records.ts';
import { sessionRecords } from '../dev/records.ts';
import type { Principal } from '../handler.ts';
import { aNode, anApp, anEnvironment, anInstance, aRelease, aSession, aStatus, createTestContext } from '../test-context.ts';
import type { TestContext } from '../test-context.ts';
import { createInstanceAuth } from './instances.ts';
import { createAuthorise } from './scope.ts';

const authority = makeAuthority();
const nodeId = newId();
const node = authority.issueMachine(nodeId);
const claims = { instanceId: 'instance-1', app: 'shop', environment: 'production', environmentId: 'environment-1', entrypoint: 'web' };

interface Setting {
  readonly context: TestContext;
  readonly token: string;
  readonly authenticate: (token: string) => Principal;
}

/** One Instance of an App that uses these Services, on a Node whose certificate is good at the time of the fake clock. */
async function withInstance(run: (setting: Setting) => Promise<void>, uses: readonly string[] = []): Promise<void> {
  const real = await createTestContext();
  const clock = createFakeClock(Date.now());
  const context = { ...real, clock };
  const manifest: Release['manifest'] = { ...aRelease().manifest, uses };
  try {
    await context.view.commit(
      create(appRecords, anApp()),
      create(releaseRecords, aRelease({ manifest })),
      create(environmentRecords, anEnvironment()),
      create(nodeSpecRecords, aNode({ id: nodeId })),
      create(instanceSpecRecords, anInstance({ nodeId })),
      create(instanceStatusRecords, aStatus({ nodeId })),
    );
    const authenticate = createInstanceAuth({ view: context.view, clock, authorityPem: authority.certificatePem });
    await run({ context, token: signInstanceToken(node, claims, clock.now()), authenticate });
  } finally {
    await real.close();
  }
}

async function change<T extends { readonly id: string }>(
  { view }: TestContext,
  collection: Collection<T>,
  id: string,
  fields: Partial<T>,
): Promise<void> {
  const stored = view.get(collection, id);
  assert.ok(stored !== undefined);
  await view.commit(update(collection, stored, { ...stored.document, ...fields }));
}

const says =
  (text: RegExp) =>
  (error: unknown): boolean =>
    isFailure(error, 'unauthenticated') && text.test(error.message) && error.hint !== undefined;

test('a running Instance is known by its token, and may call what its App says to use', () =>
  withInstance(
    async ({ token, authenticate }) => {
      const principal = authenticate(token);
      assert.ok(principal.kind === 'instance');
      assert.equal(principal.name, 'instance/shop/production/web/instance-1');
      assert.deepEqual([principal.instanceId, principal.environmentId, principal.appId], ['instance-1', 'environment-1', 'app-1']);
      assert.deepEqual([principal.entrypoint, principal.nodeId], ['web', nodeId]);
      assert.deepEqual([...principal.permissions].sort(), ['librad.kv', 'librad.locks']);
    },
    ['billing.invoices', 'librad.locks', 'librad.kv', 'librad.unheard-of'],
  ));

test('it is somebody while it drains and while it stops, for it may have something to give back', () =>
  withInstance(async ({ context, token, authenticate }) => {
    assert.equal(authenticate(token).kind, 'instance');
    await change(context, instanceSpecRecords, 'instance-1', { draining: true, drainingSinceMs: 1 });
    assert.equal(authenticate(token).kind, 'instance', 'open requests go on while it is drained');
    await change(context, instanceSpecRecords, 'instance-1', { desired: 'stop' });
    assert.equal(authenticate(token).kind, 'instance');
    await change(context, instanceStatusRecords, 'instance-1', { phase: 'stopped' });
    assert.throws(() => authenticate(token), says(/has ended/u));
  }));

test('it is nobody after its end, nor when its record is gone, nor without its Environment', () =>
  withInstance(async ({ context, token, authenticate }) => {
    await change(context, instanceStatusRecords, 'instance-1', { phase: 'lost' });
    assert.throws(() => authenticate(token), says(/has ended/u));
    await change(context, instanceStatusRecords, 'instance-1', { phase: 'running' });
    const environment = context.view.get(environmentRecords, 'environment-1');
    const spec = context.view.get(instanceSpecRecords, 'instance-1');
    assert.ok(environment !== undefined && spec !== undefined);
    await context.view.commit(remove(environmentRecords, environment));
    assert.throws(() => authenticate(token), says(/belongs to no Environment/u));
    await context.view.commit(remove(instanceSpecRecords, spec));
    assert.throws(() => authenticate(token), says(/^Instance instance-1 is gone/u));
  }));

test('a Node speaks for its own Instances only, and for none when it was removed or its key was replaced', () =>
  withInstance(async ({ context, token, authenticate }) => {
    const otherId = newId();
    const other = authority.issueMachine(otherId);
    const foreign = signInstanceToken(other, claims, context.clock.now());
    assert.throws(() => authenticate(foreign), says(/none of the platform any more/u));
    const key = keyIdOf(new X509Certificate(other.certificatePem).publicKey);
    await context.view.commit(
      create(nodeSpecRecords, aNode({ id: otherId, name: 'other', machine: { roles: ['agent'], keys: [key] } })),
      create(instanceSpecRecords, anInstance({ id: 'instance-2', nodeId: otherId })),
    );
    assert.throws(() => authenticate(foreign), says(/runs on another Node/u));
    const its = signInstanceToken(other, { ...claims, instanceId: 'instance-2' }, context.clock.now());
    assert.equal(authenticate(its).kind, 'instance');
    await change(context, nodeSpecRecords, otherId, { machine: { roles: ['agent'], keys: ['0'.repeat(64)] } });
    assert.throws(() => authenticate(its), says(/key that was replaced/u));
    assert.equal(authenticate(token).kind, 'instance');
  }));

test('what the token claims besides its Instance changes nothing: the records say where it belongs', () =>
  withInstance(async ({ context, authenticate }) => {
    const boastful = { ...claims, app: 'billing', environment: 'staging', environmentId: 'environment-9', entrypoint: 'admin' };
    const principal = authenticate(signInstanceToken(node, boastful, context.clock.now()));
    assert.ok(principal.kind === 'instance');
    assert.equal(principal.name, 'instance/shop/production/web/instance-1');
    assert.equal(principal.environmentId, 'environment-1');
  }));

test('a token is refused when its time is over, with the time', () =>
  withInstance(async ({ context, token, authenticate }) => {
    assert.equal(authenticate(token).kind, 'instance');
    await context.clock.advance(TOKEN_LIFE_MS);
    assert.throws(() => authenticate(token), says(/is not accepted: it is over since \d{4}-/u));
  }));

test('an Instance reaches its own Services and nothing that has an owner', () =>
  withInstance(async ({ context, token, authenticate }) => {
    const authorise = createAuthorise(context.view);
    const principal = authenticate(token);
    const forbidden = (error: unknown): boolean => isFailure(error, 'forbidden');
    const service = { ...table.agent.gone, permission: 'librad.kv' } as const;
    authorise(principal, service, {});
    assert.throws(() => authorise(principal, { ...service, scope: 'app' }, { app: 'shop' }), forbidden);
    assert.throws(() => authorise(principal, { ...service, scope: 'platform' }, {}), forbidden);
    assert.throws(() => authorise(principal, { ...service, permission: 'agent.sync' }, {}), forbidden);
  }));

test('the program of a session is known by the token of the Node that its laptop is connected to, while both are so', () =>
  withInstance(async ({ context, authenticate }) => {
    const session = aSession({
      uses: ['librad.kv', 'billing.invoices'],
      attached: { edgeId: 'edge-1', nodeId, host: '127.0.0.1', port: 1, sinceMs: 1 },
      expiresAtMs: context.clock.now() + 1000,
    });
    await context.view.commit(create(sessionRecords, session));
    const token = signInstanceToken(node, { ...claims, instanceId: session.id }, context.clock.now());
    const principal = authenticate(token);
    assert.deepEqual([principal.name, [...principal.permissions]], ['session/shop/production/web/ana', ['librad.kv']]);
    await change(context, sessionRecords, session.id, { attached: null });
    assert.throws(() => authenticate(token), says(/is not connected to the Node that signed this token/u));
    await change(context, sessionRecords, session.id, { attached: session.attached, expiresAtMs: context.clock.now() });
    assert.throws(() => authenticate(token), says(/The time of session session-1 is over/u));
    const stored = context.view.get(sessionRecords, session.id);
    assert.ok(stored);
    await context.view.commit(remove(sessionRecords, stored));
    assert.throws(() => authenticate(token), says(/is gone/u));
  }));
