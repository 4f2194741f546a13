// An App with Instances in two Environments, and the services as they call them, on a real store in memory. Only tests import it.

import { createSeededRandom } from '../../lib/id.ts';
import { create } from '../../store/records.ts';
import { PERMISSIONS_OF } from '../auth/permissions.ts';
import { createSealer } from '../config/sealer.ts';
import { createValues } from '../config/values.ts';
import type { Values } from '../config/values.ts';
import { environmentRecords, instanceSpecRecords } from '../deploys/records.ts';
import type { Call } from '../handler.ts';
import { anEnvironment, anInstance, callOf, createTestContext, seedApp } from '../test-context.ts';
import type { TestContext } from '../test-context.ts';
import { createLibrad } from './librad.ts';
import type { Librad } from './librad.ts';
import type { Place } from './place.ts';

export interface LibradFixture {
  readonly context: TestContext;
  readonly librad: Librad;
  readonly values: Values;
  /** `one` and `two` of production, `other` of staging. */
  readonly callers: Readonly<Record<'one' | 'two' | 'other', Place>>;
  /** Runs a reconciler once. */
  pass(name: string): Promise<number | void>;
  /** Another control plane of the same store, as it is when it begins to lead. */
  again(): Librad;
  close(): Promise<void>;
}

const placeAs = (instanceId: string, environmentId: string): Place => ({
  kind: 'instance',
  name: `shop/${instanceId}`,
  instanceId,
  environmentId,
  appId: 'app-1',
  entrypoint: 'web',
  nodeId: 'node-1',
  permissions: PERMISSIONS_OF.instance,
});

export async function createLibradFixture(): Promise<LibradFixture> {
  const context = await createTestContext();
  await seedApp(context);
  await context.view.commit(
    create(environmentRecords, anEnvironment({ id: 'environment-2', name: 'staging' })),
    create(instanceSpecRecords, anInstance({ id: 'instance-1' })),
    create(instanceSpecRecords, anInstance({ id: 'instance-2', slot: 1 })),
    create(instanceSpecRecords, anInstance({ id: 'instance-3', environmentId: 'environment-2' })),
  );
  const sealer = createSealer(new Uint8Array(32).fill(7), createSeededRandom(3));
  const values = createValues(context, { sealer });
  const build = (): Librad =>
    createLibrad(context, { sealer, feed: context.feed, leads: true, values, urlOf: (app) => `http://${app.name}.localhost` });
  const librad = build();
  return {
    context,
    librad,
    values,
    callers: {
      one: placeAs('instance-1', 'environment-1'),
      two: placeAs('instance-2', 'environment-1'),
      other: placeAs('instance-3', 'environment-2'),
    },
    pass: async (name) => await librad.reconcilers.find((one) => one.name === name)?.run(new AbortController().signal),
    again: build,
    close: () => context.close(),
  };
}

/** A call of an Instance. */
export function callBy<E>(principal: Place, parts: Partial<Call<E>> & Pick<Call<E>, 'params' | 'query' | 'body'>): Call<E> {
  return callOf<E>({ principal, ...parts });
}
