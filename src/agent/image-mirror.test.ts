import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { after, test } from 'node:test';
import { Failure } from '../lib/failure.ts';
import { silentLog } from '../sys/log.ts';
import { createImageMirror } from './image-mirror.ts';

const bytes = Buffer.from('0123456789');
const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
const absent = `sha256:${'0'.repeat(64)}`;
const unreachable = `sha256:${'1'.repeat(64)}`;
const mirror = createImageMirror(
  {
    open: async (wanted) => {
      if (wanted === unreachable) throw new Failure('unreachable', { message: 'control is away' });
      if (wanted !== digest) throw new Failure('not_found', { message: 'no such blob' });
      return { sizeBytes: bytes.length, body: (start, end) => Readable.from([bytes.subarray(start, end + 1)]) };
    },
  },
  silentLog,
);
after(() => mirror.stop());

const source = await mirror.source(digest);
const login = `Basic ${Buffer.from(`${source.user}:${source.password}`).toString('base64')}`;
const ask = (
  path: string,
  options: { readonly method?: string; readonly range?: string; readonly authorization?: string } = {},
): Promise<Response> =>
  fetch(`http://${source.registry}${path}`, {
    method: options.method ?? 'GET',
    headers: {
      authorization: options.authorization ?? login,
      connection: 'close',
      ...(options.range === undefined ? {} : { range: options.range }),
    },
  });
const blob = `/v2/${source.repository}/blobs/${digest}`;

test('manifests and blobs are read by digest, whole or in part, or only looked at', async () => {
  const whole = await ask(blob);
  assert.deepEqual([whole.status, whole.headers.get('docker-content-digest'), await whole.text()], [200, digest, '0123456789']);
  const manifest = await ask(`/v2/${source.repository}/manifests/${digest}`);
  assert.equal(manifest.headers.get('content-type'), 'application/vnd.oci.image.manifest.v1+json');
  await manifest.text();
  const head = await ask(blob, { method: 'HEAD' });
  assert.deepEqual([head.status, head.headers.get('content-length'), await head.text()], [200, '10', '']);
  for (const [range, status, text, told] of [
    ['bytes=4-', 206, '456789', 'bytes 4-9/10'],
    ['bytes=2-4', 206, '234', 'bytes 2-4/10'],
    ['bytes=8-99', 206, '89', 'bytes 8-9/10'],
    ['bytes=10-', 416, null, 'bytes */10'],
  ] as const) {
    const part = await ask(blob, { range });
    const body = await part.text();
    assert.deepEqual([part.status, part.headers.get('content-range')], [status, told], range);
    if (text !== null) assert.equal(body, text);
  }
});

test('who does not know the password, or wants anything else, gets nothing', async () => {
  for (const authorization of ['', 'Basic bGlicmE6', login.slice(0, -1), `${login}=`]) {
    const refused = await ask(blob, { authorization });
    assert.deepEqual([refused.status, refused.headers.get('www-authenticate')], [401, 'Basic realm="libra"']);
    assert.ok(!(await refused.text()).includes('0123'));
  }
  for (const [path, status] of [
    ['/v2/', 200],
    ['/', 404],
    ['/v2/other/blobs/x', 404],
    [`/v2/${source.repository}/manifests/latest`, 404],
    [`/v2/${source.repository}/blobs/${absent}`, 404],
    [`/v2/${source.repository}/manifests/${absent}`, 404],
    [`/v2/${source.repository}/blobs/${unreachable}`, 503],
  ] as const) {
    const reply = await ask(path);
    await reply.text();
    assert.equal(reply.status, status, path);
  }
  for (const method of ['POST', 'PUT', 'DELETE', 'PATCH']) {
    const reply = await ask(blob, { method });
    await reply.text();
    assert.equal(reply.status, 405, method);
  }
});
