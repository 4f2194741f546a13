import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { isFailure } from '../../lib/failure.ts';
import type { App } from '../../model/documents.ts';
import type { HostAsk } from '../../model/host-powers.ts';
import type { EntrypointSpec } from '../../model/manifest-types.ts';
import { update } from '../../store/records.ts';
import { appRecords } from '../apps/records.ts';
import { createGarbageReconciler } from '../deploys/garbage.ts';
import { anApp, anEntrypoint, callOf, createTestContext, seedApp } from '../test-context.ts';
import type { TestContext } from '../test-context.ts';
import { createGrantHandlers, grantedTo, powersRefused } from './grants.ts';
import { hostGrantRecords } from './records.ts';

let context: TestContext;
let grants: ReturnType<typeof createGrantHandlers>;
beforeEach(async () => {
  context = await createTestContext();
  await seedApp(context);
  grants = createGrantHandlers(context);
});
afterEach(() => context.close());

const grant = (power: string, environment?: string, app = 'shop'): ReturnType<typeof grants.create> =>
  grants.create(callOf({ params: { app }, query: undefined, body: { power, ...(environment === undefined ? {} : { environment }) } }));
const list = async (): Promise<readonly string[]> => {
  const { items } = await grants.list(callOf({ params: {}, query: { limit: 100, cursor: undefined }, body: undefined }));
  return items.map(({ app, environment, power }) => `${app}/${environment ?? '*'} ${power}`);
};
const asking = (host: Partial<HostAsk>): EntrypointSpec =>
  anEntrypoint({
    container: {
      readOnly: false,
      capabilities: [],
      ulimits: {},
      sysctls: {},
      sharedMemoryBytes: null,
      host: { privileged: false, network: false, devices: [], folders: [], ...host },
    },
  });

test('a grant is told with who gave it, once, and taking it back too', async () => {
  const made = await grant('folder:/srv/media:ro', 'production');
  assert.deepEqual([made.createdBy, (await grant('folder:/srv/media:ro', 'production')).id], ['owner', made.id]);
  await grant('folder:/srv/media:ro');
  await grant('network');
  assert.deepEqual(await list(), ['shop/production folder:/srv/media:ro', 'shop/* folder:/srv/media:ro', 'shop/* network']);
  await grants.delete(callOf({ params: { grant: made.id }, query: undefined, body: undefined }));
  assert.deepEqual(await list(), ['shop/* folder:/srv/media:ro', 'shop/* network']);
  assert.deepEqual(
    context.events.map(({ kind, message }) => `${kind}: ${message}`),
    [
      'grant.created: owner granted folder:/srv/media:ro (containers of shop/production).',
      'grant.created: owner granted folder:/srv/media:ro (containers of shop).',
      'grant.created: owner granted network (containers of shop).',
      'grant.removed: owner took back folder:/srv/media:ro (containers of shop/production).',
    ],
  );
});

test('what cannot be granted is refused: no App, no power, no Environment, no grant', async () => {
  const refused = (code: 'invalid_input' | 'not_found') => (error: unknown) => isFailure(error, code);
  await assert.rejects(grant('network', undefined, 'other'), refused('not_found'));
  for (const power of ['folder:/', 'folder:/proc/1/root', 'folder:/srv/../etc', 'device:/etc/passwd', 'everything'])
    await assert.rejects(grant(power), refused('invalid_input'), power);
  await assert.rejects(grant('network', 'No Name'), refused('invalid_input'));
  await assert.rejects(grants.delete(callOf({ params: { grant: 'none' }, query: undefined, body: undefined })), refused('not_found'));
});

test('an Entrypoint that asks for more than was granted is refused with the words of who can grant it', async () => {
  const media = { path: '/srv/media/a', target: '/media', readOnly: false };
  const spec = asking({ network: true, folders: [media] });
  const where = { app: anApp(), appName: 'shop', environmentName: 'staging' };
  const hints = (): readonly string[] => powersRefused(context.view, where, spec).map(({ hint }) => hint.replace(/^.*: /u, ''));
  assert.deepEqual(hints(), ['libra grants add shop/staging network', 'libra grants add shop/staging folder:/srv/media/a']);
  await grant('network', 'production');
  await grant('folder:/srv/media:ro');
  assert.equal(hints().length, 2, 'of another Environment, and to read only');
  await grant('network', 'staging');
  await grant('folder:/srv/media', 'staging');
  assert.deepEqual(hints(), []);
  assert.deepEqual(powersRefused(context.view, where, anEntrypoint()), []);
  const [first] = powersRefused(context.view, { app: null, appName: 'new', environmentName: 'production' }, spec);
  assert.equal(first?.message, 'web of new asks for the network of its machine, which no administrator has granted.');
  assert.match(first.hint, /libra apps create new, then libra grants add new\/production network$/u);
});

test('grants go with their App, and one of the same name has none', async () => {
  await grant('privileged');
  const stored = context.view.get(appRecords, 'app-1');
  assert.ok(stored);
  await context.view.commit(update<App>(appRecords, stored, { ...stored.document, state: 'deleting' }));
  await createGarbageReconciler(context, { removeValuesOf: () => [] }).run(new AbortController().signal);
  assert.equal(context.view.get(appRecords, 'app-1'), undefined);
  assert.deepEqual([context.view.list(hostGrantRecords), grantedTo(context.view, 'app-1', 'production')], [[], []]);
});
