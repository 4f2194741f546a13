import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import type { table } from '../../api/table.ts';
import type { ReplyOf } from '../../api/endpoint.ts';
import type { InstanceStatus, Release } from '../../model/documents.ts';
import { create, update } from '../../store/records.ts';
import { appRecords, releaseRecords } from '../apps/records.ts';
import { instanceStatusRecords } from '../cluster/records.ts';
import { deploymentRecords, environmentRecords, instanceSpecRecords } from '../deploys/records.ts';
import { aDeployment, anApp, anEnvironment, anInstance, aRelease, aStatus } from '../test-context.ts';
import { callBy, createLibradFixture } from './librad-fixture.ts';
import type { LibradFixture } from './librad-fixture.ts';

type Discovery = ReplyOf<(typeof table.discovery)['get']>;

let fixture: LibradFixture;
beforeEach(async () => {
  fixture = await createLibradFixture();
  const { view } = fixture.context;
  const stored = view.get(releaseRecords, 'release-1');
  assert.ok(stored);
  const uses = ['billing.invoices', 'billing/staging.invoices', 'billing.closed', 'billing.none', 'nobody.anything', 'librad.kv'];
  await view.commit(
    update<Release>(releaseRecords, stored, { ...stored.document, manifest: { ...stored.document.manifest, uses } }),
    create(appRecords, anApp({ id: 'app-2', name: 'billing' })),
    create(
      releaseRecords,
      aRelease({
        id: 'release-2',
        appId: 'app-2',
        manifest: {
          ...aRelease().manifest,
          provides: {
            invoices: { entrypoint: 'web', path: '/api', allow: ['shop'] },
            closed: { entrypoint: 'web', path: '/', allow: ['someone'] },
          },
        },
      }),
    ),
    create(environmentRecords, anEnvironment({ id: 'environment-b', appId: 'app-2', stableDeploymentId: 'deployment-b' })),
    create(deploymentRecords, aDeployment({ id: 'deployment-b', appId: 'app-2', environmentId: 'environment-b', releaseId: 'release-2' })),
    create(
      instanceSpecRecords,
      anInstance({
        id: 'instance-b',
        appId: 'app-2',
        environmentId: 'environment-b',
        deploymentId: 'deployment-b',
        releaseId: 'release-2',
      }),
    ),
    create(instanceStatusRecords, aStatus({ id: 'instance-b' })),
  );
});
afterEach(() => fixture.close());

const call = { params: {}, query: undefined, body: undefined };
const get = (): Promise<Discovery> =>
  fixture.librad.handlers.discovery.get(callBy<(typeof table.discovery)['get']>(fixture.callers.one, call));

test('what an App uses is told with where it is, how many answer, and why a call would be refused', async () => {
  const { app, environment, url, entrypoints, services } = await get();
  assert.deepEqual([app, environment, url], ['shop', 'production', 'http://shop.localhost']);
  assert.deepEqual(entrypoints, [{ name: 'web', wanted: 1, healthy: 0 }]);
  assert.deepEqual(
    services.map((one) => [one.service, one.environment, one.healthy, one.problem]),
    [
      ['billing.invoices', 'production', 1, null],
      ['billing.invoices', 'staging', 0, 'There is no billing/staging.'],
      [
        'billing.closed',
        'production',
        1,
        'billing.closed of billing/production does not allow shop/production. Let whoever has billing add shop to `provides.closed.allow` in the libra.yaml of billing.',
      ],
      ['billing.none', 'production', 0, 'billing/production does not provide none.'],
      ['nobody.anything', 'production', 0, 'There is no nobody/production.'],
      ['librad.kv', null, null, null],
    ],
  );
  assert.deepEqual([services[0]?.path, services[0]?.host], ['/billing.invoices', 'invoices.billing.libra']);
});

test('whoever watches is told when a count changes, and not of what changes nothing', async () => {
  const { view, clock } = fixture.context;
  const over = new AbortController();
  const told: (number | null | undefined)[] = [];
  const running = (async () => {
    const stream = fixture.librad.handlers.discovery.watch(
      callBy<(typeof table.discovery)['watch']>(fixture.callers.one, { ...call, signal: over.signal }),
    );
    for await (const { data } of stream) told.push(data.services[0]?.healthy);
  })();
  await clock.advance(1000);
  const change = async (fields: Partial<InstanceStatus>): Promise<void> => {
    const stored = view.get(instanceStatusRecords, 'instance-b');
    assert.ok(stored);
    await view.commit(update<InstanceStatus>(instanceStatusRecords, stored, { ...stored.document, ...fields }));
    await clock.advance(1000);
  };
  await change({ updatedAtMs: 1 });
  await change({ healthy: false });
  await change({ healthy: true });
  over.abort();
  await running;
  assert.deepEqual(told, [1, 0, 1]);
});
