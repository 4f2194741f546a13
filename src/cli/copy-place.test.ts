import assert from 'node:assert/strict';
import { test } from 'node:test';
import { copyDirection, copyEndpoint } from './copy-place.ts';

const remote = (app: string | null, entrypoint: string | null, path: string) => ({ kind: 'remote', app, entrypoint, path }) as const;

test('a word with a colon is of an Instance, unless it is plainly a path', () => {
  assert.deepEqual(copyEndpoint('shop:data'), remote('shop', null, 'data'));
  assert.deepEqual(copyEndpoint('shop/web:/a:b'), remote('shop', 'web', '/a:b'));
  assert.deepEqual(copyEndpoint(':'), remote(null, null, ''));
  for (const path of ['data', './a:b', '/tmp/a:b', '../x:y', 'a/b/c:d', 'Data:x'])
    assert.deepEqual(copyEndpoint(path), { kind: 'local', path });
  assert.deepEqual(copyEndpoint('-'), { kind: 'stream' });
});

test('one end is of an Instance, the other is not', () => {
  assert.equal(copyDirection(copyEndpoint(':a'), copyEndpoint('-')).direction, 'out');
  assert.equal(copyDirection(copyEndpoint('a'), copyEndpoint('shop:a')).direction, 'in');
  assert.throws(() => copyDirection(copyEndpoint('a'), copyEndpoint('-')), /Neither end/u);
  assert.throws(() => copyDirection(copyEndpoint(':a'), copyEndpoint(':b')), /Both ends/u);
});
