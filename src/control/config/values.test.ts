import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { table } from '../../api/table.ts';
import { isFailure } from '../../lib/failure.ts';
import { createSeededRandom } from '../../lib/id.ts';
import { update } from '../../store/records.ts';
import { deploymentRecords } from '../deploys/records.ts';
import { aDeployment, callOf, createTestContext, seedApp } from '../test-context.ts';
import type { TestContext } from '../test-context.ts';
import { configValueRecords } from './records.ts';
import { createSealer } from './sealer.ts';
import { createValues } from './values.ts';
import type { Values } from './values.ts';

const place = { app: 'shop', environment: 'production' };

async function withValues(run: (values: Values, context: TestContext) => Promise<void>): Promise<void> {
  const context = await createTestContext();
  try {
    await seedApp(context);
    await run(createValues(context, { sealer: createSealer(createSeededRandom(1).bytes(32), context.random) }), context);
  } finally {
    await context.close();
  }
}

const setEnv = (values: Values, env: Record<string, string | null>) =>
  values.handlers.env.set(callOf<typeof table.env.set>({ params: place, query: undefined, body: { values: env } }));
const setSecret = (values: Values, secret: string, value: string, encoding: 'text' | 'base64' = 'text') =>
  values.handlers.secrets.set(
    callOf<typeof table.secrets.set>({ params: { ...place, secret }, query: undefined, body: { value, encoding } }),
  );
const deleteSecret = (values: Values, secret: string) =>
  values.handlers.secrets.delete(callOf<typeof table.secrets.delete>({ params: { ...place, secret }, query: undefined, body: undefined }));
const listSecrets = (values: Values) =>
  values.handlers.secrets.list(callOf<typeof table.secrets.list>({ params: place, query: undefined, body: undefined }));

async function runWithSecret(context: TestContext, valueId: string): Promise<void> {
  const current = context.view.get(deploymentRecords, 'deployment-1');
  assert.ok(current);
  const env = { web: { TOKEN: { kind: 'value' as const, valueId, name: 'token', version: 1 } } };
  await context.view.commit(update(deploymentRecords, current, aDeployment({ env })));
}

test('a value set is resolved and opened; its reply names it and never holds it', () =>
  withValues(async (values, context) => {
    const reply = await setEnv(values, { LOG_LEVEL: 'debug-hunter2', EMPTY: '' });
    assert.deepEqual(
      reply.items.map((item) => [item.name, item.version, item.deployed]),
      [
        ['EMPTY', 1, 'none'],
        ['LOG_LEVEL', 1, 'none'],
      ],
    );
    const resolved = values.resolveValues('environment-1').env.get('LOG_LEVEL');
    assert.equal(values.openValue(resolved?.valueId ?? '').toString(), 'debug-hunter2');
    const stored = JSON.stringify([reply, context.view.list(configValueRecords), context.events]);
    assert.ok(!stored.includes('hunter2'));
  }));

test('an equal value makes no new version; another one does; unsetting ends it', () =>
  withValues(async (values, context) => {
    await setEnv(values, { A: '1' });
    const before = context.view.revision;
    await setEnv(values, { A: '1' });
    assert.equal(context.view.revision, before);
    await setEnv(values, { A: '2' });
    assert.equal(values.resolveValues('environment-1').env.get('A')?.version, 2);
    const unset = await setEnv(values, { A: null, NEVER_SET: null });
    assert.deepEqual(unset.items, []);
    assert.equal(values.resolveValues('environment-1').env.has('A'), false);
    await setEnv(values, { A: '2' });
    assert.equal(values.resolveValues('environment-1').env.get('A')?.version, 4);
  }));

test('old versions go beyond ten, but never one that a kept Deployment runs with', () =>
  withValues(async (values, context) => {
    await setSecret(values, 'token', 'version 1');
    const first = values.resolveValues('environment-1').secrets.get('token');
    assert.ok(first);
    await runWithSecret(context, first.valueId);
    for (let version = 2; version <= 25; version += 1) await setSecret(values, 'token', `version ${version}`);
    const kept = context.view.list(configValueRecords).map(({ document }) => document.version);
    assert.deepEqual(
      kept.sort((a, b) => a - b),
      [1, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25],
    );
    assert.equal(values.openValue(first.valueId).toString(), 'version 1');
    assert.equal((await listSecrets(values)).items[0]?.deployed, 'older');
  }));

test('a deleted Secret stays readable only for what runs with it, and no Deployment can be made from it', () =>
  withValues(async (values, context) => {
    await setSecret(values, 'token', 'first');
    const first = values.resolveValues('environment-1').secrets.get('token');
    assert.ok(first);
    await runWithSecret(context, first.valueId);
    await setSecret(values, 'token', 'second');
    const second = values.resolveValues('environment-1').secrets.get('token');
    assert.ok(second);
    assert.equal(values.isAvailable(first.valueId), true);
    await deleteSecret(values, 'token');
    assert.deepEqual((await listSecrets(values)).items, []);
    assert.equal(values.openValue(first.valueId).toString(), 'first');
    assert.throws(
      () => values.openValue(second.valueId),
      (error) => isFailure(error, 'not_found'),
    );
    assert.equal(values.isAvailable(first.valueId), false);
    await assert.rejects(deleteSecret(values, 'token'), (error) => isFailure(error, 'not_found'));
  }));

test('bytes that are not text survive as base64; what is not base64 is refused', () =>
  withValues(async (values) => {
    const bytes = Buffer.from([0, 255, 10, 13]);
    await setSecret(values, 'blob', bytes.toString('base64'), 'base64');
    const resolved = values.resolveValues('environment-1').secrets.get('blob');
    assert.deepEqual(values.openValue(resolved?.valueId ?? ''), bytes);
    await assert.rejects(setSecret(values, 'blob', '!!', 'base64'), (error) => isFailure(error, 'invalid_input'));
  }));

test('an Environment holds at most 500 names, and a value at most 180 KiB', () =>
  withValues(async (values) => {
    await setEnv(values, Object.fromEntries(Array.from({ length: 499 }, (_unused, index) => [`NAME_${index}`, 'x'])));
    await setSecret(values, 'last', 'x');
    await assert.rejects(setEnv(values, { ONE_MORE: 'x' }), (error) => isFailure(error, 'rate_limited'));
    await setEnv(values, { NAME_0: 'changed' });
    await setSecret(values, 'last', 'x'.repeat(180 * 1024));
    await assert.rejects(setSecret(values, 'last', 'ä'.repeat(100 * 1024)), (error) => isFailure(error, 'too_large'));
    await assert.rejects(setEnv(values, { NAME_0: 'a\0b' }), (error) => isFailure(error, 'invalid_input'));
  }));

test('an unknown App or Environment is not found', () =>
  withValues(async (values) => {
    const call = callOf<typeof table.env.list>({ params: { app: 'none', environment: 'production' }, query: undefined, body: undefined });
    await assert.rejects(values.handlers.env.list(call), (error) => isFailure(error, 'not_found'));
  }));
