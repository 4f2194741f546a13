import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import type { table } from '../../api/table.ts';
import type { ReplyOf } from '../../api/endpoint.ts';
import type { Deployment } from '../../model/documents.ts';
import { update } from '../../store/records.ts';
import { deploymentRecords } from '../deploys/records.ts';
import { callOf } from '../test-context.ts';
import { callBy, createLibradFixture } from './librad-fixture.ts';
import type { LibradFixture } from './librad-fixture.ts';

type Config = ReplyOf<(typeof table.config)['get']>;

let fixture: LibradFixture;
beforeEach(async () => {
  fixture = await createLibradFixture();
});
afterEach(() => fixture.close());

const where = { app: 'shop', environment: 'production' };
const setEnv = (values: Record<string, string | null>) =>
  fixture.values.handlers.env.set(callOf({ params: where, query: undefined, body: { values } }));
const setSecret = (secret: string, value: string) =>
  fixture.values.handlers.secrets.set(callOf({ params: { ...where, secret }, query: undefined, body: { value, encoding: 'text' } }));
/** As a deploy does. */
async function deploy(): Promise<void> {
  const { view } = fixture.context;
  const { env, secrets } = fixture.values.resolveValues('environment-1');
  const level = env.get('LEVEL');
  const key = secrets.get('key');
  const stored = view.get(deploymentRecords, 'deployment-1');
  assert.ok(stored && level && key);
  await view.commit(
    update<Deployment>(deploymentRecords, stored, {
      ...stored.document,
      env: { web: { LEVEL: { kind: 'value', name: 'LEVEL', ...level }, PLAIN: { kind: 'plain', value: 'as written' } } },
      files: { web: [{ path: '/run/key', mode: 0o400, name: 'key', ...key }] },
    }),
  );
}
const get = (at: 'deployed' | 'newest'): Promise<Config> =>
  fixture.librad.handlers.config.get(
    callBy<(typeof table.config)['get']>(fixture.callers.one, { params: {}, query: { at }, body: undefined }),
  );
const told = ({ variables, files }: Config): readonly string[] => [
  ...variables.map(({ name, value, version, isOutdated }) => `${name}=${value} ${version}${isOutdated ? ' outdated' : ''}`),
  ...files.map(
    (file) => `${file.path}=${Buffer.from(file.contentBase64, 'base64').toString()} ${file.version}${file.isOutdated ? ' outdated' : ''}`,
  ),
];

test('an Instance is told what its Deployment has, and of that what has been set since', async () => {
  await setEnv({ LEVEL: 'info' });
  await setSecret('key', 'secret one');
  await deploy();
  assert.deepEqual(told(await get('deployed')), ['LEVEL=info 1', 'PLAIN=as written null', '/run/key=secret one 1']);
  await setEnv({ LEVEL: 'debug', NEW: 'not in the Deployment' });
  await setSecret('key', 'secret two');
  await setSecret('other', 'of nobody');
  assert.deepEqual(told(await get('deployed')), ['LEVEL=info 1 outdated', 'PLAIN=as written null', '/run/key=secret one 1 outdated']);
  assert.deepEqual(told(await get('newest')), ['LEVEL=debug 2 outdated', 'PLAIN=as written null', '/run/key=secret two 2 outdated']);
  await setEnv({ LEVEL: null });
  assert.deepEqual(told(await get('newest'))[0], 'LEVEL=info 1', 'one that was unset stays what it was');
});

test('whoever watches is told when a value is set, not of those of other names', async () => {
  await setEnv({ LEVEL: 'info' });
  await setSecret('key', 'secret');
  await deploy();
  const { clock } = fixture.context;
  const over = new AbortController();
  const levels: (string | undefined)[] = [];
  const ids: (string | null)[] = [];
  const follow = async (lastEventId: string | null, signal: AbortSignal): Promise<void> => {
    const stream = fixture.librad.handlers.config.watch(
      callBy<(typeof table.config)['watch']>(fixture.callers.one, {
        params: {},
        query: { at: 'newest' },
        body: undefined,
        signal,
        lastEventId,
      }),
    );
    for await (const { id, data } of stream) {
      levels.push(data.variables[0]?.value);
      ids.push(id);
    }
  };
  const running = follow(null, over.signal);
  await clock.advance(0);
  await setEnv({ OTHER: 'x' });
  await clock.advance(0);
  await setEnv({ LEVEL: 'debug' });
  await clock.advance(0);
  over.abort();
  await running;
  assert.deepEqual(levels, ['info', 'debug']);
  const again = new AbortController();
  const resumed = follow(ids[1] ?? null, again.signal);
  await clock.advance(0);
  again.abort();
  await resumed;
  assert.deepEqual(levels, ['info', 'debug'], 'what it knows it is not told again');
});
