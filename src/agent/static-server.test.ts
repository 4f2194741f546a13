// The static file server over real sockets: what it serves, and above all what it never serves.

import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import type { IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import * as fc from 'fast-check';
import { createStaticServer, matchesEtag, parseRange, pathSegments } from './static-server.ts';

interface Reply {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}

type Ask = (path: string, headers?: Readonly<Record<string, string>>, method?: string) => Promise<Reply>;

async function serve(context: TestContext, files: Readonly<Record<string, string>>): Promise<{ readonly root: string; readonly ask: Ask }> {
  const folder = await mkdtemp(join(tmpdir(), 'libra-static-'));
  const root = join(folder, 'site');
  await mkdir(root);
  await writeFile(join(folder, 'outside.txt'), 'outside');
  for (const [name, text] of Object.entries(files)) {
    await mkdir(join(root, name, '..'), { recursive: true });
    await writeFile(join(root, name), text);
  }
  const server = await createStaticServer(root);
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  context.after(async () => {
    server.closeAllConnections();
    server.close();
    await rm(folder, { recursive: true });
  });
  const { port } = server.address() as AddressInfo; // listening on a port, so it is no path
  const ask: Ask = (path, headers = {}, method = 'GET') =>
    new Promise((resolve, reject) => {
      const outgoing = request({ port, host: '127.0.0.1', path, method, headers, agent: false }, (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (chunk: string) => (text += chunk));
        response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, text }));
      });
      outgoing.on('error', reject);
      outgoing.end();
    });
  return { root, ask };
}

test('files come with their type and length, folders with their index, and HEAD without a body', async (context) => {
  const { ask } = await serve(context, {
    'index.html': 'home',
    'a/index.html': 'inner',
    'style.css': 'p{}',
    'about.html': 'about',
    'data.bin': 'x',
  });
  assert.equal((await ask('/')).text, 'home');
  assert.equal((await ask('/')).headers['content-type'], 'text/html; charset=utf-8');
  assert.equal((await ask('/style.css?v=1')).headers['content-type'], 'text/css; charset=utf-8');
  assert.equal((await ask('/data.bin')).headers['content-type'], 'application/octet-stream');
  assert.equal((await ask('/about')).text, 'about');
  assert.equal((await ask('/a/')).text, 'inner');
  const moved = await ask('/a?x=1');
  assert.deepEqual([moved.status, moved.headers.location], [301, '/a/?x=1']);
  const head = await ask('/', {}, 'HEAD');
  assert.deepEqual([head.status, head.text, head.headers['content-length']], [200, '', '4']);
  assert.equal((await ask('/', {}, 'POST')).status, 405);
});

test('what the client has already is answered with 304, ranges with 206 or 416', async (context) => {
  const { ask } = await serve(context, { 'file.txt': '0123456789' });
  const first = await ask('/file.txt');
  const etag = first.headers.etag ?? '';
  assert.equal((await ask('/file.txt', { 'if-none-match': etag })).status, 304);
  assert.equal((await ask('/file.txt', { 'if-none-match': '"other"' })).status, 200);
  assert.equal((await ask('/file.txt', { 'if-modified-since': first.headers['last-modified'] ?? '' })).status, 304);
  const part = await ask('/file.txt', { range: 'bytes=2-4' });
  assert.deepEqual([part.status, part.text, part.headers['content-range']], [206, '234', 'bytes 2-4/10']);
  assert.equal((await ask('/file.txt', { range: 'bytes=-3' })).text, '789');
  assert.equal((await ask('/file.txt', { range: 'bytes=10-' })).status, 416);
  assert.equal((await ask('/file.txt', { range: 'bytes=2-4', 'if-range': '"other"' })).text, '0123456789');
});

test('an unknown path gets 404.html, or 200.html with status 200 only where that file exists', async (context) => {
  const plain = await serve(context, { 'index.html': 'home' });
  assert.deepEqual([(await plain.ask('/nowhere')).status, (await plain.ask('/nowhere')).text], [404, 'Not found.\n']);
  const page = await serve(context, { 'index.html': 'home', '404.html': 'lost' });
  assert.deepEqual([(await page.ask('/nowhere')).status, (await page.ask('/nowhere')).text], [404, 'lost']);
  const app = await serve(context, { 'index.html': 'home', '200.html': 'app', '404.html': 'lost' });
  assert.deepEqual([(await app.ask('/some/route')).status, (await app.ask('/some/route')).text], [200, 'app']);
});

test('nothing outside of the folder and no dot file is served, however it is asked for', async (context) => {
  const { ask, root } = await serve(context, {
    'index.html': 'home',
    '.env': 'secret',
    '.git/config': 'secret',
    '.well-known/x': 'known',
    'sub/.key': 'secret',
  });
  await symlink('../outside.txt', join(root, 'link.txt'));
  await symlink('..', join(root, 'up'));
  await symlink('.env', join(root, 'env.txt'));
  await symlink('index.html', join(root, 'good.html'));
  const paths = [
    '/../outside.txt',
    '/..%2foutside.txt',
    '/%2e%2e/outside.txt',
    '/..\\outside.txt',
    '/..%5coutside.txt',
    '/sub/../../outside.txt',
    '//outside.txt',
    '/link.txt',
    '/up/outside.txt',
    '/.env',
    '/%2eenv',
    '/env.txt',
    '/.git/config',
    '/sub/.key',
    '/index.html%00.txt',
    '/index.html/',
    '/%zz',
    'http://localhost/../outside.txt',
  ];
  for (const path of paths) assert.equal((await ask(path)).status, 404, path);
  assert.equal((await ask('/good.html')).text, 'home');
  assert.equal((await ask('/.well-known/x')).text, 'known');
});

test('segments of any request target hold no separator, no dot name and nothing empty', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.webPath(),
        fc.string(),
        fc.string().map((text) => `/${text}`),
      ),
      (target) => {
        for (const segment of pathSegments(target) ?? []) {
          assert.ok(segment.length > 0 && !/[/\\\0]/u.test(segment) && (!segment.startsWith('.') || segment === '.well-known'));
        }
      },
    ),
  );
});

test('a range never leaves the file', () => {
  fc.assert(
    fc.property(fc.string(), fc.nat(100), fc.nat(100), fc.nat(100), (noise, first, last, sizeBytes) => {
      for (const header of [noise, `bytes=${first}-${last}`, `bytes=${first}-`, `bytes=-${last}`]) {
        const range = parseRange(header, sizeBytes);
        if (range !== undefined && range !== null) assert.ok(range.start >= 0 && range.start <= range.end && range.end < sizeBytes);
      }
    }),
  );
  assert.equal(matchesEtag('"a", W/"b"', '"b"'), true);
  assert.equal(matchesEtag('*', '"b"'), true);
  assert.equal(matchesEtag('"a"', '"b"'), false);
});
